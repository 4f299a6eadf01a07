package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"buzon/internal/durable"
)

// A rename of a mailbox with children moves several directories. So that a crash
// does not leave it half done, they are noted in the tree's root first, in the
// file ..RENAME: lines of "<from> TAB <to>". Whoever opens the tree next does the
// rest.
const (
	renameNote    = "..RENAME"
	maxRenameNote = 4 << 20
)

func (u *User) noteRename(moves []folderMove) error {
	var b strings.Builder
	for _, mv := range moves {
		fmt.Fprintf(&b, "%s\t%s\n", mv.from, mv.to)
	}
	return durable.WriteFileIn(u.root, renameNote, []byte(b.String()), u.filePerm)
}

// clearRenameNote removes the note durably: one that came back after a crash would
// be obeyed again, when the names may mean other folders.
func (u *User) clearRenameNote() error {
	if err := u.root.Remove(renameNote); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return u.root.Sync()
}

// recoverTree completes what a crash interrupted: a rename of several folders,
// and the removal of deleted ones.
func (u *User) recoverTree() error {
	if err := u.finishRename(); err != nil {
		return fmt.Errorf("complete rename: %w", err)
	}
	var gone, old []string
	if err := u.root.Scan(func(e durable.Entry) error {
		name := string(e.Name)
		switch {
		case strings.HasPrefix(name, deletedPrefix):
			gone = append(gone, name)
		case e.Type == 0 && durable.IsTemp(name):
			old = append(old, name)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, dir := range gone {
		u.discard(dir)
	}
	for _, name := range old {
		in, err := u.root.Stat(name)
		if err == nil && u.store.now().Sub(time.Unix(0, in.Ctime)) > stageMaxAge {
			_ = u.root.Remove(name)
		}
	}
	return nil
}

// deletedPrefix begins the name of a deleted folder while it is taken apart.
const deletedPrefix = "..DELETED-"

func (u *User) finishRename() error {
	data, _, err := readSmallFile(u.root, renameNote, maxRenameNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		from, to, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || !isFolderDir(from) || !isFolderDir(to) {
			continue
		}
		if err := u.root.Rename(from, u.root, to); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := u.root.Sync(); err != nil {
		return err
	}
	return u.clearRenameNote()
}

func isFolderDir(dir string) bool {
	_, ok := folderName(dir)
	return ok && durable.ValidName(dir)
}
