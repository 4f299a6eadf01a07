package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// utf7 is UTF-7 (RFC 2152), which only old mail uses and no library decodes.
type utf7 struct{}

func (utf7) NewDecoder() *encoding.Decoder { return &encoding.Decoder{Transformer: &utf7Decoder{}} }
func (utf7) NewEncoder() *encoding.Encoder { return encoding.Replacement.NewEncoder() } // never written

// utf7Decoder holds the bits of a shifted sequence that make no UTF-16 unit yet.
type utf7Decoder struct {
	shifted bool
	fresh   bool // the last byte was the "+"
	bits    uint32
	n       uint
	high    rune // a first surrogate without its second
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += len(d.take(dst[nDst:nDst], src[nSrc]))
		nSrc++
	}
	return nDst, nSrc, nil
}

// take appends what one byte completes.
func (d *utf7Decoder) take(dst []byte, c byte) []byte {
	if !d.shifted {
		if c == '+' {
			*d = utf7Decoder{shifted: true, fresh: true}
			return dst
		}
		return utf8.AppendRune(dst, ascii(c))
	}
	v := base64Value[c]
	if v < 64 {
		d.fresh = false
		d.bits, d.n = d.bits<<6|uint32(v), d.n+6
		if d.n < 16 {
			return dst
		}
		d.n -= 16
		return d.unit(dst, rune(d.bits>>d.n&0xffff))
	}
	fresh := d.fresh
	if d.high != 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	*d = utf7Decoder{}
	switch {
	case c != '-':
		return utf8.AppendRune(dst, ascii(c))
	case fresh: // "+-" is a plus
		return append(dst, '+')
	}
	return dst
}

// unit appends what one UTF-16 unit completes.
func (d *utf7Decoder) unit(dst []byte, u rune) []byte {
	high := d.high
	d.high = 0
	if high != 0 {
		if r := utf16.DecodeRune(high, u); r != utf8.RuneError {
			return utf8.AppendRune(dst, r)
		}
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	if 0xd800 <= u && u < 0xdc00 {
		d.high = u
		return dst
	}
	return utf8.AppendRune(dst, u) // a lone second surrogate becomes RuneError
}

func ascii(c byte) rune {
	if c >= utf8.RuneSelf {
		return utf8.RuneError
	}
	return rune(c)
}
