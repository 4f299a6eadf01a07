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

// Info describes a mailbox for LIST.
type Info struct {
	Name        string // UTF-8, parts separated by "/"
	HasChildren bool
	NoSelect    bool // a name on the way to others, without a folder, or Closed
	Closed      bool // there is a folder, and we may not enter it: who opens it hears ErrNoAccess
	Subscribed  bool
	SpecialUse  string // `\Sent` and so on (RFC 6154), or ""
}

// folder is a directory of the tree that is a mailbox.
type folder struct {
	name, dir  string
	ino        uint64
	specialUse string
	closed     bool // we may not enter it
}

// folderTree is the tree's folders as they were when its root had a stamp.
//
// The root is INBOX, too: whatever is written there, our own lock of the uidlist
// included, changes its times. So where they changed the names are read again, but
// the folders only if the names are others, or after a while.
type folderTree struct {
	stamp   dirStamp
	names   []folder // all that look like folders, by name
	folders []folder // those that are mailboxes, without INBOX
	others  []string // the directories that are none, or may not be entered: they can change unseen
	read    int64    // when all were looked into, ns; 0: never
}

// treeAge is how long folders go without being looked into while INBOX changes: a
// special use may have been given to one by hand.
const treeAge = time.Minute

// Mailboxes returns all mailboxes, INBOX first, the others by name, and the
// names without a folder above them.
func (u *User) Mailboxes(ctx context.Context) ([]Info, error) {
	folders, err := u.folders()
	if err != nil {
		return nil, fmt.Errorf("list mailboxes: %w", err)
	}
	subscribed, err := u.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]*Info{inbox: {Name: inbox}}
	for _, f := range folders {
		byName[f.name] = &Info{Name: f.name, SpecialUse: f.specialUse, NoSelect: f.closed, Closed: f.closed}
	}
	for _, f := range folders {
		for i := strings.LastIndexByte(f.name, '/'); i > 0; i = strings.LastIndexByte(f.name[:i], '/') {
			parent := byName[f.name[:i]]
			if parent == nil {
				parent = &Info{Name: f.name[:i], NoSelect: true}
				byName[parent.Name] = parent
			}
			parent.HasChildren = true
		}
	}
	for _, name := range subscribed {
		if in := byName[name]; in != nil {
			in.Subscribed = true
		}
	}
	out := make([]Info, 0, len(byName))
	for _, in := range byName {
		out = append(out, *in)
	}
	slices.SortFunc(out, func(a, b Info) int { return compareNames(a.Name, b.Name) })
	return out, nil
}

// compareNames puts INBOX first and a mailbox before its children.
func compareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == inbox:
		return -1
	case b == inbox:
		return 1
	}
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// folders returns the tree's folders but INBOX; the root is read again only when
// it changed.
func (u *User) folders() ([]folder, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.foldersLocked()
}

func (u *User) foldersLocked() ([]folder, error) {
	taken := u.store.now().UnixNano()
	self, err := u.root.Self()
	if err != nil {
		return nil, err
	}
	stamp := dirStamp{self.Dev, self.Ino, self.Mtime, self.Ctime, taken}
	old := u.tree
	// What was no folder may have become one, and the root does not tell.
	known := old.read != 0 && !slices.ContainsFunc(old.others, func(dir string) bool { return u.kindOfFolder(dir) == isMailbox })
	if known && stamp.same(old.stamp) && (u.granule == 0 || max(old.stamp.mtime, old.stamp.ctime) <= old.stamp.taken-int64(u.granule)) {
		return old.folders, nil
	}
	names, err := u.folderNames()
	if err != nil {
		return nil, err
	}
	if age := taken - old.read; known && age >= 0 && age < int64(treeAge) && slices.Equal(names, old.names) {
		u.tree.stamp = stamp
		return old.folders, nil
	}
	tree := folderTree{stamp: stamp, names: names, read: taken}
	for _, f := range names {
		switch u.kindOfFolder(f.dir) {
		case isMailbox:
			tree.folders = append(tree.folders, f)
		case isClosed:
			f.closed = true
			tree.folders = append(tree.folders, f)
			tree.others = append(tree.others, f.dir)
			if !slices.Contains(old.others, f.dir) { // once
				u.store.log.Warn("folder may not be entered: look at its owner and mode", "user", u.id, "mailbox", f.name)
			}
		default:
			tree.others = append(tree.others, f.dir)
		}
	}
	u.readSpecialUses(tree.folders)
	u.tree = tree
	return tree.folders, nil
}

// folderNames reads the root's directories that have the name of a folder, sorted.
func (u *User) folderNames() ([]folder, error) {
	var found []folder
	err := u.root.Scan(func(e durable.Entry) error {
		if len(e.Name) == 0 || e.Name[0] != '.' || !e.Type.IsDir() && e.Type != fs.ModeIrregular {
			return nil
		}
		name, ok := folderName(string(e.Name))
		if !ok {
			return nil
		}
		f := folder{name: name, dir: string(e.Name), ino: e.Ino}
		if e.Type == fs.ModeIrregular {
			if in, err := u.root.Stat(f.dir); err != nil || !in.Mode.IsDir() {
				return nil
			}
		}
		found = append(found, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Two directories can have one name: our own way to write it wins.
	slices.SortFunc(found, func(a, b folder) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		if a.dir == folderDir(a.name) {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(found, func(a, b folder) bool { return a.name == b.name }), nil
}

// folderKind is what a directory with the name of a folder is.
type folderKind int

const (
	isOther folderKind = iota
	isMailbox
	isClosed
)

// kindOfFolder tells a folder from what other programs keep beside it, as notmuch
// its database in .notmuch. One that may not be entered is taken for a mailbox: who
// misses his mail must learn why.
func (u *User) kindOfFolder(dir string) folderKind {
	d, err := u.root.OpenDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return isClosed
	}
	if err != nil {
		return isOther
	}
	defer d.Close()
	for _, sign := range []string{"cur", "new", uidlistFile, "maildirfolder"} {
		_, err := d.Stat(sign)
		if err == nil {
			return isMailbox
		}
		if errors.Is(err, fs.ErrPermission) { // it may be read, and not entered
			return isClosed
		}
	}
	return isOther
}

// find returns the folder of a mailbox name. INBOX is the root: its dir is "".
func (u *User) findLocked(name string) (folder, error) {
	name = canonicalName(name)
	if name == inbox {
		return folder{name: inbox}, nil
	}
	folders, err := u.foldersLocked()
	if err != nil {
		return folder{}, err
	}
	i, ok := slices.BinarySearchFunc(folders, name, func(f folder, n string) int { return strings.Compare(f.name, n) })
	if !ok {
		return folder{}, fmt.Errorf("mailbox %.80q: %w", name, ErrNotFound)
	}
	return folders[i], nil
}

// forget has the tree read again at the next use.
func (u *User) forgetTree() { u.tree = folderTree{others: u.tree.others} }

// openFolder opens a folder's directory.
func (u *User) openFolder(dir string) (durable.Dir, error) {
	if dir == "" {
		return u.root, nil
	}
	d, err := u.root.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return d, diskError(err)
}
