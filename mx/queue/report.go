package queue

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"buzon/internal/smtp"
)

// report is a delivery status notification: multipart/report (RFC 6522) with a
// text for people, the status for programs (RFC 3464) and the header of the
// message that it is about. Parts that hold UTF-8 have the types of RFC 6533
// when the sender's client speaks SMTPUTF8.
type report struct {
	id       string // queue id of the notice
	action   string
	hostname string
	now      time.Time

	envelope smtp.Envelope // of the message
	queued   time.Time
	until    time.Time // when it is given up
	header   []byte    // of the message, lines end with CRLF
	whole    []byte    // the message, where it is to come back; nil: only its header
	about    []subject
}

// subject is a recipient that the report is about.
type subject struct {
	recipient
	original string // ORCPT
}

// The values of Action (RFC 3464 2.3.3) that we give.
const (
	actionFailed    = "failed"
	actionDelayed   = "delayed"
	actionDelivered = "delivered" // into a mailbox here
	actionRelayed   = "relayed"   // to a host that tells nobody
	actionExpanded  = "expanded"  // to several addresses, of which nothing more is told
)

// expired reports whether the recipient failed because the time was up, not
// because of what a host said.
func (s *subject) expired() bool { return s.Last.Reply == nil || !s.Last.Reply.Permanent() }

// format returns the whole notice, lines end with CRLF.
func (r *report) format() []byte {
	var b bytes.Buffer
	parts := multipart.NewWriter(&b)
	// Not to be guessed when the message was written, for its id was not
	// known: its header cannot hold this.
	_ = parts.SetBoundary("report-" + r.id) // fits: letters, digits and "-"
	r.writeHeader(&b, parts.Boundary())
	for _, p := range []part{
		{"text/plain; charset=utf-8", "text/plain; charset=utf-8", r.explain()},
		{"message/delivery-status", "message/global-delivery-status", r.status()},
		r.returned(),
	} {
		p.write(parts, r.utf8())
	}
	_ = parts.Close() // a Buffer takes everything
	return b.Bytes()
}

// returned is the part with what comes back of the message (RFC 3461 4.3).
func (r *report) returned() part {
	if r.whole == nil {
		return part{"text/rfc822-headers", "message/global-headers", r.header}
	}
	kind := "message/rfc822"
	if !isASCII(r.header) {
		kind = "message/global" // RFC 6533 4
	}
	return part{kind, kind, r.whole}
}

// utf8 reports whether the sender can be sent UTF-8 outside of text.
func (r *report) utf8() bool { return r.envelope.UTF8 || r.envelope.From.NeedsUTF8() }

func (r *report) writeHeader(b *bytes.Buffer, boundary string) {
	title := "Your message could not be delivered"
	switch r.action {
	case actionDelayed:
		title = "Your message is delayed"
	case actionDelivered:
		title = "Your message was delivered"
	case actionExpanded:
		title = "Your message was distributed"
	case actionRelayed:
		title = "Your message was taken by another host"
	}
	fmt.Fprintf(b, "Date: %s\r\n", r.now.UTC().Format(time.RFC1123Z))
	fmt.Fprintf(b, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", r.hostname)
	fmt.Fprintf(b, "To: %s\r\n", r.envelope.From.Path())
	fmt.Fprintf(b, "Subject: %s\r\n", title)
	fmt.Fprintf(b, "Message-ID: <%s@%s>\r\n", r.id, r.hostname)
	if id := messageID(r.header); id != "" {
		fmt.Fprintf(b, "In-Reply-To: %s\r\nReferences: %s\r\n", id, id)
	}
	b.WriteString("Auto-Submitted: auto-replied\r\n") // RFC 3834 5
	b.WriteString("MIME-Version: 1.0\r\n")
	fmt.Fprintf(b, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"\r\n\r\n", boundary)
}

// explain is what a person reads.
func (r *report) explain() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("This is the mail server %s.", r.hostname)
	line("")
	sent := r.queued.UTC().Format(time.RFC1123Z)
	line("Your message of %s", sent)
	switch r.action {
	case actionDelayed:
		line("has not been delivered yet. You need not do anything: it is tried until")
		line("%s. If that fails, you will be told.", r.until.UTC().Format(time.RFC1123Z))
	case actionDelivered:
		line("was delivered.")
	case actionExpanded:
		line("was given to everybody whom the address stands for. What becomes of it with")
		line("each of them is not told.")
	case actionRelayed:
		line("was taken by the recipient's host. What becomes of it there that host does")
		line("not tell.")
	default:
		line("could not be delivered, and it is not tried again.")
	}
	if by := r.envelope.By; !by.IsZero() {
		line("You wanted it to be there by %s.", by.At.UTC().Format(time.RFC1123Z))
	}
	for i := range r.about {
		r.about[i].explain(line)
	}
	line("")
	if r.whole != nil {
		line("Your message is attached.")
	} else {
		line("The header of your message is attached.")
	}
	return b.Bytes()
}

func (s *subject) explain(line func(string, ...any)) {
	line("")
	line("  Recipient: %s", s.Address)
	if s.Last.answered() {
		line("  %s said: %s", orElse(s.Last.Host, "The server"), s.Last.Reply.Error())
	} else {
		line("  The latest attempt ended with: %s", s.Last.String())
	}
	if s.expired() && !(s.Last.Reply != nil && s.Last.Reply.Is2xx()) {
		line("  Attempts: %d", s.Attempts)
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// status is the body of message/delivery-status (RFC 3464 2).
func (r *report) status() []byte {
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	if r.envelope.EnvelopeID != "" {
		field("Original-Envelope-Id", clean(r.envelope.EnvelopeID, maxReason))
	}
	field("Reporting-MTA", "dns; "+r.hostname)
	field("Arrival-Date", r.queued.UTC().Format(time.RFC1123Z))
	if by := r.envelope.By; !by.IsZero() {
		field("Deliver-By-Date", by.At.UTC().Format(time.RFC1123Z)) // RFC 2852 5
	}
	for i := range r.about {
		s := &r.about[i]
		b.WriteString("\r\n")
		if kind, address, ok := strings.Cut(s.original, ";"); ok {
			field("Original-Recipient", clean(kind+"; "+r.typed(address), maxReason))
		}
		kind := "rfc822; "
		if s.Address.NeedsUTF8() {
			kind = "utf-8; " // RFC 6533 3
		}
		field("Final-Recipient", kind+r.typed(s.Address.String()))
		field("Action", r.action)
		field("Status", r.code(s))
		if s.Last.Host != "" {
			field("Remote-MTA", "dns; "+s.Last.Host)
		}
		if s.Last.answered() {
			field("Diagnostic-Code", "smtp; "+r.ascii(s.Last.Reply.Error()))
		} else {
			field("Diagnostic-Code", "x-buzon; "+r.ascii(s.Last.String()))
		}
		field("Last-Attempt-Date", s.Last.At.UTC().Format(time.RFC1123Z))
		if r.action == actionDelayed {
			field("Will-Retry-Until", r.until.UTC().Format(time.RFC1123Z))
		}
	}
	return b.Bytes()
}

// code is the status code of RFC 3463. Its class follows the reply's code where
// the two do not agree.
func (r *report) code(s *subject) string {
	switch {
	case r.action == actionFailed && s.expired() && r.envelope.By.Passed(r.now):
		return "5.4.7" // RFC 2852 4.1.2: it is too late for another try
	case r.action == actionFailed && s.expired(), r.action == actionDelayed && !r.envelope.By.IsZero():
		return "4.4.7" // delivery time expired
	case s.Last.Reply == nil:
		return "4.4.1" // no answer from host
	}
	reply := *s.Last.Reply
	reply.Enhanced[0] = reply.Code / 100
	return reply.Status()
}

// typed is an address as a status field has it: where UTF-8 may not stand, in
// the utf-8-addr-xtext form of RFC 6533 3.
func (r *report) typed(address string) string {
	if r.utf8() {
		return address
	}
	var b strings.Builder
	for _, c := range address {
		if c < utf8.RuneSelf {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "\\x{%X}", c)
		}
	}
	return b.String()
}

// ascii is foreign text as a status field has it.
func (r *report) ascii(s string) string {
	if r.utf8() {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c >= utf8.RuneSelf {
			return '?'
		}
		return c
	}, s)
}

// part is a part of the report: its type, its type when it holds UTF-8 and may
// say so, and its body.
type part struct {
	plain, global string
	body          []byte
}

// maxLineLength is RFC 5322 2.1.1's, without CRLF.
const maxLineLength = 998

func (p part) write(to *multipart.Writer, utf8 bool) {
	mediaType, encoding := p.plain, "7bit"
	switch {
	case strings.HasPrefix(p.plain, "message/rfc822"), strings.HasPrefix(p.plain, "message/global"):
		if !isASCII(p.body) { // RFC 2046 5.2.1 allows no other encoding; wholeMessage has looked
			encoding = "8bit"
		}
	case !isText(p.body):
		encoding = "quoted-printable"
	case isASCII(p.body):
	case utf8:
		mediaType, encoding = p.global, "8bit"
	default:
		encoding = "quoted-printable" // RFC 6522 4 allows it for broken headers
	}
	w, _ := to.CreatePart(textproto.MIMEHeader{"Content-Type": {mediaType}, "Content-Transfer-Encoding": {encoding}})
	if encoding != "quoted-printable" {
		_, _ = w.Write(p.body)
		return
	}
	q := quotedprintable.NewWriter(w)
	_, _ = io.Copy(q, bytes.NewReader(p.body))
	_ = q.Close()
}

// isText reports whether b is UTF-8 in lines that may travel as they are.
func isText(b []byte) bool {
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if len(line) > maxLineLength || !utf8.Valid(line) || bytes.ContainsFunc(line, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
			return false
		}
	}
	return true
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// messageID returns the value of the header's Message-ID, or "" where there is
// none that may be repeated.
func messageID(header []byte) string {
	const name = "message-id:"
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if len(line) < len(name) || !strings.EqualFold(string(line[:len(name)]), name) {
			continue
		}
		id := strings.TrimSpace(string(line[len(name):]))
		if len(id) < 3 || len(id) > 250 || id[0] != '<' || id[len(id)-1] != '>' || strings.Trim(id, msgIDChars) != "" {
			return ""
		}
		return id
	}
	return ""
}

// msgIDChars is what stands in message identifiers (RFC 5322 3.6.4), roughly.
const msgIDChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~.@<>[]:"
