package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"buzon/internal/durable"
)

// Deliver puts a staged message into a mailbox, where every reader finds it, and
// returns when it is durable: rename, then fsync of the directory. A mailbox that
// does not exist is INBOX; the name of the one used is returned. Sessions that
// have the mailbox selected are told at once. The message gets its UID when a
// mailbox is looked at next.
func (u *User) Deliver(ctx context.Context, st *Staged, mailbox string, flags Flags) (deliveredTo string, err error) {
	if err := st.Sync(); err != nil {
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
	if errors.Is(err, fs.ErrNotExist) {
		u.forgetInboxNew() // the directory is gone, and its inode may be another one's now
	}
	if err == nil {
		if err = u.syncs.sync(place.dir, place.ino); err != nil {
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
	ino     uint64   // of dir
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
	if f.dir == "" && flags == 0 {
		return u.newOfInbox()
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
	in, err := dir.Self()
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return &place{f.name, dir, in.Ino, u.mailboxes[f.dir], func() { _ = dir.Close() }}, nil
}

// newOfInbox is where nearly all mail goes: the directory stays open, and is looked
// at by its name each time. u.mu is held.
func (u *User) newOfInbox() (*place, error) {
	held := &u.inboxNew
	if in, err := u.root.Stat("new"); err != nil || held.dir == nil || in.Ino != held.info.Ino || in.Btime != held.info.Btime {
		dir, err := openOrMake(u.root, "new", u.dirPerm)
		if err == nil {
			in, err = dir.Self()
		}
		if err != nil {
			return nil, err
		}
		// The old one may be in use: it is closed when nobody has it any more.
		*held = heldDir{dir, in}
	}
	return &place{inbox, held.dir, held.info.Ino, u.mailboxes[""], func() {}}, nil
}

func (u *User) forgetInboxNew() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inboxNew = heldDir{}
}

// heldDir is a directory that stays open, and what it was when it was opened.
type heldDir struct {
	dir  durable.Dir
	info durable.Info
}
