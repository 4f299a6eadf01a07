// Package wire reads and writes the IMAP grammar of RFC 9051 section 9 (and, where they differ, of
// RFC 3501). It knows nothing of mailboxes, users or connection state.
//
// The decoder reads from the network byte by byte through one small buffer; it never keeps more of
// a command than Limits allow, and after an error it can always skip to the next command: octets
// that the client announced as a literal are thrown away as data and never read as commands.
package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Limits bound one command. They hold before anything is allocated.
type Limits struct {
	Line    int   // bytes of the command outside of literals
	Literal int64 // bytes of one literal, or of one quoted string, kept in memory
	Sum     int64 // bytes of all literals kept in memory
	Items   int   // elements of all lists
	Depth   int   // nested parentheses
	Drain   int64 // bytes that may be read and thrown away to stay in step after an error
}

const (
	readBuffer = 8 << 10
	// lookBack is how much consumed input stays in the buffer, so that Skip can see a literal's
	// announcement: {18446744073709551615+} CRLF.
	lookBack = 32
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// A Decoder reads commands. It keeps the first error of a command: after one, every method returns
// its zero value, so a command is decoded in one sweep and the error is looked at once, at End.
type Decoder struct {
	// BeforeRead is called before the decoder waits for the network: the place to flush what was
	// written and to set a deadline.
	BeforeRead func() error
	// Continue answers a synchronising literal: it writes a continuation request and flushes.
	Continue func() error
	// OnLiteral, if set, is told the size of each literal that is about to be read.
	OnLiteral func(size int64)
	// UTF8: mailbox names and quoted strings are UTF-8 (RFC 6855, RFC 9051). Otherwise names are in
	// modified UTF-7.
	UTF8 bool

	src   io.Reader
	lim   Limits
	buf   *[readBuffer]byte // nil while idle
	small [16]byte          // takes the first bytes after an idle time
	r, w  int

	// Of the command at hand.
	err    error
	line   int
	sum    int64
	items  int
	depth  int
	ended  bool     // its last line is consumed
	lit    *Literal // announced and not yet read to its end
	dead   error    // the stream cannot be read any more
	budget int64    // for Skip
}

// NewDecoder reads commands from src.
func NewDecoder(src io.Reader, lim Limits) *Decoder {
	return &Decoder{src: src, lim: lim, ended: true}
}

// Reset continues with another source and forgets everything that is buffered: what a client sent
// in the clear behind STARTTLS must never be read as if it came under TLS (RFC 9051 6.2.1).
func (d *Decoder) Reset(src io.Reader) {
	d.src = src
	d.r, d.w = 0, 0
	d.ended = true
}

// SetLimits takes effect with the next command.
func (d *Decoder) SetLimits(lim Limits) { d.lim = lim }

// Buffered is the number of bytes at hand without waiting.
func (d *Decoder) Buffered() int { return d.w - d.r }

// Release gives the buffer back while nothing is in it. An idle connection then costs no buffer.
func (d *Decoder) Release() {
	if d.buf != nil && d.r == d.w {
		readBuffers.Put(d.buf)
		d.buf = nil
		d.r, d.w = 0, 0
	}
}

// Wait blocks until the first byte of the next command is there.
func (d *Decoder) Wait() error {
	if d.r < d.w {
		return nil
	}
	return d.fill()
}

// Begin starts a command. The one before must have ended (End, Skip).
func (d *Decoder) Begin() {
	d.err, d.lit = nil, nil
	d.line, d.sum, d.items, d.depth = 0, 0, 0, 0
	d.ended = false
	d.budget = d.lim.Drain
}

// Err is the first error of the command.
func (d *Decoder) Err() error { return d.err }

// Fail records a syntax error, if it is the first.
func (d *Decoder) Fail(msg string) {
	if d.err == nil {
		d.err = &SyntaxError{msg}
	}
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// die records that the stream itself failed.
func (d *Decoder) die(err error) {
	if d.dead == nil {
		d.dead = err
	}
	d.fail(err)
}

func (d *Decoder) bytes() []byte {
	if d.buf == nil {
		return d.small[:]
	}
	return d.buf[:]
}

// fill waits for more input. The last lookBack consumed bytes stay readable in front of d.r.
func (d *Decoder) fill() error {
	if d.dead != nil {
		return d.dead
	}
	if d.buf == nil {
		return d.fillIdle()
	}
	keep := min(lookBack, d.r)
	copy(d.buf[:], d.buf[d.r-keep:d.r])
	d.r, d.w = keep, keep
	n, err := d.read(d.buf[d.w:])
	d.w += n
	return err
}

// read reads something into p, after BeforeRead.
func (d *Decoder) read(p []byte) (n int, err error) {
	if d.BeforeRead != nil {
		err = d.BeforeRead()
	}
	if err == nil {
		n, err = readSome(d.src, p)
	}
	if err != nil {
		err = &StreamError{err}
	}
	return n, err
}

// fillIdle reads the first bytes after an idle time into the small buffer and only then takes a
// large one.
func (d *Decoder) fillIdle() error {
	n, err := d.read(d.small[:])
	if err != nil {
		return err
	}
	d.buf = readBuffers.Get().(*[readBuffer]byte)
	d.r, d.w = 0, copy(d.buf[:], d.small[:n])
	return nil
}

func readSome(r io.Reader, p []byte) (int, error) {
	for range 100 {
		n, err := r.Read(p)
		if n > 0 {
			return n, nil // an error shows itself again at the next read
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// peek returns the next byte of the command without consuming it, or 0 after an error.
func (d *Decoder) peek() byte {
	if d.err != nil {
		return 0
	}
	if d.ended {
		d.Fail("the command has ended")
		return 0
	}
	if d.r == d.w {
		if err := d.fill(); err != nil {
			d.die(noEOF(err))
			return 0
		}
	}
	return d.bytes()[d.r]
}

// noEOF: an end of the stream within a command is not a clean end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return &StreamError{io.ErrUnexpectedEOF}
	}
	return err
}

// take consumes the byte that peek has shown.
func (d *Decoder) take() {
	d.r++
	d.line++
	if d.line > d.lim.Line {
		d.fail(&TooBigError{"command line", int64(d.lim.Line)})
	}
}

// Peek returns the next byte without consuming it; 0 at an error.
func (d *Decoder) Peek() byte { return d.peek() }

// Is consumes c if it is the next byte.
func (d *Decoder) Is(c byte) bool {
	if d.peek() != c || d.err != nil {
		return false
	}
	d.take()
	return d.err == nil
}

// Expect consumes c, which must be the next byte.
func (d *Decoder) Expect(c byte) *Decoder {
	if !d.Is(c) {
		d.Fail("expected " + string(rune(c)))
	}
	return d
}

// SP consumes one space.
func (d *Decoder) SP() *Decoder {
	if !d.Is(' ') {
		d.Fail("expected a space")
	}
	return d
}

// AtEnd says whether the command's line ends here.
func (d *Decoder) AtEnd() bool {
	c := d.peek()
	return d.err == nil && (c == '\r' || c == '\n')
}

// End consumes the line end and returns the command's first error. A line feed alone is taken as a
// line end, as everybody does.
func (d *Decoder) End() error {
	if d.ended && d.err == nil {
		return nil
	}
	cr := d.Is('\r')
	switch {
	case d.peek() == '\n' && d.err == nil:
		d.take()
		d.ended = true
	case cr:
		d.Fail("carriage return without line feed")
	default:
		d.Fail("unexpected text after the command")
	}
	return d.err
}

// Skip reads to the end of the command at hand, whatever its grammar, so that the next byte is the
// next command's first. It returns ErrDesync, or the stream's error, when that is not possible.
func (d *Decoder) Skip() error {
	for {
		if d.lit != nil {
			if err := d.skipLiteral(); err != nil {
				return err
			}
		}
		if d.ended {
			return nil
		}
		if err := d.skipLine(); err != nil {
			return err
		}
		// RFC 7888 4: a non-synchronising literal follows its announcement whether or not the
		// server likes the command. A synchronising one does not: the client waits, and the tagged
		// answer tells it not to send.
		n, ok := d.announced()
		if !ok {
			d.ended = true
			return nil
		}
		d.lit = &Literal{d: d, Size: n, left: n, NonSync: true}
	}
}

func (d *Decoder) skipLine() error {
	for {
		if d.r == d.w {
			if err := d.fill(); err != nil {
				return noEOF(err)
			}
		}
		b := d.bytes()
		i := bytes.IndexByte(b[d.r:d.w], '\n')
		n := i + 1
		if i < 0 {
			n = d.w - d.r
		}
		d.r += n
		if d.budget -= int64(n); d.budget < 0 {
			return ErrDesync
		}
		if i >= 0 {
			return nil
		}
	}
}

// announced looks back at the line that was just consumed: does it end in {n+} or ~{n+}?
func (d *Decoder) announced() (int64, bool) {
	b := d.bytes()[max(0, d.r-lookBack):d.r]
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	b, ok := bytes.CutSuffix(b, []byte("+}"))
	if !ok {
		return 0, false
	}
	i := bytes.LastIndexByte(b, '{')
	if i < 0 || i+1 == len(b) {
		return 0, false
	}
	var n int64
	for _, c := range b[i+1:] {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (1<<62)/10 {
			return 1 << 62, true // more than any budget
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func (d *Decoder) skipLiteral() error {
	l := d.lit
	d.lit = nil
	if l.left > d.budget {
		return ErrDesync
	}
	d.budget -= l.left
	for l.left > 0 {
		if d.r == d.w {
			if err := d.fill(); err != nil {
				return noEOF(err)
			}
		}
		n := min(int64(d.w-d.r), l.left)
		d.r += int(n)
		l.left -= n
	}
	// Nothing of the literal may be taken for an announcement.
	if d.buf != nil && d.r >= lookBack {
		clear(d.buf[d.r-lookBack : d.r])
	} else {
		clear(d.bytes()[:d.r])
	}
	return nil
}

// Line reads one line outside of a command, without its line end, for AUTHENTICATE and IDLE. At
// most limit bytes.
func (d *Decoder) Line(limit int) ([]byte, error) {
	var line []byte
	for {
		if d.r == d.w {
			if err := d.fill(); err != nil {
				return nil, err
			}
		}
		b := d.bytes()[d.r:d.w]
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			b = b[:i+1]
		}
		d.r += len(b)
		if len(line)+len(b) > limit+2 {
			return nil, errors.Join(&TooBigError{"line", int64(limit)}, ErrDesync)
		}
		line = append(line, b...)
		if i >= 0 {
			return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
		}
	}
}

// PeekAt returns the byte n after the next one without consuming anything; 0 at an error. n must be
// small.
func (d *Decoder) PeekAt(n int) byte {
	if d.peek(); d.err != nil {
		return 0
	}
	for d.r+n >= d.w {
		if d.w == len(d.buf) { // make room behind
			keep := min(lookBack, d.r)
			d.w = copy(d.buf[:], d.buf[d.r-keep:d.w])
			d.r = keep
		}
		m, err := d.read(d.buf[d.w:])
		d.w += m
		if err != nil {
			d.die(noEOF(err))
			return 0
		}
	}
	return d.buf[d.r+n]
}
