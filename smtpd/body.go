package smtpd

import "io"

// body is the message that a session reads from its gate.
type body struct {
	source interface {
		// next returns the next piece, which is valid until the next call.
		// The error is io.EOF at the end, or why there is no message.
		next() ([]byte, error)
		// skip reads what must be read before the client can be answered.
		skip()
	}
	rest []byte // of a piece that Read has returned in part
}

func (b *body) skip() { b.source.skip() }

func (b *body) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		piece, err := b.source.next()
		if err != nil {
			return 0, err
		}
		b.rest = piece
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// WriteTo writes the rest of the message to w without copying it about.
func (b *body) WriteTo(w io.Writer) (n int64, err error) {
	piece := b.rest
	b.rest = nil
	for err == nil {
		m, werr := w.Write(piece)
		n += int64(m)
		if werr != nil {
			return n, werr
		}
		piece, err = b.source.next()
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
