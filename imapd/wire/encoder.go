package wire

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// writeBuffer is the size at which the encoder writes without being asked: two TLS records.
const writeBuffer = 32 << 10

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeBuffer)
	return &b
}}

// An Encoder writes responses into one buffer, which goes out when it is full or at Flush. It keeps
// the first error of the stream; what is written after it goes nowhere. The methods return the
// encoder, so that a response reads like its grammar.
type Encoder struct {
	// UTF8: the client takes UTF-8 in quoted strings and mailbox names (RFC 6855, RFC 9051).
	UTF8 bool

	w    io.Writer
	buf  []byte
	pool *[]byte
	err  error
}

// NewEncoder writes responses to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Reset continues with another stream. What is buffered must be flushed before.
func (e *Encoder) Reset(w io.Writer) { e.w = w }

// Err is the stream's first error.
func (e *Encoder) Err() error { return e.err }

// Flush sends what is buffered, and gives the buffer back.
func (e *Encoder) Flush() error {
	if len(e.buf) > 0 {
		e.send()
	}
	if e.pool != nil {
		*e.pool = e.buf[:0]
		if cap(e.buf) == writeBuffer {
			writeBuffers.Put(e.pool)
		}
		e.pool, e.buf = nil, nil
	}
	return e.err
}

func (e *Encoder) send() {
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

// Room returns the buffer with room for n more bytes, to be appended to and given back by Took. It
// is the fast way for callers that write many small things.
func (e *Encoder) Room(n int) []byte {
	if e.pool == nil {
		e.pool = writeBuffers.Get().(*[]byte)
		e.buf = (*e.pool)[:0]
	}
	if len(e.buf)+n > writeBuffer && len(e.buf) > 0 {
		e.send()
	}
	return e.buf
}

// Took stores the buffer that Room has returned, after appending.
func (e *Encoder) Took(b []byte) { e.buf = b }

// Raw writes s as it stands: constants, and text that was made by this package or a type's own
// Append method.
func (e *Encoder) Raw(s string) *Encoder {
	e.buf = append(e.Room(len(s)), s...)
	return e
}

// Bytes writes b as it stands.
func (e *Encoder) Bytes(b []byte) *Encoder {
	if len(b) > writeBuffer {
		e.Room(0)
		e.send()
		if e.err == nil {
			_, e.err = e.w.Write(b)
		}
		return e
	}
	e.buf = append(e.Room(len(b)), b...)
	return e
}

// SP writes a space.
func (e *Encoder) SP() *Encoder { return e.Raw(" ") }

// CRLF ends a response.
func (e *Encoder) CRLF() *Encoder { return e.Raw("\r\n") }

// Num writes a number.
func (e *Encoder) Num(n uint64) *Encoder {
	e.buf = strconv.AppendUint(e.Room(20), n, 10)
	return e
}

// DateTime writes a date-time with its quotes.
func (e *Encoder) DateTime(t time.Time) *Encoder {
	e.buf = AppendDateTime(e.Room(32), t)
	return e
}

// Ranges writes a set.
func (e *Encoder) Ranges(rs Ranges) *Encoder {
	e.buf = rs.Append(e.Room(32))
	return e
}

// String writes s as a quoted string where the grammar allows it, else as a literal.
func (e *Encoder) String(s string) *Encoder {
	e.buf = AppendString(e.Room(len(s)+16), s, e.UTF8)
	return e
}

// NString writes s, or NIL when ok is false.
func (e *Encoder) NString(s string, ok bool) *Encoder {
	if !ok {
		return e.Raw("NIL")
	}
	return e.String(s)
}

// Mailbox writes a mailbox name.
func (e *Encoder) Mailbox(name string) *Encoder {
	if !e.UTF8 {
		name = EncodeUTF7(name)
	}
	if IsAtom(name) && !strings.EqualFold(name, "NIL") {
		return e.Raw(name)
	}
	return e.String(name)
}

// Text writes human-readable text (resp-text): controls become "?", and it is never empty.
// Non-ASCII only where UTF8 is on.
func (e *Encoder) Text(s string) *Encoder {
	b := e.Room(len(s) + 1)
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r >= 0x80 && !e.UTF8 || r == utf8.RuneError {
			r = '?'
		}
		b = utf8.AppendRune(b, r)
	}
	if s == "" {
		b = append(b, '.')
	}
	e.buf = b
	return e
}

// Literal announces n bytes; the caller writes exactly these next, by Bytes or Copy.
func (e *Encoder) Literal(n int64) *Encoder {
	return e.Raw("{").Num(uint64(n)).Raw("}\r\n")
}

// Copy writes exactly n bytes of r, through the buffer. When r fails, the promise made by Literal
// can only be kept by closing the connection: the error is the stream's error then.
func (e *Encoder) Copy(r io.Reader, n int64) *Encoder {
	for n > 0 && e.err == nil {
		b := e.Room(0)
		if len(b) >= writeBuffer {
			e.send()
			b = e.buf
		}
		space := int64(writeBuffer - len(b))
		m, err := r.Read(b[len(b) : int64(len(b))+min(space, n)])
		e.buf = b[:len(b)+m]
		n -= int64(m)
		if err != nil && n > 0 {
			e.err = err
			if err == io.EOF {
				e.err = io.ErrUnexpectedEOF
			}
		}
	}
	return e
}

// Fail makes err the stream's error: nothing more is sent.
func (e *Encoder) Fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// AppendString appends s as a quoted string where the grammar allows it, else as a literal.
func AppendString(b []byte, s string, utf8OK bool) []byte {
	if !quotable(s, utf8OK) {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, "}\r\n"...)
		return append(b, s...)
	}
	b = append(b, '"')
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 {
		return append(append(b, s...), '"')
	}
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// quotable: RFC 9051 4.3: no CR, LF, NUL; RFC 3501: no 8-bit. Very long ones are literals, because
// clients have line limits.
func quotable(s string, utf8OK bool) bool {
	if len(s) > 1000 || strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, 0) >= 0 {
		return false
	}
	return isASCII(s) || utf8OK && utf8.ValidString(s)
}

func isASCII(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		if (s[0]|s[1]|s[2]|s[3]|s[4]|s[5]|s[6]|s[7])&0x80 != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
