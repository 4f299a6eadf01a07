package smtpd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// memorySpool is how much of a message is held in memory before it goes to a
// file: most messages are smaller, and a file costs them two journal entries.
const memorySpool = 64 << 10

// spooled is a message that is being received: in memory while it is small,
// then in a file that has no name, so that no crash leaves it behind.
type spooled struct {
	dir  string
	mem  *[]byte // from spoolBuffers; nil: nothing is in memory
	file *os.File
	size int64

	header *message.Header // of the message as it is now

	// Once head is set it stands for what was written before rest.
	head []byte
	rest int64
}

// spoolBuffers are what small messages lie in.
var spoolBuffers = sync.Pool{New: func() any { return new([]byte) }}

func newSpooled(dir string) *spooled { return &spooled{dir: dir} }

// Size returns the length of the message.
func (s *spooled) Size() int64 { return int64(len(s.head)) + s.size - s.rest }

// replaceHead puts head, a whole header, in the place of the first n octets.
func (s *spooled) replaceHead(head []byte, n int64) {
	s.rest += max(0, n-int64(len(s.head)))
	s.head, s.header = head, message.ParseHeader(head)
}

// Write appends p. A full disk is smtp.DiskFull.
func (s *spooled) Write(p []byte) (int, error) {
	if s.file == nil && s.size+int64(len(p)) <= memorySpool {
		if s.mem == nil {
			s.mem = spoolBuffers.Get().(*[]byte)
		}
		*s.mem = append(*s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if s.file == nil {
		if err := s.spill(); err != nil {
			return 0, spoolError(err)
		}
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, spoolError(err)
}

// spill moves what is in memory to a file.
func (s *spooled) spill() error {
	f, err := os.CreateTemp(s.dir, "receiving-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	if s.mem != nil {
		if _, err := f.Write(*s.mem); err != nil {
			f.Close()
			return err
		}
		s.forgetMemory()
	}
	s.file = f
	return nil
}

func (s *spooled) forgetMemory() {
	if s.mem != nil {
		*s.mem = (*s.mem)[:0]
		spoolBuffers.Put(s.mem)
		s.mem = nil
	}
}

// ReadAt reads the message.
func (s *spooled) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s.head)) {
		return s.readWritten(p, off-int64(len(s.head))+s.rest)
	}
	n := copy(p, s.head[off:])
	if n == len(p) {
		return n, nil
	}
	more, err := s.readWritten(p[n:], s.rest)
	return n + more, err
}

// readWritten reads what was written.
func (s *spooled) readWritten(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	if s.mem == nil || off >= s.size {
		return 0, io.EOF
	}
	n := copy(p, (*s.mem)[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close forgets the message.
func (s *spooled) Close() error {
	s.forgetMemory()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func spoolError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", smtp.DiskFull, err)
	}
	return err
}
