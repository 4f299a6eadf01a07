package maildir

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is bytes that grow, outside of the garbage collector's heap: what a first
// look at a large folder needs for a few seconds must not make the heap large for
// the minutes that follow.
type memory struct {
	b   []byte // length: in use; capacity: mapped
	end runtime.Cleanup
}

// memoryLeast is what is mapped at first; each time more is needed it doubles.
const memoryLeast = 1 << 20

// extend returns n more bytes, which are zero. What was returned before may move.
func (m *memory) extend(n int) ([]byte, error) {
	used := len(m.b)
	if used+n > cap(m.b) {
		if err := m.grow(used + n); err != nil {
			return nil, err
		}
	}
	m.b = m.b[:used+n]
	return m.b[used:], nil
}

func (m *memory) grow(least int) error {
	size := max(memoryLeast, 2*cap(m.b))
	for size < least {
		size *= 2
	}
	used := len(m.b)
	var grown []byte
	var err error
	if m.b == nil {
		grown, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	} else {
		grown, err = unix.Mremap(m.b[:cap(m.b)], size, unix.MREMAP_MAYMOVE)
	}
	if err != nil {
		return err
	}
	m.end.Stop()
	m.b = grown[:used]
	m.end = runtime.AddCleanup(m, func(all []byte) { _ = unix.Munmap(all) }, grown)
	return nil
}

// free gives all of it back. Nothing that extend returned may be used any more.
func (m *memory) free() {
	if m.b != nil {
		m.end.Stop()
		_ = unix.Munmap(m.b[:cap(m.b)])
		m.b = nil
	}
}

// borrowed is bytes as a string, without a copy: it lives no longer than they do.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// borrowedBytes is a string as bytes, without a copy: they must not be written to.
func borrowedBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
