package milter

import (
	"io"
	"strings"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// Message is a message that filters see and may change.
type Message struct {
	Header   *Header
	Body     io.ReaderAt
	BodySize int64
	// Replaced is the Body when a filter has written it; whoever made the
	// Message closes it.
	Replaced Body

	Size    int64       // of the whole message as it came
	MaxSize int64       // of a body that filters write
	NewBody func() Body // makes room for one
}

// Outcome is what the filters have decided about a message besides changing it.
type Outcome struct {
	Discard    bool // the client hears yes, nobody gets the message
	Quarantine bool
	By         string // the filter that decided so
	Reason     string // of the quarantine
	Changed    bool   // the message is not as it was

	Add, Drop []smtp.Address // recipients
	From      *smtp.Address  // another reverse-path; nil: as it was
	// Fields are those that filters have written, in order.
	Fields []Field
}

// Field is a header field in a filter's words, on one line.
type Field struct{ Name, Value string }

// Message shows the message to each filter that wants to see it, and makes the
// changes that they ask for.
func (v *Conversation) Message(m *Message) (Outcome, error) {
	var out Outcome
	defer v.Abort()
	for _, t := range v.talks {
		if v.discarded != "" {
			return Outcome{Discard: true, By: v.discarded}, nil
		}
		if !t.within {
			continue
		}
		if t.cfg.MaxSize > 0 && m.Size > t.cfg.MaxSize {
			v.log.Info("filtered", "id", v.id, "by", t.cfg.Name, "verdict", "skipped", "size", m.Size)
			continue
		}
		changes, o, r, err := t.session.message(v.id, m)
		if err == nil && changes != nil {
			t.within = false
			err = m.apply(changes, &out, t.cfg.Name)
		}
		switch {
		case err != nil:
			if err := v.failed(t, "DATA", err); err != nil {
				return out, err
			}
		case o == refuse:
			v.log.Info("filtered", "id", v.id, "by", t.cfg.Name, "verdict", "refuse", "command", "DATA", "code", r.Code, "err", r)
			return out, r
		case o == discard:
			v.discarded = t.cfg.Name
		}
	}
	if v.discarded != "" {
		return Outcome{Discard: true, By: v.discarded}, nil
	}
	return out, nil
}

// apply makes a filter's changes, all of them or none.
func (m *Message) apply(c *changes, out *Outcome, by string) error {
	size := len(m.Header.Top()) + len(m.Header.Raw())
	for _, f := range c.fields {
		size += len(f.raw())
	}
	if len(c.fields) > 0 && size > message.MaxHeaderBytes {
		c.discard()
		return nonsense("a header of more than %d octets", message.MaxHeaderBytes)
	}
	for _, f := range c.fields {
		out.Changed = true
		if m.Header.apply(f) {
			out.Fields = append(out.Fields, Field{f.name, oneLine(f.value)})
		}
	}
	if c.body != nil {
		out.Changed = true
		if m.Replaced != nil {
			m.Replaced.Close()
		}
		m.Replaced, m.Body, m.BodySize = c.body, c.body, c.body.Size()
	}
	out.Add, out.Drop = append(out.Add, c.add...), append(out.Drop, c.drop...)
	if c.from != nil {
		out.From = c.from
	}
	if c.quarantine && !out.Quarantine {
		out.Quarantine, out.By, out.Reason = true, by, c.reason
	}
	return nil
}

// oneLine is a value without its folds.
func oneLine(value string) string { return strings.Join(strings.Fields(value), " ") }
