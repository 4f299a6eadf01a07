package message

import (
	"bytes"
	"io"
)

// window slides over a message. Its unread bytes are buf[pos:end]; up to keep read
// bytes stay before them.
type window struct {
	r        io.ReaderAt
	size     int64
	buf      []byte
	pos, end int
	next     int64 // offset in the message of buf[end]
	lines    int64 // line feeds read so far
	bare     bool  // there is no carriage return in it, and one is counted for each line feed
	err      error // other than io.EOF; nothing more is read then
}

// keep is how many bytes before the unread ones stay in the buffer: the line end
// before a boundary.
const keep = 2

// newWindow returns a window that holds at most limit bytes.
func newWindow(r io.ReaderAt, size int64, limit int) *window {
	n := min(size+keep, int64(limit))
	return &window{r: r, size: size, buf: make([]byte, max(n, 0))}
}

// memoryWindow returns a window that holds all of a text already.
func memoryWindow(text []byte) *window {
	return &window{size: int64(len(text)), buf: text, end: len(text), next: int64(len(text))}
}

// offset returns where in the message the unread bytes begin.
func (w *window) offset() int64 {
	at := w.next - int64(w.end-w.pos)
	if w.bare {
		at += w.lines
	}
	return at
}

func (w *window) unread() []byte { return w.buf[w.pos:w.end] }

// fill reads until n bytes are unread, or the message ends. It reports whether any
// are.
func (w *window) fill(n int) bool {
	if w.end-w.pos < n && w.next < w.size && w.err == nil {
		w.slide(n)
	}
	return w.pos < w.end
}

func (w *window) slide(n int) {
	from := max(w.pos-keep, 0)
	copy(w.buf, w.buf[from:w.end])
	w.pos -= from
	w.end -= from
	for w.end-w.pos < n && w.end < len(w.buf) && w.next < w.size && w.err == nil {
		max := min(int64(len(w.buf)-w.end), w.size-w.next)
		got, err := w.r.ReadAt(w.buf[w.end:w.end+int(max)], w.next)
		w.end += got
		w.next += int64(got)
		switch {
		case err == io.EOF && w.next < w.size:
			w.err = io.ErrUnexpectedEOF
		case err != nil && err != io.EOF:
			w.err = err
		}
	}
}

// skip reads n of the unread bytes.
func (w *window) skip(n int) {
	w.lines += int64(bytes.Count(w.buf[w.pos:w.pos+n], lineFeed))
	w.pos += n
}

var lineFeed = []byte{'\n'}

// line returns the rest of the line that is being read, with its line feed, or as much
// of it as the window holds. It is empty at the end of the message.
func (w *window) line() []byte {
	b := w.unread()
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		w.fill(len(w.buf) - keep)
		b = w.unread()
		i = bytes.IndexByte(b, '\n')
	}
	if i >= 0 {
		b = b[:i+1]
	}
	return b
}

// skipLine reads to the end of the line, and reports whether it had one.
func (w *window) skipLine() bool {
	for w.fill(1) {
		b := w.unread()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			w.pos += i + 1
			w.lines++
			return true
		}
		w.pos = w.end
	}
	return false
}

// lineEndBefore returns how long the line end before the unread bytes is.
func (w *window) lineEndBefore() int64 {
	switch {
	case w.pos < 1 || w.buf[w.pos-1] != '\n':
		return 0
	case !w.bare && (w.pos < 2 || w.buf[w.pos-2] != '\r'):
		return 1
	}
	return 2
}
