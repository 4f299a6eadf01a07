package milter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// maxPacket bounds what a filter may send at once: a piece of a body has
	// 65 535 octets (MILTER_CHUNK_SIZE), a header field is no larger.
	maxPacket = 128 << 10
	// maxChunk is how much of a body one packet carries to the filter.
	maxChunk = 65535
	// maxProgress is how often a filter may ask for patience in one step.
	maxProgress = 10_000
)

// stepsOfPatience bounds how long a filter that asks for patience may take for
// one step, as a multiple of the time-out: it may, after all, be in a loop.
const stepsOfPatience = 10

var errNonsense = errors.New("it does not keep to the protocol")

// nonsense is an error about what a filter has sent.
func nonsense(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errNonsense}, args...)...)
}

// wire is a connection to a filter. What goes over it are packets: a length in
// four octets, a letter, and what belongs to it.
type wire struct {
	ctx     context.Context // an end of it ends every read and write
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	timeout time.Duration
	release func() bool // of the watch over ctx
	buf     []byte      // of the packet read last
}

func newWire(ctx context.Context, conn net.Conn, timeout time.Duration) *wire {
	return &wire{
		ctx: ctx, conn: conn, timeout: timeout,
		r: bufio.NewReader(conn), w: bufio.NewWriterSize(conn, 16<<10),
		release: context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }),
	}
}

func (w *wire) close() {
	w.release()
	w.conn.Close()
}

// write sends a packet; it may wait in a buffer until flush.
func (w *wire) write(code byte, data ...[]byte) error {
	length := 1
	for _, d := range data {
		length += len(d)
	}
	if err := w.arm(w.conn.SetWriteDeadline, time.Now().Add(w.timeout)); err != nil {
		return err
	}
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(length))
	head[4] = code
	_, err := w.w.Write(head[:])
	for _, d := range data {
		if err == nil {
			_, err = w.w.Write(d)
		}
	}
	return err
}

func (w *wire) flush() error {
	if err := w.arm(w.conn.SetWriteDeadline, time.Now().Add(w.timeout)); err != nil {
		return err
	}
	return w.w.Flush()
}

// arm sets a deadline, unless all is over: the order matters, or the deadline
// that the end of ctx has set could be lost.
func (w *wire) arm(set func(time.Time) error, deadline time.Time) error {
	if err := set(deadline); err != nil {
		return err
	}
	return context.Cause(w.ctx)
}

// read returns the next packet that has come by the deadline. data is valid
// until the next call.
func (w *wire) read(deadline time.Time) (code byte, data []byte, err error) {
	if err := w.arm(w.conn.SetReadDeadline, deadline); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < 1 || length > maxPacket {
		return 0, nil, nonsense("a packet of %d octets", length)
	}
	if n := int(length) - 1; cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.buf = w.buf[:length-1]
	_, err = io.ReadFull(w.r, w.buf)
	return head[4], w.buf, err
}

// patience is the time that a step has.
type patience struct {
	next, end time.Time
	progress  int
}

func (w *wire) patience() *patience {
	now := time.Now()
	return &patience{next: now.Add(w.timeout), end: now.Add(stepsOfPatience * w.timeout)}
}

// answer returns the next packet that is not a plea for patience.
func (w *wire) answer(p *patience) (code byte, data []byte, err error) {
	for {
		code, data, err := w.read(p.next)
		if err != nil || code != replyProgress {
			p.more(w.timeout)
			return code, data, err
		}
		if p.progress++; p.progress > maxProgress {
			return 0, nil, nonsense("it asks for patience all the time")
		}
		p.more(w.timeout)
	}
}

// more moves the deadline, but not beyond the end.
func (p *patience) more(d time.Duration) {
	p.next = time.Now().Add(d)
	if p.next.After(p.end) {
		p.next = p.end
	}
}

// cString appends s as a string that ends in NUL. A NUL within becomes a space:
// it would end the string.
func cString[T string | []byte](dst []byte, s T) []byte {
	for i := range len(s) {
		c := s[i]
		if c == 0 {
			c = ' '
		}
		dst = append(dst, c)
	}
	return append(dst, 0)
}

// cut takes a string that ends in NUL off the front of data.
func cut(data []byte) (s string, rest []byte, err error) {
	i := bytes.IndexByte(data, 0)
	if i < 0 {
		return "", nil, nonsense("a string without an end")
	}
	return string(data[:i]), data[i+1:], nil
}
