package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Mapper maps files that are served from memory for long. Whoever cuts such a file
// short would kill the process: behind the new end a mapped page is no memory any
// more (SIGBUS). So the Mapper takes a lease on each file (fcntl(2), F_SETLEASE):
// somebody who opens the file for writing, or truncates it, is held up by the kernel
// until the lease is given back, and before that the contents are copied to memory of
// our own, which takes the mapping's place at the same address. Where no lease can be
// had, as on NFS, the file is read instead of mapped.
type Mapper struct {
	mu     sync.Mutex
	ended  bool
	leases map[*lease]bool
	breaks chan os.Signal // the kernel's way to ask for a lease
}

// lease is one mapped file.
type lease struct {
	fd   int // holds the lease; -1: it was given back
	data []byte
}

// NewMapper returns a Mapper, which listens to the kernel from here on. Its Run
// must be running while something is mapped.
func NewMapper() *Mapper {
	m := &Mapper{leases: map[*lease]bool{}, breaks: make(chan os.Signal, 1)}
	signal.Notify(m.breaks, syscall.SIGIO)
	return m
}

// Run gives back the leases that somebody waits for, until ctx ends: all of them
// then.
func (m *Mapper) Run(ctx context.Context) {
	defer m.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.breaks:
			m.giveBack()
		}
	}
}

func (m *Mapper) end() {
	signal.Stop(m.breaks)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	for l := range m.leases {
		l.giveBack()
	}
}

// Map returns the contents of a file of size bytes, as memory that the caller may
// write to without a change of the file; release gives it back. A file that is not
// that long, or no longer, is an error.
func (m *Mapper) Map(f File, size int) (data []byte, release func(), err error) {
	d, ok := f.(*diskFile)
	if !ok || size == 0 {
		return f.Map(size)
	}
	l, err := takeLease(d)
	if err != nil {
		return readMap(d, size)
	}
	// Nobody can change the size from here on.
	if in, err := d.Stat(); err != nil || in.Size != int64(size) {
		l.giveBack()
		return nil, nil, errors.Join(err, fmt.Errorf("%s: %d bytes, not %d", d.Name(), in.Size, size))
	}
	var unmap func()
	if l.data, unmap, err = d.Map(size); err != nil {
		l.giveBack()
		return nil, nil, err
	}
	m.mu.Lock()
	m.leases[l] = true
	if m.ended {
		l.own()
		l.giveBack()
	}
	m.mu.Unlock()
	return l.data, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.leases, l)
		unmap()
		l.giveBack()
	}, nil
}

// takeLease leases a file that is open for reading.
func takeLease(f *diskFile) (*lease, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// The kernel would ask the thread that takes the lease, which may be no more.
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETOWN, os.Getpid()); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &lease{fd: fd}, nil
}

// giveBack copies what is mapped of files that somebody wants to change.
func (m *Mapper) giveBack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.leases {
		if l.fd < 0 {
			continue
		}
		if kind, err := unix.FcntlInt(uintptr(l.fd), unix.F_GETLEASE, 0); err == nil && kind == unix.F_RDLCK {
			continue
		}
		l.own()
		l.giveBack()
	}
}

// giveBack ends the lease. Closing the descriptor would not do: the mapping holds the
// open file, too.
func (l *lease) giveBack() {
	if l.fd >= 0 {
		_, _ = unix.FcntlInt(uintptr(l.fd), unix.F_SETLEASE, unix.F_UNLCK)
		_ = unix.Close(l.fd)
		l.fd = -1
	}
}

// own replaces the mapping by memory with the same contents, at the same address.
// Who writes to it at this moment may find that undone.
func (l *lease) own() {
	size := uintptr(len(l.data)+os.Getpagesize()-1) &^ uintptr(os.Getpagesize()-1)
	memory, err := anonymous(int(size))
	if err != nil {
		return // as without a lease
	}
	if !Faultless(func() { copy(memory, l.data) }) {
		return
	}
	_, _, _ = unix.Syscall6(unix.SYS_MREMAP, uintptr(unsafe.Pointer(&memory[0])), size, size,
		unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, uintptr(unsafe.Pointer(&l.data[0])), 0)
}

// readMap reads a file into memory of its own.
func readMap(f *diskFile, size int) ([]byte, func(), error) {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, err
	}
	release := func() { _ = unix.Munmap(memory) }
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), memory); err != nil {
		release()
		return nil, nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return memory, release, nil
}

// anonymous maps memory that is given back by a move to another address only.
func anonymous(size int) ([]byte, error) {
	addr, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		return nil, errno
	}
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size), nil
}

// Faultless runs fn, which reads mapped memory, and reports that all of it was
// there: false after fn met pages of a file that somebody cut short.
func Faultless(fn func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			ok = false
		}
	}()
	fn()
	return true
}
