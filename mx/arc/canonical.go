package arc

import (
	"bytes"
	"io"
)

// relaxedHeader is a field under the relaxed canonicalization (RFC 6376
// 3.4.2), with its CRLF.
func relaxedHeader(raw []byte) []byte {
	name, value, _ := bytes.Cut(raw, []byte(":"))
	out := append(bytes.ToLower(bytes.Trim(name, " \t\r\n")), ':')
	for i, word := range bytes.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }) {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, word...)
	}
	return append(out, "\r\n"...)
}

// bodyCanon writes a body to w under a canonicalization (RFC 6376 3.4.3 and
// 3.4.4). It holds nothing back but the number of line ends and whether there
// was white space, so that its work is linear whatever the body is.
type bodyCanon struct {
	w       io.Writer
	relaxed bool
	ends    int  // CRLFs that are written only before something else
	space   bool // white space that may be the end of its line
	cr      bool // a CR that may begin a CRLF
	any     bool // something was written
	out     []byte
}

func (c *bodyCanon) Write(p []byte) (int, error) {
	c.out = c.out[:0]
	for _, b := range p {
		if c.cr && b != '\n' {
			c.put('\r') // on its own it is a character like others
		}
		c.cr = false
		switch {
		case b == '\r':
			c.cr = true
		case b == '\n':
			c.ends++
			c.space = false
		case c.relaxed && (b == ' ' || b == '\t'):
			c.space = true
		default:
			c.put(b)
		}
		if len(c.out) > 16<<10 {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), c.flush()
}

func (c *bodyCanon) put(b byte) {
	for ; c.ends > 0; c.ends-- {
		c.out = append(c.out, '\r', '\n')
		if len(c.out) > 16<<10 {
			_ = c.flush() // of a hash: it does not fail
		}
	}
	if c.space {
		c.out, c.space = append(c.out, ' '), false
	}
	c.out, c.any = append(c.out, b), true
}

func (c *bodyCanon) flush() error {
	_, err := c.w.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Close ends the body: with one CRLF, but for an empty one under relaxed.
func (c *bodyCanon) Close() error {
	if c.cr {
		c.put('\r')
	}
	if c.any || !c.relaxed {
		c.out = append(c.out, '\r', '\n')
	}
	return c.flush()
}
