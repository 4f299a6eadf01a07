package queue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// A message file begins with the envelope, one "key value" a line, and an
// empty line:
//
//	buzon-message 1
//	queued 2026-11-22T03:17:18.123Z
//	from <ana@buzon.test>
//	body 8bit
//	recipient <luis@example.org>
//	orcpt "rfc822;luis@example.org"
//	notify FAILURE,DELAY
//	recipient <eva@example.net>
//
// The reader takes exactly what the writer writes, so that damage shows.
const messageMagic = "buzon-message 1"

// head is the top of a message file.
type head struct {
	Queued   time.Time
	Envelope smtp.Envelope // Size is not kept: the file knows better
}

// Limits of the two text formats, far above what Submit lets in.
const (
	maxHead = 8 << 20 // bytes of an envelope or state: 1000 recipients with long replies
	maxLine = 32 << 10
)

// errDamaged is wrapped by every complaint about the contents of a file.
var errDamaged = errors.New("damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDamaged}, args...)...)
}

var notifyWords = [...]struct {
	notify smtp.Notify
	word   string
}{
	{smtp.NotifyNever, "NEVER"}, {smtp.NotifySuccess, "SUCCESS"}, {smtp.NotifyFailure, "FAILURE"}, {smtp.NotifyDelay, "DELAY"},
}

// format returns the head with its empty line.
func (h head) format() []byte {
	var w lineWriter
	w.line(messageMagic)
	w.field("queued", h.Queued.Format(timeFormat))
	w.field("from", h.Envelope.From.Path())
	if h.Envelope.EnvelopeID != "" {
		w.field("envid", strconv.Quote(h.Envelope.EnvelopeID))
	}
	if h.Envelope.Return != "" {
		w.field("ret", h.Envelope.Return)
	}
	if h.Envelope.EightBit {
		w.field("body", "8bit")
	}
	if h.Envelope.UTF8 {
		w.line("smtputf8")
	}
	if h.Envelope.Held {
		w.line("held")
	}
	if !h.Envelope.NotBefore.IsZero() {
		w.field("release", h.Envelope.NotBefore.Format(timeFormat))
	}
	if !h.Envelope.By.IsZero() {
		w.field("deliver-by", formatBy(h.Envelope.By))
	}
	if h.Envelope.TLS != "" {
		w.field("tls", string(h.Envelope.TLS))
	}
	for _, r := range h.Envelope.To {
		w.field("recipient", r.Address.Path())
		if r.Original != "" {
			w.field("orcpt", strconv.Quote(r.Original))
		}
		if r.Notify != 0 {
			w.field("notify", formatNotify(r.Notify))
		}
	}
	w.line("")
	return w.buf
}

// parseHead reads what format wrote, the empty line included and nothing else.
func parseHead(text string) (head, error) {
	var h head
	err := eachField(text, messageMagic, "\n\n", func(key, value string) error {
		if r := last(h.Envelope.To); r != nil {
			return parseRecipient(&h.Envelope, r, key, value)
		}
		return parseSender(&h, key, value)
	})
	switch {
	case err != nil:
		return head{}, err
	case len(h.Envelope.To) == 0:
		return head{}, damaged("no recipient")
	case string(h.format()) != text:
		return head{}, damaged("fields are doubled, missing or out of order")
	}
	return h, nil
}

func parseSender(h *head, key, value string) (err error) {
	env := &h.Envelope
	switch key {
	case "queued":
		h.Queued, err = time.Parse(timeFormat, value)
	case "from":
		env.From, err = smtp.ParsePath(value)
	case "envid":
		env.EnvelopeID, err = strconv.Unquote(value)
	case "ret":
		env.Return = value
		if value != "FULL" && value != "HDRS" { // RFC 3461 4.3
			err = damaged("ret %q", value)
		}
	case "body":
		env.EightBit = true
	case "smtputf8":
		env.UTF8 = true
	case "held":
		env.Held = true
	case "release":
		env.NotBefore, err = time.Parse(timeFormat, value)
	case "deliver-by":
		env.By, err = parseBy(value)
	case "tls":
		env.TLS = smtp.TLSNeed(value)
		if env.TLS != smtp.TLSRequired && env.TLS != smtp.TLSOptional {
			err = damaged("tls %q", value)
		}
	case "recipient":
		err = addRecipient(env, value)
	default:
		err = damaged("unknown key %q", key)
	}
	return err
}

func parseRecipient(env *smtp.Envelope, r *smtp.Recipient, key, value string) (err error) {
	switch key {
	case "recipient":
		err = addRecipient(env, value)
	case "orcpt":
		r.Original, err = strconv.Unquote(value)
	case "notify":
		r.Notify, err = parseNotify(value)
	default:
		err = damaged("unknown key %q", key)
	}
	return err
}

func addRecipient(env *smtp.Envelope, path string) error {
	a, err := smtp.ParsePath(path)
	if err == nil && a.Domain == "" {
		err = damaged("recipient without a domain")
	}
	env.To = append(env.To, smtp.Recipient{Address: a})
	return err
}

func formatNotify(n smtp.Notify) string {
	var words []string
	for _, f := range notifyWords {
		if n&f.notify != 0 {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, ",")
}

func parseNotify(s string) (n smtp.Notify, err error) {
	for word := range strings.SplitSeq(s, ",") {
		known := false
		for _, f := range notifyWords {
			if f.word == word {
				n |= f.notify
				known = true
			}
		}
		if !known {
			return 0, damaged("notify %q", s)
		}
	}
	return n, nil
}

// formatBy is a DELIVERBY request: the time and the mode.
func formatBy(d smtp.DeliverBy) string { return d.At.Format(timeFormat) + " " + d.Mode() }

func parseBy(s string) (d smtp.DeliverBy, err error) {
	at, mode, _ := strings.Cut(s, " ")
	if d.At, err = time.Parse(timeFormat, at); err != nil {
		return d, err
	}
	mode, d.Trace = strings.CutSuffix(mode, "T")
	d.Return = mode == "R"
	if d.At.IsZero() || mode != "R" && mode != "N" {
		return d, damaged("deliver-by %q", s)
	}
	return d, nil
}

// last returns the last element of s, or nil.
func last[T any](s []T) *T {
	if len(s) == 0 {
		return nil
	}
	return &s[len(s)-1]
}

// lineWriter builds the text of a head or state.
type lineWriter struct{ buf []byte }

func (w *lineWriter) line(s string) { w.buf = append(append(w.buf, s...), '\n') }

func (w *lineWriter) field(key, value string) { w.line(key + " " + value) }

// eachField calls fn for every line between the first, which must be magic,
// and end, which must close the text and stand nowhere before.
func eachField(text, magic, end string, fn func(key, value string) error) error {
	if len(text) > maxHead {
		return damaged("longer than %d bytes", maxHead)
	}
	rest, ok := strings.CutPrefix(text, magic+"\n")
	if !ok {
		return damaged("does not begin with %q", magic)
	}
	rest, ok = strings.CutSuffix("\n"+rest, end)
	if !ok {
		return damaged("does not end where it should")
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(rest, "\n"), "\n") {
		if len(line) > maxLine {
			return damaged("line longer than %d bytes", maxLine)
		}
		key, value, _ := strings.Cut(line, " ")
		if err := fn(key, value); err != nil {
			if !errors.Is(err, errDamaged) {
				err = damaged("%s: %w", key, err)
			}
			return err
		}
	}
	return nil
}
