package maildir

import (
	"bytes"
	"io"
	"sync"

	"buzon/internal/durable"
)

// convertInMemory is the largest message whose line ends are converted in
// memory; a larger one goes through an unlinked temporary file.
const convertInMemory = 256 << 10

// crlfFile returns f, of size bytes, with CRLF line ends. On success f is the
// result's to close.
func crlfFile(f durable.File, size int64, u *User) (*File, error) {
	if size <= convertInMemory {
		return crlfInMemory(f, size, &u.buffers)
	}
	bare, err := countBareLF(io.NewSectionReader(f, 0, size))
	if err != nil {
		return nil, err
	}
	if bare == 0 {
		return &File{r: f, size: size, close: f.Close}, nil
	}
	tmp, err := u.unlinkedTemp()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(tmp, &crlfReader{r: io.NewSectionReader(f, 0, size)})
	if err != nil {
		tmp.Close()
		return nil, diskError(err)
	}
	_ = f.Close()
	return &File{r: tmp, size: n, close: tmp.Close}, nil
}

// crlfInMemory reads f at one go. Its memory goes back to buffers when the result
// is closed: searches read one message after the other.
func crlfInMemory(f durable.File, size int64, buffers *bufferPool) (*File, error) {
	raw := buffers.get(int(size))
	n, err := f.ReadAt(raw, 0)
	if err != nil && err != io.EOF {
		buffers.put(raw)
		return nil, err
	}
	_ = f.Close()
	return crlfText(raw[:n], buffers), nil
}

// crlfText is raw, which is of buffers, with CRLF line ends.
func crlfText(raw []byte, buffers *bufferPool) *File {
	if bytes.IndexByte(raw, '\r') < 0 {
		return inMemory(nil, raw, buffers)
	}
	var lines lineCounter
	lines.count(raw)
	if lines.bare == 0 {
		return inMemory(raw, nil, buffers)
	}
	text := buffers.get(len(raw) + int(lines.bare))
	appendCRLF(text[:0], raw, false)
	buffers.put(raw)
	return inMemory(text, nil, buffers)
}

// A bufferPool keeps buffers for messages that are converted in memory.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get(n int) []byte {
	if b, ok := p.pool.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:n]
	}
	return make([]byte, n, max(n, 32<<10))
}

func (p *bufferPool) put(b []byte) {
	if b != nil {
		p.pool.Put(&b)
	}
}

// countBareLF counts the line feeds without a carriage return before them.
func countBareLF(r io.Reader) (n int64, err error) {
	buf := make([]byte, 64<<10)
	var c lineCounter
	for {
		k, err := r.Read(buf)
		c.count(buf[:k])
		if err == io.EOF {
			return c.bare, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// lineCounter counts bytes and bare line feeds of a stream.
type lineCounter struct {
	total, bare int64
	afterCR     bool
}

func (c *lineCounter) count(p []byte) {
	c.total += int64(len(p))
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.afterCR = p[len(p)-1] == '\r'
			return
		}
		if i == 0 && !c.afterCR || i > 0 && p[i-1] != '\r' {
			c.bare++
		}
		c.afterCR = false
		p = p[i+1:]
	}
}

// appendCRLF appends src to dst, a carriage return put before each line feed that
// has none. afterCR says whether one stands before src.
func appendCRLF(dst, src []byte, afterCR bool) []byte {
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		if i == 0 && !afterCR || i > 0 && src[i-1] != '\r' {
			dst = append(dst, '\r')
		}
		dst = append(dst, '\n')
		afterCR = false
		src = src[i+1:]
	}
	return dst
}

// crlfReader turns bare line feeds into CRLF.
type crlfReader struct {
	r       io.Reader
	in, out []byte
	next    []byte // of out, not yet read
	afterCR bool
}

func (c *crlfReader) Read(p []byte) (int, error) {
	if c.in == nil {
		c.in = make([]byte, 64<<10)
	}
	for len(c.next) == 0 {
		n, err := c.r.Read(c.in)
		if n == 0 && err != nil {
			return 0, err
		}
		if n > 0 {
			c.out = appendCRLF(c.out[:0], c.in[:n], c.afterCR)
			c.next, c.afterCR = c.out, c.in[n-1] == '\r'
		}
	}
	n := copy(p, c.next)
	c.next = c.next[n:]
	return n, nil
}
