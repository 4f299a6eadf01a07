package message

import (
	"errors"
	"io"
	"strings"
)

// ErrBadEncoding is what a reader of DecodeTransfer ends with at damage.
var ErrBadEncoding = errors.New("damaged transfer encoding")

// DecodeTransfer undoes the Content-Transfer-Encoding of a part's body. known is false for
// an encoding that is none of RFC 2045; then r itself is returned. The reader ends
// with ErrBadEncoding where bytes are missing or can mean nothing (RFC 3516
// 4.3: UNKNOWN-CTE).
func DecodeTransfer(r io.Reader, encoding string) (decoded io.Reader, known bool) {
	return decodeTransfer(r, encoding, true)
}

func decodeTransfer(r io.Reader, encoding string, strict bool) (decoded io.Reader, known bool) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return r, true
	case "base64":
		return &transferReader{r: r, d: &base64Decoder{strict: strict}}, true
	case "quoted-printable":
		return &transferReader{r: r, d: &qpDecoder{strict: strict}}, true
	}
	return r, false
}

// transferDecoder turns encoded bytes into fewer decoded ones.
type transferDecoder interface {
	// decode appends what src means to dst.
	decode(dst, src []byte) ([]byte, error)
	// flush appends what the end of the input completes.
	flush(dst []byte) ([]byte, error)
}

// transferReader reads through a decoder.
type transferReader struct {
	r    io.Reader
	d    transferDecoder
	in   []byte
	out  []byte
	next []byte // of out, not yet read
	err  error
}

func (t *transferReader) Read(p []byte) (int, error) {
	if t.in == nil {
		t.in = make([]byte, 8<<10)
	}
	for len(t.next) == 0 && t.err == nil {
		n, err := t.r.Read(t.in)
		t.out, t.err = t.d.decode(t.out[:0], t.in[:n])
		if t.err == nil && err == io.EOF {
			if t.out, t.err = t.d.flush(t.out); t.err == nil {
				t.err = io.EOF
			}
		} else if t.err == nil {
			t.err = err
		}
		t.next = t.out
	}
	if len(t.next) == 0 {
		return 0, t.err
	}
	n := copy(p, t.next)
	t.next = t.next[n:]
	return n, nil
}

// base64Decoder passes over what is not of the alphabet (RFC 2045 6.8); after padding a
// new run may begin, as programs make that join encoded pieces.
type base64Decoder struct {
	strict bool
	bits   uint32
	n      int // characters in bits
	padded bool
}

// base64Value gives the value of a character, or one of those below.
var base64Value = func() (t [256]uint8) {
	for i := range t {
		t[i] = base64Junk
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = uint8(i)
	}
	for _, c := range " \t\r\n" {
		t[c] = base64Space
	}
	t['='] = base64Pad
	return t
}()

const (
	base64Space = 64 + iota
	base64Pad
	base64Junk
)

func (d *base64Decoder) decode(dst, src []byte) ([]byte, error) {
	for i := 0; i < len(src); i++ {
		if d.n == 0 && !d.padded {
			dst, i = decodeQuads(dst, src, i)
			if i == len(src) {
				break
			}
		}
		v := base64Value[src[i]]
		switch {
		case v < 64:
			if d.strict && d.padded {
				return dst, ErrBadEncoding
			}
			d.padded = false
			d.bits, d.n = d.bits<<6|uint32(v), d.n+1
			if d.n == 4 {
				dst = append(dst, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
				d.bits, d.n = 0, 0
			}
		case v == base64Pad:
			if d.strict && !d.padded && d.n < 2 {
				return dst, ErrBadEncoding
			}
			dst = d.short(dst)
			d.padded = true
		case v == base64Junk && d.strict:
			return dst, ErrBadEncoding
		}
	}
	return dst, nil
}

// decodeQuads decodes whole groups of four from src[i:] and returns where it stopped.
func decodeQuads(dst, src []byte, i int) ([]byte, int) {
	for ; i+4 <= len(src); i += 4 {
		a, b, c, e := base64Value[src[i]], base64Value[src[i+1]], base64Value[src[i+2]], base64Value[src[i+3]]
		if a|b|c|e >= 64 {
			break
		}
		v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
		dst = append(dst, byte(v>>16), byte(v>>8), byte(v))
	}
	return dst, i
}

// short appends the bytes of a group that is not full.
func (d *base64Decoder) short(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, byte(d.bits>>4))
	case 3:
		dst = append(dst, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return dst
}

func (d *base64Decoder) flush(dst []byte) ([]byte, error) {
	if d.strict && d.n > 0 {
		return dst, ErrBadEncoding
	}
	return d.short(dst), nil
}

// qpDecoder decodes quoted-printable (RFC 2045 6.7). White space is held back until it is
// clear that it does not end a line, an "=" until it is clear what it means.
type qpDecoder struct {
	strict bool
	held   []byte // "=" and what follows it, or white space; at most maxHeld
}

// maxHeld bounds white space that may have to be dropped; lines are short.
const maxHeld = 1 << 10

func (d *qpDecoder) decode(dst, src []byte) ([]byte, error) {
	for i := 0; i < len(src); i++ {
		c := src[i]
		if len(d.held) > 0 && d.held[0] == '=' {
			var again bool
			var err error
			if dst, again, err = d.escape(dst, c); err != nil {
				return dst, err
			}
			if !again {
				continue
			}
		}
		switch {
		case c == '=':
			dst = append(dst, d.held...)
			d.held = append(d.held[:0], c)
		case c == ' ' || c == '\t' || c == '\r':
			if len(d.held) == maxHeld {
				dst = append(dst, d.held...)
				d.held = d.held[:0]
			}
			d.held = append(d.held, c)
		case c == '\n':
			if n := len(d.held); n > 0 && d.held[n-1] == '\r' {
				dst = append(dst, '\r')
			}
			d.held = d.held[:0]
			dst = append(dst, c)
		default:
			if len(d.held) > 0 {
				dst = append(dst, d.held...)
				d.held = d.held[:0]
			}
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// escape takes the byte c after an "=". again says that c is to be read as if there had
// been no "=".
func (d *qpDecoder) escape(dst []byte, c byte) (out []byte, again bool, err error) {
	switch n := len(d.held); {
	case c == '\n' && (n == 1 || d.held[n-1] == ' ' || d.held[n-1] == '\t' || d.held[n-1] == '\r'):
		d.held = d.held[:0] // a soft line break
		return dst, false, nil
	case (c == ' ' || c == '\t' || c == '\r') && n < maxHeld && (n == 1 || hexValue(d.held[1]) < 0):
		d.held = append(d.held, c)
		return dst, false, nil
	case n == 1 && hexValue(c) >= 0:
		d.held = append(d.held, c)
		return dst, false, nil
	case n == 2 && hexValue(d.held[1]) >= 0 && hexValue(c) >= 0:
		dst = append(dst, byte(hexValue(d.held[1])<<4|hexValue(c)))
		d.held = d.held[:0]
		return dst, false, nil
	}
	if d.strict {
		return dst, false, ErrBadEncoding
	}
	dst = append(dst, d.held...) // it means itself
	d.held = d.held[:0]
	return dst, true, nil
}

func (d *qpDecoder) flush(dst []byte) ([]byte, error) {
	if len(d.held) > 0 && d.held[0] == '=' {
		switch {
		case len(d.held) == 1 || hexValue(d.held[1]) < 0: // a soft line break at the end
			return dst, nil
		case d.strict:
			return dst, ErrBadEncoding
		}
		return append(dst, d.held...), nil
	}
	return dst, nil
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
