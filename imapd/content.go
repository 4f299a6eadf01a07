package imapd

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"buzon/internal/message"
	"buzon/maildir"
)

// A content gives access to one message at a time. What one item of a command has opened, read or
// parsed serves the others.
type content struct {
	s    *session
	box  *maildir.Mailbox
	uid  maildir.UID
	file *maildir.File
	part *message.Part

	parsed    *maildir.Parsed
	buffer    maildir.ParsedBuffer
	scratch   []byte // pieces of this message that had to be put together
	headerBuf []byte // reused from message to message
	header    []byte // of this message, once read
}

// at moves on to another message.
func (c *content) at(uid maildir.UID) {
	if c.uid != uid {
		c.close()
		c.uid = uid
	}
}

func (c *content) close() {
	if c.file != nil {
		c.file.Close()
	}
	c.file, c.part, c.parsed, c.header, c.uid = nil, nil, nil, nil, 0
	c.scratch = c.scratch[:0]
}

func (c *content) open() (*maildir.File, error) {
	if c.file != nil {
		return c.file, nil
	}
	f, err := c.box.OpenMessage(c.s.ctx, c.uid)
	if err != nil {
		return nil, err
	}
	c.file = f
	return f, nil
}

// structure is the tree of the message.
func (c *content) structure() (*message.Part, error) {
	if c.part != nil {
		return c.part, nil
	}
	f, err := c.open()
	if err != nil {
		return nil, err
	}
	p, err := c.box.Structure(c.uid, f)
	if err != nil {
		return nil, err
	}
	c.part = p
	return p, nil
}

// parsedTo is what the store keeps of the message, at least to this depth.
func (c *content) parsedTo(depth maildir.Depth) (*maildir.Parsed, error) {
	if c.parsed != nil && c.parsed.Depth >= depth {
		return c.parsed, nil
	}
	p, err := c.box.Parsed(c.s.ctx, c.uid, depth, &c.buffer)
	if err != nil {
		return nil, err
	}
	c.parsed = p
	return p, nil
}

// someHeader is the header, or as much of it as the store keeps at hand if that has the fields
// asked for.
func (c *content) someHeader(cached bool) ([]byte, error) {
	if cached {
		p, err := c.parsedTo(maildir.ParseFields)
		if err != nil {
			return nil, err
		}
		if !p.HeaderCut {
			return p.Header, nil
		}
	}
	return c.rawHeader()
}

// isCached says whether the store keeps the header field at hand.
func isCached(field string) bool {
	return slices.ContainsFunc(maildir.CachedFields, func(known string) bool { return strings.EqualFold(known, field) })
}

// rawHeader reads the message's header with the empty line that ends it, and nothing behind. It is
// valid until the next message.
func (c *content) rawHeader() ([]byte, error) {
	if c.header != nil {
		return c.header, nil
	}
	f, err := c.open()
	if err != nil {
		return nil, err
	}
	const step = 8 << 10 // most headers
	b := c.headerBuf[:0]
	size := f.Size()
	lineStart := 0
	for int64(len(b)) < size {
		n := int(min(step, size-int64(len(b))))
		if cap(b)-len(b) < n {
			b = append(b, make([]byte, max(n, len(b)))...)[:len(b)]
		}
		m, err := f.ReadAt(b[len(b):len(b)+n], int64(len(b)))
		if m == 0 && err != nil {
			return nil, noEOF(err)
		}
		b = b[:len(b)+m]
		if end := headerEnd(b, &lineStart); end > 0 {
			c.headerBuf = b
			c.header = b[:end]
			return c.header, nil
		}
	}
	c.headerBuf, c.header = b, b[:len(b):len(b)]
	if c.header == nil {
		c.header = []byte{}
	}
	return c.header, nil
}

// headerEnd looks for the empty line from the line start at *from on, and moves it to the first
// line that is not complete.
func headerEnd(b []byte, from *int) int {
	for {
		i := bytes.IndexByte(b[*from:], '\n')
		if i < 0 {
			return 0
		}
		line := b[*from : *from+i]
		*from += i + 1
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return *from
		}
	}
}

// noEOF: a message file that is shorter than it was is a fault, not an end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// reader reads a range of the message.
func (c *content) reader(r message.Range) (io.Reader, error) {
	f, err := c.open()
	if err != nil {
		return nil, err
	}
	return f.Reader(r.Start, r.Len()), nil
}

// isGone says that a message was expunged meanwhile.
func isGone(err error) bool { return errors.Is(err, maildir.ErrExpunged) }
