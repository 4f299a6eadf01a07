package mx

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// blockSize is what one write to the peer takes at most, and one Block
// time-out is for.
const blockSize = 32 << 10

// errBareLineEnd refuses a message that must not go out: what lies between a
// lone CR or LF and a dot is read by some hosts as the end of the message and
// the beginning of another (SMTP smuggling). Nothing is repaired either: that
// would break the signatures of the message.
var errBareLineEnd = errors.New("the message holds a CR or LF that is not part of a CRLF")

// content is a message to be sent, and what must be known of it first.
type content struct {
	msg  io.ReaderAt
	size int64

	octets   int64 // on the wire, dots not doubled
	eightBit bool  // some octet has its high bit set
	utf8     bool  // some octet of the header has
}

// inspect reads the message once and fills in the rest. It fails with
// errBareLineEnd, or when the message cannot be read.
func (c *content) inspect() error {
	var ends lineEnds
	c.octets, c.eightBit, c.utf8 = c.size, false, false
	inHeader := true
	err := c.blocks(func(block []byte) error {
		for len(block) > 0 {
			piece, starts, err := ends.cut(block)
			if err != nil {
				return err
			}
			if !c.eightBit || inHeader && !c.utf8 {
				high := highBit(piece)
				c.eightBit = c.eightBit || high
				c.utf8 = c.utf8 || high && inHeader
			}
			if starts && (string(piece) == "\r\n" || string(piece) == "\r") { // the latter at a block's end
				inHeader = false
			}
			block = block[len(piece):]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !ends.atStart() {
		c.octets += 2
	}
	return ends.close()
}

// blocks calls f with the message, block by block, and fails if there is less
// of it than its size says: half a message must never look like a whole one.
func (c *content) blocks(f func([]byte) error) error {
	buf := make([]byte, min(blockSize, max(c.size, 1)))
	for at := int64(0); at < c.size; {
		n, err := c.msg.ReadAt(buf[:min(int64(len(buf)), c.size-at)], at)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("message read: %w", err)
		}
		at += int64(n)
		if err := f(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// dotWriter sends a message as DATA wants it: a dot that begins a line is
// doubled (RFC 5321 4.5.2), the end is CRLF.CRLF, and a bare CR or LF is never
// let through, whatever was inspected before.
type dotWriter struct {
	w    *bufio.Writer
	ends lineEnds
}

func (d *dotWriter) write(p []byte) error {
	for len(p) > 0 {
		piece, starts, err := d.ends.cut(p)
		if err != nil {
			return err
		}
		if starts && piece[0] == '.' {
			if err := d.w.WriteByte('.'); err != nil {
				return err
			}
		}
		if _, err := d.w.Write(piece); err != nil {
			return err
		}
		p = p[len(piece):]
	}
	return nil
}

// end writes the final dot and flushes.
func (d *dotWriter) end() error {
	if err := d.ends.close(); err != nil {
		return err
	}
	last := ".\r\n"
	if !d.ends.atStart() {
		last = "\r\n.\r\n"
	}
	if _, err := d.w.WriteString(last); err != nil {
		return err
	}
	return d.w.Flush()
}

// lineEnds cuts a stream of blocks into lines, or pieces of them, and finds
// every CR and LF that stands alone.
type lineEnds struct {
	inLine bool // the last piece did not end a line
	cr     bool // and it ended in a CR
}

// atStart reports whether a line would begin with the next piece.
func (l *lineEnds) atStart() bool { return !l.inLine }

// close is called at the end of the stream.
func (l *lineEnds) close() error {
	if l.cr {
		return errBareLineEnd
	}
	return nil
}

// cut returns the piece at the front of p, which is not empty: up to and with
// the first LF, or all of p. starts says that it begins a line.
func (l *lineEnds) cut(p []byte) (piece []byte, starts bool, err error) {
	piece = p
	starts = !l.inLine
	lf := bytes.IndexByte(p, '\n')
	if lf >= 0 {
		piece = p[:lf+1]
	}
	cr := bytes.IndexByte(piece, '\r')
	switch {
	case l.cr && lf != 0: // a CR, then anything but LF
		return nil, false, errBareLineEnd
	case lf == 0 && !l.cr: // an LF after anything but CR
		return nil, false, errBareLineEnd
	case lf > 0 && cr != lf-1:
		return nil, false, errBareLineEnd
	case lf < 0 && cr >= 0 && cr != len(piece)-1:
		return nil, false, errBareLineEnd
	}
	l.inLine = lf < 0
	l.cr = lf < 0 && cr >= 0
	return piece, starts, nil
}

// highBit reports whether some octet is not ASCII.
func highBit(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
