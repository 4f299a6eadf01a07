package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// maxFolders bounds a tree: each LIST answers for all of them.
const maxFolders = 5000

// Create makes a mailbox, whole or not at all, with the special use where one is
// given. Its UIDVALIDITY is one that no mailbox of the tree had. ErrExists,
// ErrBadName, ErrLimit.
func (u *User) Create(_ context.Context, name, specialUse string) error {
	name = canonicalName(strings.TrimSuffix(name, "/"))
	if err := checkMailboxName(name); err != nil {
		return err
	}
	if specialUse != "" {
		var err error
		if specialUse, err = CheckSpecialUse(specialUse); err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.findLocked(name); err == nil {
		return fmt.Errorf("create %.80q: %w", name, ErrExists)
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if len(u.tree.folders) >= maxFolders {
		return fmt.Errorf("create %.80q: more than %d mailboxes: %w", name, maxFolders, ErrLimit)
	}
	if err := u.build(folderDir(name), specialUse); err != nil {
		return fmt.Errorf("create %.80q: %w", name, diskError(err))
	}
	u.forgetTree()
	return nil
}

// build makes a folder in tmp/, where no reader looks, and gives it its name when
// it is whole: a crash leaves all of it or nothing.
func (u *User) build(dirName, specialUse string) error {
	validity, err := nextUIDValidity(u.root, u.store.now(), u.filePerm)
	if err != nil {
		return err
	}
	stage := u.store.namer.unique()
	if err := u.tmp().Mkdir(stage, u.dirPerm); err != nil {
		return err
	}
	err = u.fill(stage, validity, specialUse)
	if err == nil {
		err = u.tmp().Rename(stage, u.root, dirName)
	}
	if err != nil {
		removeTree(u.tmp(), stage)
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return err
	}
	return u.root.Sync()
}

func (u *User) fill(stage string, validity uint32, specialUse string) error {
	dir, err := u.tmp().OpenDir(stage)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := dir.Mkdir(sub, u.dirPerm); err != nil {
			return err
		}
	}
	// Maildir++: tells delivery agents that the root is this folder's parent.
	if err := durable.CreateFile(dir, "maildirfolder", nil, u.filePerm); err != nil {
		return err
	}
	if specialUse != "" {
		if err := writeSpecialUse(dir, specialUse, u); err != nil {
			return err
		}
	}
	h := uidHeader{version: 3, validity: validity, next: 1, guid: newGUID()}
	if err := durable.CreateFile(dir, uidlistFile, []byte(h.String()), u.filePerm); err != nil {
		return err
	}
	return dir.Sync()
}

// Delete removes a mailbox and its messages. A mailbox with children leaves its
// name (RFC 9051 6.3.5). ErrInbox, ErrNotFound; a name without a folder is
// ErrNoSelect.
func (u *User) Delete(ctx context.Context, name string) error {
	name = canonicalName(name)
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := u.findLocked(name)
	if err != nil {
		if errors.Is(err, ErrNotFound) && u.hasChildrenLocked(name) {
			err = fmt.Errorf("delete %.80q: %w", name, ErrNoSelect)
		}
		return err
	}
	if f.dir == "" {
		return fmt.Errorf("delete: %w", ErrInbox)
	}
	if err := u.endMailboxLocked(ctx, f.dir); err != nil {
		return err
	}
	guid := u.folderGUID(f.dir)
	// First out of sight with one durable rename, then file by file.
	gone := deletedName(u.store.namer.unique(), f.dir)
	err = u.root.Rename(f.dir, u.root, gone)
	if err == nil {
		err = u.root.Sync()
	}
	u.forgetTree()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %.80q: %w", name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("delete %.80q: %w", name, diskError(err))
	}
	u.discard(gone)
	if u.state != nil && validGUID(guid) {
		removeTree(u.state, guid)
	}
	return nil
}

// folderGUID reads a folder's GUID; "" when it has none.
func (u *User) folderGUID(dir string) string {
	folder, err := u.root.OpenDir(dir)
	if err != nil {
		return ""
	}
	defer folder.Close()
	return readGUID(folder)
}

// discard removes the folder of a deleted mailbox; its messages are kept for
// undelete where that is wanted.
func (u *User) discard(dir string) {
	u.keepFolder(dir, deletedWas(dir))
	removeTree(u.root, dir)
}

func (u *User) hasChildrenLocked(name string) bool {
	folders, _ := u.foldersLocked()
	for _, f := range folders {
		if strings.HasPrefix(f.name, name+"/") {
			return true
		}
	}
	return false
}

// removeTree removes a directory and all below it; symbolic links are removed,
// not followed. What cannot be removed stays, out of everybody's sight.
func removeTree(parent durable.Dir, name string) {
	dir, err := parent.OpenDir(name)
	if err != nil {
		_ = parent.Remove(name)
		return
	}
	var names []string
	_ = dir.Scan(func(e durable.Entry) error {
		names = append(names, string(e.Name))
		return nil
	})
	for _, n := range names {
		if dir.Remove(n) != nil {
			removeTree(dir, n)
		}
	}
	_ = dir.Close()
	_ = parent.Remove(name)
}

// Rename gives a mailbox and all below it another name (RFC 9051 6.3.6). INBOX
// stays: its messages are moved into a new mailbox. ErrExists, ErrNotFound,
// ErrBadName.
func (u *User) Rename(ctx context.Context, from, to string) error {
	from, to = canonicalName(from), canonicalName(strings.TrimSuffix(to, "/"))
	if err := checkMailboxName(to); err != nil {
		return err
	}
	if from == inbox {
		return u.renameInbox(ctx, to)
	}
	if to == from || strings.HasPrefix(to, from+"/") {
		return fmt.Errorf("rename %.80q to %.80q: %w", from, to, ErrBadName)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	moves, err := u.planRename(from, to)
	if err != nil {
		return err
	}
	unlock, err := u.lockOpen(ctx, moves)
	if err != nil {
		return err
	}
	defer unlock()
	if err := u.renameFolders(moves); err != nil {
		return fmt.Errorf("rename %.80q: %w", from, diskError(err))
	}
	return nil
}

// lockOpen holds up everybody who works in mailboxes that are to be renamed.
func (u *User) lockOpen(ctx context.Context, moves []folderMove) (unlock func(), err error) {
	var all []*Mailbox
	for _, mv := range moves {
		if m := u.mailboxes[mv.from]; m != nil {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *Mailbox) int { return cmpUint(a.serial, b.serial) })
	locked := 0
	unlock = func() {
		for _, m := range all[:locked] {
			m.lock.unlock()
		}
	}
	for _, m := range all {
		if err := m.lock.lock(ctx); err != nil {
			unlock()
			return nil, err
		}
		locked++
	}
	return unlock, nil
}

// folderMove is one directory of a rename.
type folderMove struct{ from, to, name string }

func (u *User) planRename(from, to string) ([]folderMove, error) {
	folders, err := u.foldersLocked()
	if err != nil {
		return nil, err
	}
	var moves []folderMove
	taken := false
	for _, f := range folders {
		rest, below := strings.CutPrefix(f.name, from+"/")
		switch {
		case f.name == from:
			moves = append(moves, folderMove{f.dir, folderDir(to), to})
		case below:
			name := to + "/" + rest
			if err := checkMailboxName(name); err != nil {
				return nil, err
			}
			moves = append(moves, folderMove{f.dir, folderDir(name), name})
		}
		taken = taken || f.name == to || strings.HasPrefix(f.name, to+"/")
	}
	switch {
	case len(moves) == 0:
		return nil, fmt.Errorf("mailbox %.80q: %w", from, ErrNotFound)
	case taken || to == inbox:
		return nil, fmt.Errorf("rename to %.80q: %w", to, ErrExists)
	}
	return moves, nil
}

// renameFolders does all moves or none: with more than one a note of them is
// made first, which the next open completes after a crash.
func (u *User) renameFolders(moves []folderMove) error {
	if len(moves) > 1 {
		if err := u.noteRename(moves); err != nil {
			return err
		}
	}
	defer u.forgetTree()
	for i, mv := range moves {
		err := u.root.Rename(mv.from, u.root, mv.to)
		if err == nil {
			continue
		}
		for _, back := range moves[:i] {
			_ = u.root.Rename(back.to, u.root, back.from)
		}
		_ = u.root.Sync()
		_ = u.clearRenameNote()
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return err
	}
	if err := errors.Join(u.root.Sync(), u.clearRenameNote()); err != nil {
		return err
	}
	for _, mv := range moves {
		if m := u.mailboxes[mv.from]; m != nil {
			delete(u.mailboxes, mv.from)
			u.mailboxes[mv.to] = m
			m.renamed(mv.to, mv.name)
		}
	}
	return nil
}

func (u *User) renameInbox(ctx context.Context, to string) error {
	if err := u.Create(ctx, to, ""); err != nil {
		return err
	}
	src, err := u.Open(ctx, inbox)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := u.Open(ctx, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	s, err := src.Sync(ctx)
	if err != nil {
		return err
	}
	if _, err = src.Move(ctx, s.UIDs(), dst); err != nil {
		return err
	}
	return u.copyAnnotations(ctx, inbox, to)
}
