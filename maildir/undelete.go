package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"buzon/internal/durable"
)

// Expunged messages can be kept for some days, in a plain directory of the tree's
// root that no mailbox reader looks at:
//
//	..EXPUNGED/<day>/<folder's directory, or INBOX>/<file name>
//
// where day is the date of the expunge, UTC, as 2006-01-02. A file that is copied
// back into a cur/ is a new message there; Undelete does that for a whole day. What
// is older than Config.UndeleteDays is removed when a day begins. It does not
// count in the quota.
const (
	expungedDir = "..EXPUNGED"
	dayLayout   = "2006-01-02"
)

// remover takes the files of expunged messages away: it removes them, or puts them
// where they are kept.
type remover struct {
	mailbox *Mailbox
	keep    durable.Dir // nil: they are removed
}

func (m *Mailbox) remover() (remover, error) {
	r := remover{mailbox: m}
	var err error
	if m.user.store.cfg.UndeleteDays > 0 {
		r.keep, err = m.user.keepDir(m.dirName)
	}
	return r, err
}

func (r remover) remove(dir durable.Dir, name string) error {
	if r.keep == nil {
		return dir.Remove(name)
	}
	err := dir.Rename(name, r.keep, name)
	if errors.Is(err, fs.ErrExist) {
		err = dir.Rename(name, r.keep, r.mailbox.user.store.namer.base(-1, -1)+":2,")
	}
	return err
}

// sync makes it durable that the files are kept. It comes before the sync of the
// directories where they were, or a power cut could lose both names.
func (r remover) sync() error {
	if r.keep == nil {
		return nil
	}
	return r.keep.Sync()
}

func (r remover) close() {
	if r.keep != nil {
		_ = r.keep.Close()
	}
}

// keepDir opens today's directory of a folder, made where it is missing.
func (u *User) keepDir(folderDir string) (durable.Dir, error) {
	if folderDir == "" {
		folderDir = inbox
	}
	dir := u.root
	today := u.store.now().UTC().Format(dayLayout)
	for _, name := range []string{expungedDir, today, folderDir} {
		next, err := dir.OpenDir(name)
		if errors.Is(err, fs.ErrNotExist) {
			if name == today {
				u.sweepExpunged(dir)
			}
			next, err = openOrMake(dir, name, u.dirPerm)
		}
		if dir != u.root {
			_ = dir.Close()
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// sweepExpunged removes the days that are over.
func (u *User) sweepExpunged(dir durable.Dir) {
	last := u.store.now().UTC().AddDate(0, 0, -u.store.cfg.UndeleteDays)
	for _, name := range namesIn(dir) {
		if day, err := time.Parse(dayLayout, name); err == nil && day.Before(last.Truncate(24*time.Hour)) {
			removeTree(dir, name)
		}
	}
}

// keepFolder keeps the messages of a deleted folder: dir is what it is called now,
// name what it was called.
func (u *User) keepFolder(dir, was string) {
	if u.store.cfg.UndeleteDays <= 0 {
		return
	}
	folder, err := u.root.OpenDir(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	keep, err := u.keepDir(was)
	if err != nil {
		return
	}
	defer keep.Close()
	for _, sub := range []string{"cur", "new"} {
		d, err := folder.OpenDir(sub)
		if err != nil {
			continue
		}
		for _, name := range namesIn(d) {
			_ = d.Rename(name, keep, name)
		}
		_ = d.Close()
	}
	_ = keep.Sync()
}

func namesIn(dir durable.Dir) (names []string) {
	_ = dir.Scan(func(e durable.Entry) error {
		names = append(names, string(e.Name))
		return nil
	})
	slices.Sort(names)
	return names
}

// Expunged is a message that can be put back.
type Expunged struct {
	Day     string // when it was expunged, as 2006-01-02, UTC
	Mailbox string // where it was
	File    string
	Size    int64 // bytes of the file

	dir string // of the mailbox, below the day
}

// Expunged lists what is kept, by day and mailbox.
func (u *User) Expunged(context.Context) ([]Expunged, error) {
	var all []Expunged
	err := u.eachExpunged(func(e Expunged, dir durable.Dir) error {
		in, err := dir.Stat(e.File)
		if err == nil && in.Mode.Type() == 0 {
			e.Size = in.Size
			all = append(all, e)
		}
		return nil
	})
	return all, err
}

func (u *User) eachExpunged(fn func(e Expunged, dir durable.Dir) error) error {
	root, err := u.root.OpenDir(expungedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	for _, day := range namesIn(root) {
		days, err := root.OpenDir(day)
		if err != nil {
			continue
		}
		for _, folder := range namesIn(days) {
			dir, err := days.OpenDir(folder)
			if err != nil {
				continue
			}
			name := inbox
			if n, ok := folderName(folder); ok {
				name = n
			}
			for _, file := range namesIn(dir) {
				if err := fn(Expunged{Day: day, Mailbox: name, File: file, dir: folder}, dir); err != nil {
					return err
				}
			}
			_ = dir.Close()
		}
		_ = days.Close()
	}
	return nil
}

// Undelete puts those kept messages back that want accepts, into the mailboxes
// where they were, INBOX where these are gone, and returns how many. They are new
// messages there, without \Deleted.
func (u *User) Undelete(ctx context.Context, want func(Expunged) bool) (n int, err error) {
	n, touched, err := u.putBack(ctx, want)
	for name := range touched {
		if m, e := u.Open(ctx, name); e == nil {
			m.Close() // which has given the messages their UIDs
		}
	}
	return n, err
}

// putBack moves the files that want accepts, and returns how many and to which
// mailboxes. Each is durable before the next; ctx can end it between two.
func (u *User) putBack(ctx context.Context, want func(Expunged) bool) (n int, touched map[string]bool, err error) {
	touched = map[string]bool{}
	err = u.eachExpunged(func(e Expunged, dir durable.Dir) error {
		if in, err := dir.Stat(e.File); err != nil || in.Mode.Type() != 0 || !want(e) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		to, err := u.putBackPlace(e.Mailbox)
		if err != nil {
			return err
		}
		defer to.close()
		base, raw := splitName(e.File)
		in := parseInfo(raw)
		stored, virtual := nameSizes(base)
		name := u.store.namer.base(stored, virtual) + in.with(in.flags&^FlagDeleted, in.letters)
		if err := dir.Rename(e.File, to.dir, name); err != nil {
			return err
		}
		if err := to.dir.Sync(); err != nil {
			return err
		}
		touched[to.name] = true
		n++
		return nil
	})
	if err != nil {
		err = fmt.Errorf("undelete: %w", diskError(err))
	}
	return n, touched, err
}

// putBackPlace is the cur/ of a mailbox, or of INBOX when it is gone.
func (u *User) putBackPlace(mailbox string) (*place, error) {
	to, err := u.deliveryPlace(mailbox, FlagSeen)
	if errors.Is(err, ErrNotFound) {
		to, err = u.deliveryPlace(inbox, FlagSeen)
	}
	return to, err
}

// deletedName makes the name under which a deleted folder waits to be taken apart;
// it says what the folder was, for undelete.
func deletedName(unique, dir string) string { return deletedPrefix + unique + "=" + dir }

// deletedWas returns the directory that a deleted folder was.
func deletedWas(name string) string {
	_, dir, ok := strings.Cut(name, "=")
	if !ok || !isFolderDir(dir) {
		return ""
	}
	return dir
}
