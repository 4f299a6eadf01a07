package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"buzon/internal/durable"
)

// A Visitor works on a user's tree beside the process that serves it, or without
// one: as any other program it lists, checks and moves files, and leaves UIDs,
// indexes and what a crash interrupted to the server.
type Visitor struct{ u *User }

// Visit opens the tree of an account, "ana@example.org", as it is; nothing is made
// or changed. ErrNotFound: it was never used. ErrForeignOwner: it is not ours.
// The caller must Close the Visitor.
func (s *Store) Visit(id string) (*Visitor, error) {
	path, err := userPath(id)
	if err != nil {
		return nil, err
	}
	dir := s.mail
	for _, p := range path {
		next, err := dir.OpenDir(p)
		if dir != s.mail {
			_ = dir.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("open mail of %s: %w", id, notFound(err))
		}
		dir = next
	}
	self, err := dir.Self()
	if euid := os.Geteuid(); err == nil && euid != 0 && int(self.UID) != euid {
		err = fmt.Errorf("uid %d, this process is uid %d: %w", self.UID, euid, ErrForeignOwner)
	}
	if err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("open mail of %s: %w", id, err)
	}
	return &Visitor{&User{
		store: s, id: id, root: dir,
		dirPerm: self.Mode.Perm(), filePerm: filePermOf(self.Mode),
	}}, nil
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// Close gives the tree back.
func (v *Visitor) Close() error { return v.u.root.Close() }

// Expunged lists the expunged messages that are kept, by day and mailbox.
func (v *Visitor) Expunged(ctx context.Context) ([]Expunged, error) { return v.u.Expunged(ctx) }

// Undelete puts those kept messages back that want accepts, as User.Undelete does.
// The server finds them as it finds what any other program puts there.
func (v *Visitor) Undelete(ctx context.Context, want func(Expunged) bool) (n int, err error) {
	n, _, err = v.u.putBack(ctx, want)
	return n, err
}

// OpenExpunged opens a kept message for reading.
func (v *Visitor) OpenExpunged(e Expunged) (durable.File, error) {
	dir := v.u.root
	for _, name := range []string{expungedDir, e.Day, e.dir} {
		next, err := dir.OpenDir(name)
		if dir != v.u.root {
			_ = dir.Close()
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	defer dir.Close()
	return dir.Open(e.File)
}
