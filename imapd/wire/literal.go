package wire

import (
	"io"
)

// A Literal is announced, and not yet read (RFC 9051 4.3). The command that meets one must either
// Accept it and read it to its end, or leave it: Decoder.Skip then keeps the stream in step.
type Literal struct {
	Size    int64
	NonSync bool // RFC 7888: the client does not wait
	Binary  bool // literal8, RFC 3516: may hold NUL

	d        *Decoder
	left     int64
	accepted bool
}

// Accept tells the client to send. Then Read yields exactly Size bytes.
func (l *Literal) Accept() error {
	if l.accepted {
		return nil
	}
	l.accepted = true
	d := l.d
	if d.OnLiteral != nil {
		d.OnLiteral(l.Size)
	}
	if !l.NonSync {
		d.ended = false
		d.lit = l
		if err := d.Continue(); err != nil {
			d.die(err)
			return err
		}
	}
	if l.Size == 0 {
		d.lit = nil
	}
	return nil
}

// Read reads the literal's content; io.EOF after Size bytes, io.ErrUnexpectedEOF when the client
// goes away before.
func (l *Literal) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	d := l.d
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	var n int
	if d.r < d.w {
		n = copy(p, d.bytes()[d.r:d.w])
		d.r += n
	} else {
		// Straight from the network: a large literal is not copied through the buffer.
		if d.dead != nil {
			return 0, d.dead
		}
		var err error
		if n, err = d.read(p); err != nil {
			err = noEOF(err)
			d.die(err)
			return 0, err
		}
		d.forget()
	}
	if l.left -= int64(n); l.left == 0 {
		d.lit = nil
		d.forget()
	}
	return n, nil
}

// forget makes sure that literal content is never looked back at.
func (d *Decoder) forget() {
	clear(d.bytes()[max(0, d.r-lookBack):d.r])
}

// Literal decodes an announcement: {n}, {n+}, and with ~ in front a literal8. Nothing is read of
// the content.
func (d *Decoder) Literal() *Literal {
	l := &Literal{d: d}
	l.Binary = d.Is('~')
	d.Expect('{')
	l.Size = d.Number64()
	if d.err != nil && d.dead == nil {
		// A number that cannot be one: whether content follows is anybody's guess, and Skip looks
		// for it.
		return l
	}
	l.NonSync = d.Is('+')
	d.Expect('}')
	if d.err != nil {
		return l
	}
	d.Is('\r')
	if d.peek() != '\n' {
		d.Fail("expected a line end after the literal's size")
		return l
	}
	d.take()
	if d.err != nil && !l.NonSync {
		d.ended = true
		return l
	}
	l.left = l.Size
	if l.NonSync {
		d.lit = l
	} else {
		d.ended = true // until it is accepted
	}
	return l
}

// literalString reads a literal into memory, within the limits.
func (d *Decoder) literalString() string {
	l := d.Literal()
	if d.err != nil {
		return ""
	}
	if l.Size > d.lim.Literal {
		d.fail(&TooBigError{"literal", d.lim.Literal})
		return ""
	}
	if d.sum += l.Size; d.sum > d.lim.Sum {
		d.fail(&TooBigError{"sum of literals", d.lim.Sum})
		return ""
	}
	if err := l.Accept(); err != nil {
		return ""
	}
	// Memory grows with what arrives, not with what was announced.
	var content []byte
	for l.left > 0 {
		n := min(l.left, 4096)
		if int64(cap(content)-len(content)) < n {
			content = append(content, make([]byte, n)...)[:len(content)]
		}
		m, err := l.Read(content[len(content) : int64(len(content))+n])
		if err != nil {
			return ""
		}
		content = content[:len(content)+m]
	}
	for _, c := range content {
		if c == 0 && !l.Binary {
			d.Fail("NUL in a literal") // RFC 9051 4.3
			return ""
		}
	}
	return string(content)
}
