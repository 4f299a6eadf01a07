package sieve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"buzon/internal/message"
)

// header is the message's header as the script has made it. Its fields are
// never changed in place, so that an action keeps the header it had.
type header struct {
	fields []headerField
	edited bool
}

type headerField struct {
	name  string
	value string // unfolded, not decoded, trimmed
	raw   []byte
	added bool // by the script
}

func readHeader(m Message) (header, error) {
	h, err := message.ReadHeader(bufio.NewReader(io.NewSectionReader(m.Content, 0, m.Size)), message.HeaderLimits{})
	switch {
	case errors.Is(err, message.ErrHeaderTooBig), errors.Is(err, message.ErrTooManyFields), errors.Is(err, message.ErrFieldTooBig):
		return header{}, fmt.Errorf("%w: %w", ErrLimit, err)
	case err != nil:
		return header{}, fmt.Errorf("read message: %w", err)
	}
	hd := header{}
	for f := range h.Fields() {
		hd.fields = append(hd.fields, headerField{name: f.Name, value: f.Value(), raw: f.Raw})
	}
	return hd, nil
}

// named returns the fields called name, in order.
func (h *header) named(name string) (fields []headerField) {
	for _, f := range h.fields {
		if strings.EqualFold(f.name, name) {
			fields = append(fields, f)
		}
	}
	return fields
}

// bytes returns the header with its empty line, or nil when it is as it came.
func (h *header) bytes() []byte {
	if !h.edited {
		return nil
	}
	var b []byte
	for _, f := range h.fields {
		b = append(b, f.raw...)
		if b[len(b)-1] != '\n' { // the message ends in its header
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// indexed are the tags of RFC 5260 6.
var indexed = map[string]tagRule{"index": {aNumber, "index"}, "last": {nothing, "index"}}

// position is which of several fields is meant; zero means all.
type position struct {
	n    int
	last bool
}

func (p *params) position() position {
	pos := position{n: int(min(p.tags["index"].number, 1<<20)), last: p.has("last")}
	if p.has("index") && pos.n == 0 {
		p.fail(p.node.line, "\":index\" counts from 1")
	}
	if pos.last && pos.n == 0 {
		p.fail(p.node.line, "\":last\" needs \":index\"")
	}
	return pos
}

func (p position) pick(fields []headerField) []headerField {
	switch {
	case p.n == 0:
		return fields
	case p.n > len(fields):
		return nil
	case p.last:
		return fields[len(fields)-p.n:][:1]
	}
	return fields[p.n-1:][:1]
}

// header compiles the test of RFC 5228 5.7.
func (c *compiler) header(n node) (check, error) {
	p := c.params(n, tagsOf(matching, indexed), 2, 2)
	names, m, pos := p.list(0), p.matcher(1), p.position()
	return func(r *run) (bool, error) {
		return m.any(r, func(yield func(string) bool) {
			for _, name := range values(r, names) {
				for _, f := range pos.pick(r.header.named(name)) {
					if !yield(message.DecodeHeader(f.value)) {
						return
					}
				}
			}
		})
	}, p.err
}

// exists compiles the test of RFC 5228 5.5.
func (c *compiler) exists(n node) (check, error) {
	p := c.params(n, nil, 1, 1)
	names := p.list(0)
	return func(r *run) (bool, error) {
		return !slices.ContainsFunc(values(r, names), func(name string) bool { return len(r.header.named(name)) == 0 }), nil
	}, p.err
}

// size compiles the test of RFC 5228 5.9.
func (c *compiler) size(n node) (check, error) {
	p := c.params(n, map[string]tagRule{"over": {}, "under": {}}, 1, 1)
	limit, which := p.number(0), p.only("over", "under")
	if which == "" {
		p.fail(n.line, `"size" takes ":over" or ":under"`)
	}
	return func(r *run) (bool, error) {
		size := uint64(r.message.Size)
		return which == "over" && size > limit || which == "under" && size < limit, nil
	}, p.err
}
