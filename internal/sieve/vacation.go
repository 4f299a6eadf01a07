package sieve

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// Vacation is a notice that the user is away, to be sent with the null
// reverse-path (RFC 5230 5.1). That it was sent is among what the Outcome wants
// remembered, so that nobody gets it twice in the time that the script says.
type Vacation struct {
	To      smtp.Address
	Content []byte // the whole message, with CRLF
}

// days that a sender is not told again: RFC 5230 4.1 leaves the default and the
// bounds to us.
const (
	vacationDefault = 7 * 24 * time.Hour
	vacationLeast   = time.Hour
	vacationMost    = 90 * 24 * time.Hour
)

// vacation compiles the action of RFC 5230 4.
func (c *compiler) vacation(n node) (step, error) {
	p := c.params(n, map[string]tagRule{
		"days": {value: aNumber}, "seconds": {aNumber, "vacation-seconds"}, "subject": {value: aString}, "from": {value: aString},
		"addresses": {value: aList}, "mime": {}, "handle": {value: aString},
	}, 1, 1)
	p.need("vacation")
	every := vacationDefault
	switch p.only("days", "seconds") {
	case "days":
		every = time.Duration(min(p.tags["days"].number, 1000)) * 24 * time.Hour
	case "seconds":
		every = time.Duration(min(p.tags["seconds"].number, 1<<31)) * time.Second
	}
	a := &absence{
		every: max(vacationLeast, min(every, vacationMost)), mime: p.has("mime"),
		reason: p.text(0), subject: p.tagText("subject"), from: p.tagText("from"), addresses: p.tagList("addresses"), handle: p.tagText("handle"),
	}
	if a.from.fixed() && a.from.constant != "" && p.err == nil && !isAddress(a.from.constant) {
		p.fail(n.line, "vacation: %q is no address", a.from.constant)
	}
	return a.answer, p.err
}

// isAddress reports whether s is one address, perhaps with a display name.
func isAddress(s string) bool {
	list := message.Addresses(s)
	if len(list) != 1 || list[0].Group != message.NoMark {
		return false
	}
	_, err := parseAddress(list[0].String())
	return err == nil
}

// absence is a vacation action.
type absence struct {
	every                         time.Duration
	mime                          bool
	reason, subject, from, handle text
	addresses                     []text
}

var errTwice = errors.New("vacation: a message is answered once (RFC 5230 4.7)")

func (a *absence) answer(r *run) error {
	switch {
	case r.outcome.Rejection != nil:
		return errRefused
	case r.outcome.Vacation != nil:
		return errTwice
	}
	reason, subject, from := a.reason.value(r), a.subject.value(r), a.from.value(r)
	if len(reason) > maxReason {
		return fmt.Errorf("%w: vacation: the reason is too long", ErrLimit)
	}
	to := r.env.From
	mine := func(addr smtp.Address) bool { return r.mine(addr, values(r, a.addresses)) }
	if to.IsNull() || mine(to) || fromMachine(to) || !r.forPerson() || !r.addressedTo(mine) {
		return nil
	}
	handle := a.handle.value(r)
	if handle == "" {
		handle = strings.Join([]string{subject, from, reason, fmt.Sprint(a.mime)}, "\x00")
	}
	k := key("vacation", handle, strings.ToLower(to.String()))
	if r.env.Known != nil && r.env.Known(k) {
		return nil
	}
	content, err := a.compose(r, to, from, subject, reason)
	if err != nil {
		return err
	}
	r.remember(k, a.every)
	r.outcome.Vacation = &Vacation{To: to, Content: content}
	return nil
}

// mine reports whether an address is the user's: his own, or one of those
// that the script names.
func (r *run) mine(a smtp.Address, more []string) bool {
	if strings.EqualFold(a.String(), r.env.To.String()) || r.env.Owns != nil && r.env.Owns(a) {
		return true
	}
	return slices.ContainsFunc(more, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), a.String()) })
}

// fromMachine reports whether nobody reads mail at an address (RFC 5230 4.6,
// RFC 3834 2).
func fromMachine(a smtp.Address) bool {
	local := strings.ToLower(a.Local)
	switch local {
	case "mailer-daemon", "listserv", "majordomo", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply":
		return true
	}
	return strings.HasPrefix(local, "owner-") || strings.HasSuffix(local, "-request") || strings.HasSuffix(local, "-owner") ||
		strings.HasSuffix(local, "-bounces") || strings.HasPrefix(local, "bounces") || strings.HasPrefix(local, "bounce+") ||
		strings.HasPrefix(local, "srs0=") || strings.HasPrefix(local, "srs1=")
}

// forPerson reports whether a person wrote the message to a person: no list,
// no bulk, no answer of a machine (RFC 5230 4.6, RFC 3834 2, RFC 2919).
func (r *run) forPerson() bool {
	for _, f := range r.header.fields {
		value := strings.ToLower(f.value)
		switch name := strings.ToLower(f.name); {
		case strings.HasPrefix(name, "list-"), name == "x-loop", name == "x-autoreply", name == "x-autorespond", name == "feedback-id",
			name == "auto-submitted" && value != "no" && !strings.HasPrefix(value, "no;") && !strings.HasPrefix(value, "no "),
			name == "precedence" && (value == "bulk" || value == "list" || value == "junk" || value == "auto_reply"),
			name == "x-auto-response-suppress" && value != "none" && value != "",
			name == "x-spam-flag" && value == "yes":
			return false
		}
	}
	return true
}

// addressedTo reports whether one of the user's addresses stands in the
// message as a recipient (RFC 5230 4.5).
func (r *run) addressedTo(mine func(smtp.Address) bool) bool {
	for _, name := range []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"} {
		for _, f := range r.header.named(name) {
			for _, a := range message.Addresses(f.value) {
				if a.Group == message.NoMark && mine(smtp.Address{Local: a.Mailbox, Domain: strings.ToLower(a.Host)}) {
					return true
				}
			}
		}
	}
	return false
}

// compose writes the notice (RFC 5230 5).
func (a *absence) compose(r *run, to smtp.Address, from, subject, reason string) ([]byte, error) {
	// Nobody speaks for others (RFC 5230 5.1 leaves what is allowed to us).
	if list := message.Addresses(from); len(list) != 1 || !r.mine(smtp.Address{Local: list[0].Mailbox, Domain: strings.ToLower(list[0].Host)}, nil) {
		from = r.env.To.String()
	}
	if subject == "" {
		subject = "Auto: " + strings.TrimSpace(r.first("Subject"))
	}
	var random [12]byte
	rand.Read(random[:])
	var b bytes.Buffer
	b.Write(newField("From", mimeAddress(from)).raw)
	b.Write(newField("To", to.String()).raw)
	b.Write(newField("Subject", limit(subject, 500)).raw)
	b.Write(newField("Date", r.env.Now.Format(time.RFC1123Z)).raw)
	b.Write(newField("Message-ID", "<"+hex.EncodeToString(random[:])+".vacation@"+r.env.Host+">").raw)
	if ids := message.MessageIDs(r.first("Message-ID")); len(ids) > 0 {
		b.Write(newField("In-Reply-To", "<"+ids[0]+">").raw)
		refs := append(message.MessageIDs(r.first("References")), ids[0])
		b.Write(newField("References", "<"+strings.Join(refs[max(0, len(refs)-10):], "> <")+">").raw)
	}
	b.WriteString("Auto-Submitted: auto-replied (vacation)\r\nX-Auto-Response-Suppress: All\r\nMIME-Version: 1.0\r\n")
	if a.mime {
		// The reason begins with fields of its own, or with none.
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(reason, "\r\n", "\n"), "\n", "\r\n"))
		return b.Bytes(), nil
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.TrimRight(reason, "\r\n") + "\r\n")); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

// first is the first field called name, decoded, or "".
func (r *run) first(name string) string {
	if fields := r.header.named(name); len(fields) > 0 {
		return message.DecodeHeader(fields[0].value)
	}
	return ""
}

// mimeAddress encodes the display name of an address, where it has one.
func mimeAddress(s string) string {
	list := message.Addresses(s)
	if len(list) != 1 || list[0].Name == "" {
		return s
	}
	name := message.DecodeHeader(list[0].Name)
	if encoded := mime.QEncoding.Encode("utf-8", name); encoded != name {
		return encoded + " <" + list[0].String() + ">"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + list[0].String() + ">"
}

func limit(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
