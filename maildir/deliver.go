package maildir

import (
	"context"
	"fmt"

	"buzon/internal/durable"
)

// Deliver puts a staged message into a mailbox, where every reader finds it, and
// returns when it is durable: rename, then fsync of the directory. A mailbox that
// does not exist is INBOX; the name of the one used is returned. Sessions that
// have the mailbox selected are told at once. The message gets its UID when a
// mailbox is looked at next.
func (u *User) Deliver(ctx context.Context, st *Staged, mailbox string, flags Flags) (deliveredTo string, err error) {
	d := &delivery{user: u, staged: st, mailbox: mailbox, flags: flags}
	u.commits.commit(d)
	if d.err != nil {
		return "", fmt.Errorf("deliver to %.80q: %w", mailbox, diskError(d.err))
	}
	return d.into, nil
}

// place is where a delivery goes.
type place struct {
	name    string
	dir     durable.Dir
	mailbox *Mailbox // nil when nobody has it open
	close   func()
}

// deliveryPlace looks for it. u.mu is held.
func (u *User) deliveryPlace(name string, flags Flags) (*place, error) {
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
	return &place{f.name, dir, u.mailboxes[f.dir], func() { _ = dir.Close() }}, nil
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
	return &place{inbox, held.dir, u.mailboxes[""], func() {}}, nil
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
