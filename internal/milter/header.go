package milter

import (
	"bytes"
	"slices"
	"strings"

	"buzon/internal/message"
)

// Header is the header of a message in the hands of filters. Every field that
// none of them changes stays byte for byte as it came.
//
// The fields that we put on top ourselves (Received and the like) are not in it
// yet; like Sendmail we count them as one field at position 0 that filters are
// not shown: what is inserted at 0 stands above them, what is inserted at 1
// below.
type Header struct {
	fields []field
	end    []byte // the empty line, if there was one
}

type field struct {
	name string // "" for a line that is no field
	raw  []byte // with name, colon and line ends
	ours bool   // stands for the fields that we put on top
}

// value is what follows the colon.
func (f field) value() []byte { return f.raw[bytes.IndexByte(f.raw, ':')+1:] }

// NewHeader returns h as filters see it.
func NewHeader(h *message.Header) *Header {
	e := &Header{fields: []field{{ours: true}}}
	end := 0
	for f := range h.Fields() {
		e.fields = append(e.fields, field{name: f.Name, raw: f.Raw})
		end = f.Offset + len(f.Raw)
	}
	e.end = h.Raw()[end:]
	return e
}

// Top returns the fields that stand above ours.
func (h *Header) Top() []byte { return join(h.fields[:h.ours()]) }

// Raw returns the fields below ours and the end of the header.
func (h *Header) Raw() []byte { return append(join(h.fields[h.ours()+1:]), h.end...) }

func (h *Header) ours() int { return slices.IndexFunc(h.fields, func(f field) bool { return f.ours }) }

func join(fields []field) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, f.raw...)
	}
	return b
}

// fieldChange is a field to be added, inserted, changed or taken away.
type fieldChange struct {
	kind  byte
	index uint32
	name  string
	value string // as it follows the colon; "" takes the field away
}

// apply makes a change. It reports whether a field was written.
func (h *Header) apply(c fieldChange) bool {
	written := field{name: c.name, raw: c.raw()}
	switch c.kind {
	case changeInsertHeader:
		at := h.position(c.index)
		if at == len(h.fields) {
			h.finish()
		}
		h.fields = slices.Insert(h.fields, at, written)
		return true
	case changeHeader:
		if at := h.find(c.name, max(c.index, 1)); at >= 0 {
			if c.value == "" {
				h.fields = slices.Delete(h.fields, at, at+1)
				return false
			}
			h.fields[at] = written
			return true
		}
		if c.value == "" {
			return false
		}
	}
	h.finish()
	h.fields = append(h.fields, written)
	return true
}

// finish gives the last field the line end that it lacks when the message
// ended there.
func (h *Header) finish() {
	last := &h.fields[len(h.fields)-1]
	if len(last.raw) > 0 && last.raw[len(last.raw)-1] != '\n' {
		last.raw = append(slices.Clone(last.raw), "\r\n"...)
	}
}

// position returns where a field is inserted before the nth that filters count.
func (h *Header) position(n uint32) int {
	for i, f := range h.fields {
		if f.ours || f.name != "" {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return len(h.fields)
}

// find returns where the nth field of a name is, or -1.
func (h *Header) find(name string, nth uint32) int {
	for i, f := range h.fields {
		if strings.EqualFold(f.name, name) && !f.ours {
			if nth--; nth == 0 {
				return i
			}
		}
	}
	return -1
}

// raw is the field as it stands in a message. Lines of the value are folded:
// none of them can be taken for another field, or for the end of the header.
func (c fieldChange) raw() []byte {
	raw := append([]byte(c.name), ':')
	first := true
	for line := range strings.SplitSeq(strings.ReplaceAll(c.value, "\r", ""), "\n") {
		switch {
		case first:
		case strings.Trim(line, " \t") == "":
			continue
		case line[0] != ' ' && line[0] != '\t':
			raw = append(raw, "\r\n\t"...)
		default:
			raw = append(raw, "\r\n"...)
		}
		raw, first = append(raw, line...), false
	}
	return append(raw, "\r\n"...)
}
