package maildir

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"buzon/internal/durable"
)

// shares remembers which trees let others in, so that a LIST need not look into those of the whole
// host. It is only where to look: whoever is let in is read from the folders themselves.
type shares struct {
	mu    sync.Mutex
	trees map[string]*treeShares // by account
}

type treeShares struct {
	mu   sync.Mutex
	seen time.Time // when the tree was looked at
	acls []ACL     // of its folders that have any
}

// How old the memory may be: for a list of what there is, and for somebody who knows the name. What
// is shared through this program is known at once; a file that a person wrote is found so late.
const (
	sharesKnown = 5 * time.Minute
	sharesAsked = 2 * time.Second
)

// Shares says whether the account's tree may hold mailboxes on which guest has rights. The tree is
// neither opened nor made. asked: the guest has named the owner, and is not just listing.
func (s *Store) Shares(owner, guest string, asked bool) (bool, error) {
	s.shares.mu.Lock()
	if s.shares.trees == nil {
		s.shares.trees = map[string]*treeShares{}
	}
	t := s.shares.trees[owner]
	if t == nil {
		t = &treeShares{}
		s.shares.trees[owner] = t
	}
	s.shares.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	known := sharesKnown
	if asked {
		known = sharesAsked
	}
	if now := s.now(); t.seen.IsZero() || now.Sub(t.seen) > known || now.Before(t.seen) {
		acls, err := s.scanACLs(owner)
		if err != nil {
			return false, err
		}
		t.acls, t.seen = acls, now
	}
	for _, a := range t.acls {
		if a.Rights(guest, false) != 0 {
			return true, nil
		}
	}
	return false, nil
}

// forgetShares has a tree looked at anew.
func (s *Store) forgetShares(owner string) {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	delete(s.shares.trees, owner)
}

// openTree opens the root of an account's tree, if there is one; nil if not.
func (s *Store) openTree(owner string) (durable.Dir, error) {
	path, err := userPath(owner)
	if err != nil {
		return nil, nil // no account is called so
	}
	dir := s.mail
	for _, p := range path {
		next, err := dir.OpenDir(p)
		if dir != s.mail {
			_ = dir.Close()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// scanACLs reads the access control lists of a tree, if there is one.
func (s *Store) scanACLs(owner string) ([]ACL, error) {
	dir, err := s.openTree(owner)
	if dir == nil || err != nil {
		return nil, err
	}
	defer dir.Close()
	folders := []string{""}
	err = dir.Scan(func(e durable.Entry) error {
		if _, ok := folderName(string(e.Name)); ok {
			folders = append(folders, string(e.Name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var acls []ACL
	for _, name := range folders {
		if a := folderACL(dir, name); len(a.Entries) > 0 {
			acls = append(acls, a)
		}
	}
	return acls, nil
}

func folderACL(root durable.Dir, name string) ACL {
	dir := root
	if name != "" {
		var err error
		if dir, err = root.OpenDir(name); err != nil {
			return ACL{}
		}
		defer dir.Close()
	}
	a, err := readACL(dir)
	if err != nil {
		return ACL{}
	}
	return a
}
