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
func (s *Staged) Sync() error { return s.seal(time.Time{}) }

// seal sets the internal date, syncs and closes the file. An fsync that failed is
// final: the message is not stored.
func (s *Staged) seal(date time.Time) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.file == nil && s.name == "":
		return fs.ErrClosed
	case s.file == nil && date.IsZero():
		return nil
	case s.file == nil:
		// Synced before its date was known.
		f, err := s.user.tmp().Append(s.name, 0)
		if err != nil {
			return err
		}
		s.file = f
	}
	var err error
	if !date.IsZero() {
		err = s.file.SetTime(fileTime(date))
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		s.stat, err = s.file.Stat()
	}
	if e := s.file.Close(); err == nil {
		err = e
	}
	s.file = nil
	if err != nil {
		s.failed = fmt.Errorf("sync message: %w", diskError(err))
	}
	return s.failed
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

// Deliver puts a staged message into a mailbox, where every reader finds it, and
// returns when it is durable: rename, then fsync of the directory. A mailbox that
// does not exist is INBOX; the name of the one used is returned. Sessions that
// have the mailbox selected are told at once. The message gets its UID when a
// mailbox is looked at next.
func (u *User) Deliver(ctx context.Context, st *Staged, mailbox string, flags Flags) (deliveredTo string, err error) {
	if err := st.seal(time.Time{}); err != nil {
		return "", fmt.Errorf("deliver: %w", err)
	}
	place, err := u.deliveryPlace(mailbox, flags)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadName) {
		place, err = u.deliveryPlace(inbox, flags)
	}
	if err != nil {
		return "", fmt.Errorf("deliver to %.80q: %w", mailbox, diskError(err))
	}
	defer place.close()
	name := st.base()
	if flags != 0 {
		name += parseInfo("").with(flags, 0)
	}
	err = st.move(place.dir, name)
	if err == nil {
		if err = u.syncs.sync(place.dir); err != nil {
			// Not known to be durable: it must not be there when the sender
			// is told to come again.
			_ = place.dir.Remove(name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("deliver to %.80q: %w", mailbox, diskError(err))
	}
	if m := place.mailbox; m != nil {
		m.kick()
	}
	return place.name, nil
}

// place is where a delivery goes.
type place struct {
	name    string
	dir     durable.Dir
	mailbox *Mailbox // nil when nobody has it open
	close   func()
}

func (u *User) deliveryPlace(name string, flags Flags) (*place, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := u.findLocked(name)
	if err != nil {
		return nil, err
	}
	sub := "new"
	if flags != 0 {
		sub = "cur"
	}
	folder, err := u.openFolder(f.dir)
	if err != nil {
		return nil, err
	}
	dir, err := openOrMake(folder, sub, u.dirPerm)
	if f.dir != "" {
		_ = folder.Close()
	}
	if err != nil {
		return nil, err
	}
	return &place{f.name, dir, u.mailboxes[f.dir], func() { _ = dir.Close() }}, nil
}

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
