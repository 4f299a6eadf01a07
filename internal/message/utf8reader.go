package message

import (
	"bytes"
	"io"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// A utf8Reader passes UTF-8 on as it reads it, and from the first byte on that is not, does
// what utf8OrLatin does. Nearly all texts are what they say they are.
type utf8Reader struct {
	r     io.Reader
	begun [utf8.UTFMax]byte // the start of a character
	n     int               // bytes of it
	err   error             // of r, once begun is returned
	latin io.Reader         // nil: there was only UTF-8 yet
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	if u.latin == nil && len(p) < 2*utf8.UTFMax {
		u.convert(nil)
	}
	for u.latin == nil {
		if u.err != nil {
			return 0, u.err
		}
		n, err := u.r.Read(p[copy(p, u.begun[:u.n]):])
		n += u.n
		u.n, u.err = 0, err
		if err == nil {
			whole := lastStart(p[:n])
			u.n = copy(u.begun[:], p[whole:n])
			n = whole
		}
		if !utf8.Valid(p[:n]) {
			u.convert(p[:n])
			break
		}
		if n > 0 {
			return n, nil
		}
	}
	return u.latin.Read(p)
}

// convert has the rest converted: text, what has begun, and what r still has.
func (u *utf8Reader) convert(text []byte) {
	rest := u.r
	if u.err != nil {
		rest = failedReader{u.err}
	}
	first := append(bytes.Clone(text), u.begun[:u.n]...)
	u.latin = transform.NewReader(io.MultiReader(bytes.NewReader(first), rest), utf8OrLatin{})
}

// failedReader is what is left of a reader that has returned an error.
type failedReader struct{ err error }

func (f failedReader) Read([]byte) (int, error) { return 0, f.err }
