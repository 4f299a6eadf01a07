package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Stamp is the times at which the directories of a mailbox changed.
type Stamp struct{ newDir, curDir int64 }

// SettledAt reports whether a stamp that is read at now has every change before
// it: two changes within a tick of the file system's clock look like one.
func (s Stamp) SettledAt(now time.Time) bool {
	const tick = 2 * time.Second // of the coarsest file systems
	return max(s.newDir, s.curDir) < now.Add(-tick).UnixNano()
}

// Stamp returns what is another one after every change of a mailbox: by whom it
// may be, without opening it, and for less than a user or a mailbox would cost.
// ErrNotFound: there is no such mailbox.
func (s *Store) Stamp(id, mailbox string) (st Stamp, err error) {
	path, err := userPath(id)
	if err != nil {
		return st, err
	}
	if dir := folderDir(canonicalName(mailbox)); dir != "" {
		path = append(path, dir)
	}
	dir := s.mail
	for _, p := range path {
		next, err := dir.OpenDir(p)
		if dir != s.mail {
			_ = dir.Close()
		}
		if err != nil {
			return st, fmt.Errorf("look at %.80q of %s: %w", mailbox, id, notFound(err))
		}
		dir = next
	}
	defer dir.Close()
	for name, to := range map[string]*int64{"new": &st.newDir, "cur": &st.curDir} {
		in, err := dir.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return st, fmt.Errorf("look at %.80q of %s: %w", mailbox, id, err)
		}
		*to = max(in.Mtime, in.Ctime)
	}
	return st, nil
}
