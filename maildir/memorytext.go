package maildir

import (
	"bytes"
	"io"

	"buzon/internal/message"
)

// memoryText is a message in memory, with CRLF line ends as text, or, as other programs on
// this system leave them, with bare line feeds and no carriage return at all. The latter is
// converted when somebody reads it here and there, and not for those who want its
// structure, or read it from its start to its end. Its memory is of buffers.
type memoryText struct {
	text, bare []byte
	head       []byte // the start of bare, converted
	buffers    *bufferPool
}

// inMemory is a message whose memory goes back to buffers when it is closed. One of text
// and bare is nil.
func inMemory(text, bare []byte, buffers *bufferPool) *File {
	size := len(text) + len(bare) + bytes.Count(bare, []byte{'\n'})
	return &File{size: int64(size), memory: memoryText{text: text, bare: bare, buffers: buffers}}
}

func (m *memoryText) free() {
	for _, b := range [][]byte{m.text, m.bare, m.head} {
		if b != nil {
			m.buffers.put(b)
		}
	}
	*m = memoryText{}
}

func (m *memoryText) readAt(p []byte, off int64) (n int, err error) {
	m.convert()
	if off < int64(len(m.text)) {
		n = copy(p, m.text[max(off, 0):])
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// isBare says that text has not been wanted yet.
func (m *memoryText) isBare() bool { return m.text == nil }

func (m *memoryText) convert() {
	if m.isBare() {
		m.text = appendCRLF(m.buffers.get(2 * len(m.bare))[:0], m.bare, false)
	}
}

// parse returns the tree of the message.
func (m *memoryText) parse() *message.Part {
	if m.isBare() {
		return message.ParseBare(m.bare)
	}
	return message.ParseBytes(m.text)
}

// bytes returns a part of the message, valid until the next call.
func (m *memoryText) bytes(r message.Range) []byte {
	if !m.isBare() || r.Start != 0 {
		m.convert()
		return m.text[r.Start:r.End]
	}
	if int64(cap(m.head)) < r.End {
		m.head = m.buffers.get(int(r.End))
	}
	n, _ := io.ReadFull(&bareReader{left: m.bare}, m.head[:r.End])
	return m.head[:n]
}

// bareReader reads a text without carriage returns with CRLF line ends.
type bareReader struct {
	left    []byte
	feedDue bool // the carriage return of the line feed that left begins with was read
}

func (r *bareReader) Read(p []byte) (n int, err error) {
	for n < len(p) && len(r.left) > 0 {
		switch {
		case r.left[0] != '\n':
			end := bytes.IndexByte(r.left, '\n')
			if end < 0 {
				end = len(r.left)
			}
			k := copy(p[n:], r.left[:end])
			n, r.left = n+k, r.left[k:]
		case !r.feedDue:
			p[n], r.feedDue = '\r', true
			n++
		default:
			p[n], r.feedDue = '\n', false
			n, r.left = n+1, r.left[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
