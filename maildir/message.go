package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

type durableDir = durable.Dir

// File is an open message with CRLF line ends, whatever the file has. Reading it
// goes on when the message is expunged meanwhile.
type File struct {
	r      io.ReaderAt // nil where it is in memory
	size   int64
	close  func() error
	memory memoryText
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.r == nil {
		return f.memory.readAt(p, off)
	}
	return f.r.ReadAt(p, off)
}

// Reader reads n bytes from off on, forward only. It is valid until the file is closed.
func (f *File) Reader(off, n int64) io.Reader {
	if f.r == nil && f.memory.isBare() && off == 0 && n == f.size {
		return &bareReader{left: f.memory.bare}
	}
	return io.NewSectionReader(f, off, n)
}

// Size is the number of bytes that can be read.
func (f *File) Size() int64 { return f.size }

// Close gives the file back.
func (f *File) Close() error {
	f.memory.free()
	if f.close == nil {
		return nil
	}
	return f.close()
}

// WriteTo writes the whole message to w. io.ErrUnexpectedEOF: somebody cut the file.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, f.Reader(0, f.size))
	if n < f.size && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// OpenMessage opens a message of the newest state, or one that is kept for a Reader.
// ErrExpunged: there is none with this UID, or the file is gone.
func (m *Mailbox) OpenMessage(ctx context.Context, uid UID) (*File, error) {
	s, i, ok := m.row(uid)
	if !ok {
		return nil, fmt.Errorf("open message %d: %w", uid, ErrExpunged)
	}
	f, err := m.openRow(ctx, s, i)
	if err != nil {
		return nil, fmt.Errorf("open message %d: %w", uid, err)
	}
	return f, nil
}

const (
	// findTries bounds how often a file is looked for that others keep renaming.
	findTries = 30
	// findPause lets a directory come to rest that was not read exactly.
	findPause = 2 * time.Millisecond
)

// errUnsteady says that a file could not be caught, while nothing proves that it
// is gone.
var errUnsteady = errors.New("other programs keep renaming the file")

// onFile calls fn with the file of row i, under the name that it has now. When fn
// finds nothing there, somebody renamed the file: it is looked for and fn called
// again. ErrExpunged: it is gone. errUnsteady: it was never where it had been seen.
func (m *Mailbox) onFile(ctx context.Context, s *State, i int, fn func(dir durable.Dir, name string) error) error {
	name, isNew := s.fileName(i)
	err := fn(m.dir.of(isNew), name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.chaseFile(ctx, s, i, m.Sync, m.findFile, fn)
}

// onFileLocked is onFile for callers that hold the lock.
func (m *Mailbox) onFileLocked(ctx context.Context, s *State, i int, fn func(dir durable.Dir, name string) error) error {
	name, isNew := s.fileName(i)
	err := fn(m.dir.of(isNew), name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.chaseFile(ctx, s, i, m.syncLocked, m.findFileLocked, fn)
}

// chaseFile is onFile for a file that is not where s has it.
func (m *Mailbox) chaseFile(ctx context.Context, s *State, i int, sync func(context.Context) (*State, error),
	find func(context.Context, UID) (*State, int, error), fn func(dir durable.Dir, name string) error) error {
	uid := s.uids[i]
	for try := 1; ; try++ {
		newest, err := sync(ctx)
		if err != nil {
			return err
		}
		j, ok := newest.Find(uid)
		if !ok || newest.validity != s.validity {
			return ErrExpunged
		}
		if newest == s {
			// Nobody renamed it as far as anyone can tell, or its removal is
			// not certain yet: the directory itself must say.
			newest, j, err = find(ctx, uid)
			if errors.Is(err, errUnsteady) {
				time.Sleep(findPause)
				newest, j = s, i
			} else if err != nil {
				return err
			}
		}
		if try == findTries {
			return errUnsteady
		}
		s, i = newest, j
		name, isNew := s.fileName(i)
		if err := fn(m.dir.of(isNew), name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// findFile looks for a message's file in the directories.
func (m *Mailbox) findFile(ctx context.Context, uid UID) (*State, int, error) {
	if err := m.lock.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer m.lock.unlock()
	return m.findFileLocked(ctx, uid)
}

func (m *Mailbox) findFileLocked(_ context.Context, uid UID) (*State, int, error) {
	s := m.State()
	i, ok := s.Find(uid)
	if !ok {
		return nil, 0, ErrExpunged
	}
	base, _, _ := s.file(i)
	before, err := m.stamps()
	if err != nil {
		return nil, 0, err
	}
	var found *sighting
	for _, isNew := range []bool{true, false, true} {
		err := m.dir.of(isNew).Scan(func(e durable.Entry) error {
			if b, _ := splitName(string(e.Name)); b == base && usableName(e.Name) {
				found = &sighting{isNew, string(e.Name), e.Ino}
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
		if found != nil {
			break
		}
	}
	if found == nil {
		if after, err := m.stamps(); err != nil || !m.exactBetween(before, after) {
			return nil, 0, errUnsteady
		}
		return nil, 0, ErrExpunged
	}
	d := m.draft()
	m.moved(d, d.slot(i), *found)
	m.publish(d)
	s = m.State()
	i, _ = s.Find(uid)
	return s, i, nil
}

func (m *Mailbox) statRow(s *State, i int) (in durable.Info, err error) {
	err = m.onFile(context.Background(), s, i, func(dir durable.Dir, name string) (err error) {
		in, err = dir.Stat(name)
		return err
	})
	return in, err
}

// maxSmallMessage is the largest message that is read when it is opened: that costs
// less than to keep the file.
const maxSmallMessage = 64 << 10

// openRow opens the file of row i. What it learns of the size is kept.
func (m *Mailbox) openRow(ctx context.Context, s *State, i int) (*File, error) {
	if f, err := m.openKept(s.uids[i]); f != nil || err != nil {
		return f, err
	}
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	if n := b.loadStored(r); n <= maxSmallMessage {
		if n < 0 {
			n = maxSmallMessage
		}
		if f, err := m.readRow(ctx, s, i, n); f != nil || err != nil {
			return f, err
		}
	}
	var f durable.File
	err := m.onFile(ctx, s, i, func(dir durable.Dir, name string) (err error) {
		f, err = dir.Open(name)
		return err
	})
	if err != nil {
		return nil, openError(err)
	}
	in, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	ready := b.isCRLF(r, in.Size)
	b.learnFrom(r, in)
	if ready {
		return &File{r: f, size: in.Size, close: f.Close}, nil
	}
	// Line ends must be converted, or the name's sizes are wrong, or there are none.
	file, err := crlfFile(f, in.Size, m.user)
	if err != nil {
		f.Close()
		return nil, err
	}
	b.correctSize(r, file.size)
	return file, nil
}

// openError is diskError for the file of one message: what is wrong with it is wrong
// with no other.
func openError(err error) error {
	for _, e := range []error{unix.EACCES, unix.EPERM, unix.EIO, durable.ErrNotRegular} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	return diskError(err)
}

// isCRLF says that a file of this size needs no conversion.
func (b *block) isCRLF(i int, size int64) bool {
	stored := b.loadStored(i)
	return b.loadSize(i) == size && (stored == size || stored < 0)
}

// readRow reads the file of row i into memory; nil when it has more than n bytes.
func (m *Mailbox) readRow(ctx context.Context, s *State, i int, n int64) (*File, error) {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	buffers := &m.user.buffers
	raw := buffers.get(int(n))
	var read int
	var in durable.Info
	err := m.onFile(ctx, s, i, func(dir durable.Dir, name string) (err error) {
		read, in, err = durable.ReadStart(dir, name, raw)
		return err
	})
	if err != nil || in.Size > n {
		buffers.put(raw)
		return nil, openError(err)
	}
	raw = raw[:read]
	ready := b.isCRLF(r, in.Size)
	b.learnFrom(r, in)
	if ready {
		return inMemory(raw, nil, buffers), nil
	}
	f := crlfText(raw, buffers)
	b.correctSize(r, f.size)
	return f, nil
}

// sortedRows returns the rows of those UIDs that s has, ascending, each once,
// and the UIDs that it has not.
func (s *State) sortedRows(uids []UID) (rows []int, gone []UID) {
	sorted := uids
	if !slices.IsSorted(uids) {
		sorted = slices.Clone(uids)
		slices.Sort(sorted)
	}
	for _, uid := range slices.Compact(slices.Clone(sorted)) {
		if i, ok := s.Find(uid); ok {
			rows = append(rows, i)
		} else {
			gone = append(gone, uid)
		}
	}
	return rows, gone
}

// measure reads a file whose size no name tells, for State.Size.
func (m *Mailbox) measure(s *State, i int) (int64, error) {
	f, err := m.openRow(context.Background(), s, i)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size(), nil
}
