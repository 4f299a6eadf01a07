package maildir

import (
	"errors"
	"io/fs"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// isTooLong reports that a file cannot have a name because it is too long for the file
// system.
func isTooLong(err error) bool { return errors.Is(err, unix.ENAMETOOLONG) }

// renameFile gives a message's file its name in cur/. Where another program's base leaves
// no room for flags the file first gets one of ours, and ErrNotExist says to look at the
// directory again: the message keeps its UID, as when another program renames it.
func (m *Mailbox) renameFile(dir durable.Dir, name, to string) error {
	err := dir.Rename(name, m.dir.cur, to)
	if !isTooLong(err) {
		return err
	}
	_, raw := splitName(name)
	short := m.user.store.namer.base(-1, -1) + raw
	if len(short) >= len(name) {
		return err // what is long is not the base
	}
	if err := dir.Rename(name, dir, short); err != nil {
		return err
	}
	return fs.ErrNotExist
}
