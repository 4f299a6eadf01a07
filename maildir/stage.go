package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"buzon/internal/durable"
)

// Staged is a message that is written in tmp/, where nobody reads. Either it is
// delivered or appended, or it must be discarded.
type Staged struct {
	user   *User
	file   durable.File // nil when it was synced and closed, or is gone
	name   string       // in tmp/; "" when it is there no more
	count  lineCounter
	stat   durable.Info
	failed error
}

// Stage writes a message into the tree's tmp/, as it is, byte for byte. ErrQuota
// when the user's limit is reached, ErrFull when the disk is.
func (u *User) Stage(ctx context.Context, r io.Reader) (*Staged, error) {
	name := u.store.namer.unique()
	f, err := u.tmp().Create(name, u.filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody removed the whole of tmp/.
		if err = u.openTmp(); err == nil {
			f, err = u.tmp().Create(name, u.filePerm)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stage message: %w", diskError(err))
	}
	st := &Staged{user: u, file: f, name: name}
	if err = st.fill(ctx, r); err == nil {
		err = u.checkQuota(ctx, st.count.total, 1)
	}
	if err != nil {
		st.Discard()
		return nil, fmt.Errorf("stage message: %w", diskError(err))
	}
	return st, nil
}

var stageBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func (s *Staged) fill(ctx context.Context, r io.Reader) error {
	bp := stageBuffers.Get().(*[]byte)
	defer stageBuffers.Put(bp)
	for {
		n, err := fillBuffer(r, *bp)
		s.count.count((*bp)[:n])
		if n > 0 {
			if _, werr := s.file.Write((*bp)[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// fillBuffer reads until buf is full or r ends: trace fields come in pieces, and are
// written with the rest. Unlike io.ReadFull it tells an end from a cut.
func fillBuffer(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// Size is the message's size with CRLF line ends.
func (s *Staged) Size() int64 { return s.count.total + s.count.bare }

// Sync makes the contents durable. Deliver and Append do so themselves; whoever
// delivers several copies of a message syncs all before the first becomes visible.
func (s *Staged) Sync() error {
	if s.file == nil && s.name != "" {
		return s.failed
	}
	return s.seal(func(durable.File) error { return nil })
}

// sealAs is Sync, with an internal date where there is one, and afterwards s.stat is
// what the file is.
func (s *Staged) sealAs(date time.Time) error {
	if s.file == nil && s.name != "" && s.failed == nil {
		if date.IsZero() && s.stat.Ino != 0 {
			return nil
		}
		// Synced before its date was known.
		f, err := s.user.tmp().Append(s.name, 0)
		if err != nil {
			return err
		}
		s.file = f
	}
	return s.seal(func(f durable.File) (err error) {
		if !date.IsZero() {
			err = f.SetTime(fileTime(date))
		}
		if err == nil {
			s.stat, err = f.Stat()
		}
		return err
	})
}

// seal syncs and closes the file after a last touch. An fsync that failed is final:
// the message is not stored.
func (s *Staged) seal(touch func(durable.File) error) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.file == nil:
		return fs.ErrClosed
	}
	err := touch(s.file)
	if err == nil {
		err = s.file.Sync()
	}
	s.sealed(err)
	return s.failed
}

// sealed closes the file after its fsync, which ended with err.
func (s *Staged) sealed(err error) {
	if e := s.file.Close(); err == nil {
		err = e
	}
	s.file = nil
	if err != nil {
		s.failed = fmt.Errorf("sync message: %w", diskError(err))
	}
}

// Discard removes the message unless it was delivered or appended. It may be
// called at any time, and twice.
func (s *Staged) Discard() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	if s.name != "" {
		_ = s.user.tmp().Remove(s.name)
		s.name = ""
	}
}

// move gives the message its place: it is no longer staged.
func (s *Staged) move(dir durable.Dir, name string) error {
	if err := s.user.tmp().Rename(s.name, dir, name); err != nil {
		return err
	}
	s.name = ""
	return nil
}

func (s *Staged) base() string { return s.user.store.namer.base(s.count.total, s.Size()) }

// tmpMaxAge is when a file in tmp/ was surely given up by its writer.
const tmpMaxAge = 36 * time.Hour

// stageMaxAge is the same for what we build there ourselves, in directories.
const stageMaxAge = time.Hour

// sweepTmp removes what crashes left in tmp/: at once what is ours, by and by what
// may be another program's. The change time counts: a message that is written may
// have an old modification time already.
func (u *User) sweepTmp() error {
	now := u.store.now()
	var old []string
	var oldDirs []string
	err := u.tmp().Scan(func(e durable.Entry) error {
		name := string(e.Name)
		in, err := u.tmp().Stat(name)
		if err != nil {
			return nil
		}
		age := now.Sub(time.Unix(0, in.Ctime))
		switch {
		case in.Mode.IsDir() && isStageDir(name) && (age > stageMaxAge || u.store.namer.abandoned(name)):
			oldDirs = append(oldDirs, name)
		case in.Mode.Type() == 0 && (age > tmpMaxAge || u.store.namer.abandoned(name)):
			old = append(old, name)
		}
		return nil
	})
	for _, name := range old {
		_ = u.tmp().Remove(name)
	}
	for _, name := range oldDirs {
		removeTree(u.tmp(), name)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// isStageDir reports that a directory in tmp/ is one that Create builds in.
func isStageDir(name string) bool {
	return nameTime(name).sec > 0
}
