package smtpd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"buzon/internal/smtp"
)

// memorySpool is how much of a message is held in memory before it goes to a
// file: most messages are smaller, and a file costs them two journal entries.
const memorySpool = 64 << 10

// spooled is a message that is being received: in memory while it is small,
// then in a file that has no name, so that no crash leaves it behind.
type spooled struct {
	dir  string
	mem  []byte
	file *os.File
	size int64

	// Once head is set it stands for what was written before rest.
	head []byte
	rest int64
}

func newSpooled(dir string) *spooled { return &spooled{dir: dir} }

// Size returns the length of the message.
func (s *spooled) Size() int64 { return int64(len(s.head)) + s.size - s.rest }

// replaceHead puts head in the place of the first n octets.
func (s *spooled) replaceHead(head []byte, n int64) {
	s.rest += max(0, n-int64(len(s.head)))
	s.head = head
}

// Write appends p. A full disk is smtp.DiskFull.
func (s *spooled) Write(p []byte) (int, error) {
	if s.file == nil && len(s.mem)+len(p) <= memorySpool {
		s.mem = append(s.mem, p...)
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
	if _, err := f.Write(s.mem); err != nil {
		f.Close()
		return err
	}
	s.file, s.mem = f, nil
	return nil
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
	if off >= int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close forgets the message.
func (s *spooled) Close() error {
	s.mem = nil
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
