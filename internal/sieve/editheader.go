package sieve

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"buzon/internal/message"
)

// guarded are the fields that scripts cannot add or delete: they are what
// loops are found by, and the trace of the message (RFC 5293 6).
var guarded = []string{"received", "auto-submitted", "return-path", "delivered-to", "x-original-to"}

// addHeader compiles the action of RFC 5293 4.
func (c *compiler) addHeader(n node) (step, error) {
	p := c.params(n, map[string]tagRule{"last": {}}, 2, 2)
	p.need("editheader")
	name, value, last := p.text(0), p.text(1), p.has("last")
	if name.fixed() && p.err == nil && !validField(name.constant) {
		p.fail(n.line, "%q cannot be the name of a field", name.constant)
	}
	return func(r *run) error {
		name, value := name.value(r), value.value(r)
		switch {
		case !validField(name):
			return fmt.Errorf("addheader: %q cannot be the name of a field", name)
		case isGuarded(name):
			return nil // RFC 5293 6: passed over
		case len(value) > maxValue:
			return fmt.Errorf("%w: addheader: the value is too long", ErrLimit)
		}
		if countAdded(r.header.fields) == maxEdits {
			return fmt.Errorf("%w: more than %d fields added", ErrLimit, maxEdits)
		}
		f := newField(name, value)
		if last {
			r.header.fields = append(slices.Clip(r.header.fields), f)
		} else {
			at := 0 // below the trace, which must stay on top (RFC 5321 4.4)
			for at < len(r.header.fields) && isGuarded(r.header.fields[at].name) {
				at++
			}
			r.header.fields = slices.Insert(slices.Clone(r.header.fields), at, f)
		}
		r.header.edited = true
		return r.spend(len(r.header.fields))
	}, p.err
}

func countAdded(fields []headerField) (n int) {
	for _, f := range fields {
		if f.added {
			n++
		}
	}
	return n
}

func validField(name string) bool {
	return name != "" && len(name) <= 76 && !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == ':' })
}

func isGuarded(name string) bool { return slices.Contains(guarded, strings.ToLower(name)) }

// newField writes a field whose lines are at most 76 characters where there
// is white space to fold at. What is not ASCII is encoded (RFC 2047).
func newField(name, value string) headerField {
	value = strings.TrimSpace(strings.Map(func(c rune) rune {
		if c == '\t' || c == '\r' || c == '\n' {
			return ' '
		} else if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, value))
	var b strings.Builder
	b.WriteString(name + ":")
	column := b.Len()
	for _, word := range strings.Fields(mime.QEncoding.Encode("utf-8", value)) {
		if column+1+len(word) > 76 && column > len(name)+1 {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
	return headerField{name: name, value: value, raw: []byte(b.String()), added: true}
}

// deleteHeader compiles the action of RFC 5293 5.
func (c *compiler) deleteHeader(n node) (step, error) {
	rules := tagsOf(matching, map[string]tagRule{"index": {value: aNumber}, "last": {}})
	p := c.params(n, rules, 1, 2)
	p.need("editheader")
	name, pos := p.text(0), p.position()
	var m *matcher
	if len(p.args) == 2 {
		m = p.matcher(1)
		if m.how == "count" {
			p.fail(n.line, `":count" cannot be used here`)
		}
		m.quiet = true
	}
	if name.fixed() && p.err == nil && !validField(name.constant) {
		p.fail(n.line, "%q cannot be the name of a field", name.constant)
	}
	return func(r *run) error {
		name := name.value(r)
		if isGuarded(name) {
			return nil
		}
		named := r.header.named(name)
		nth, kept := 0, make([]headerField, 0, len(r.header.fields))
		for _, f := range r.header.fields {
			if !strings.EqualFold(f.name, name) {
				kept = append(kept, f)
				continue
			}
			nth++
			gone := pos.n == 0 || !pos.last && nth == pos.n || pos.last && nth == len(named)+1-pos.n
			if gone && m != nil {
				var err error
				if gone, err = m.match(r, message.DecodeHeader(f.value)); err != nil {
					return err
				}
			}
			if !gone {
				kept = append(kept, f)
			}
		}
		if len(kept) < len(r.header.fields) {
			r.header.fields, r.header.edited = kept, true
		}
		return nil
	}, p.err
}
