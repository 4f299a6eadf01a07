// Package durable is the one place where Buzón makes files safe: write, fsync,
// rename, fsync of the directory, in this order. It also holds the seam between
// the store and the file system: Dir and File, of which there is the real disk
// (OpenDir) and, for tests, one that forgets whatever was not fsynced
// (internal/durable/crashfs).
//
// It knows nothing of mail.
package durable

import (
	"io"
	"io/fs"
	"time"
)

// Dir is a directory that is held open. Every name given to it is one path
// component: never empty, ".", "..", and without "/" or NUL; anything else is
// fs.ErrInvalid. No method follows a symbolic link in the last component, so
// nothing outside the directory can be reached through a Dir. Errors are
// *fs.PathError or *os.LinkError and work with errors.Is. A Dir is safe for
// concurrent use.
type Dir interface {
	// Open opens a regular file for reading. Anything that is not a regular
	// file is ErrNotRegular; a FIFO does not block.
	Open(name string) (File, error)
	// Create makes a file that did not exist, for writing and reading.
	Create(name string, perm fs.FileMode) (File, error)
	// Append opens a file for reading and for writing at its end, and makes
	// it where it does not exist.
	Append(name string, perm fs.FileMode) (File, error)
	// Rewrite opens a regular file for reading and for writing in place. Anything
	// that is not a regular file is ErrNotRegular.
	Rewrite(name string) (File, error)
	// OpenDir opens a subdirectory.
	OpenDir(name string) (Dir, error)
	// Mkdir makes a subdirectory.
	Mkdir(name string, perm fs.FileMode) error
	// Rename moves name to newName in the directory to, atomically. It never
	// replaces: an existing newName is fs.ErrExist.
	Rename(name string, to Dir, newName string) error
	// Replace renames name to newName in the same directory and replaces it.
	Replace(name, newName string) error
	// Link gives the file a second name. It never replaces.
	Link(name string, to Dir, newName string) error
	// Remove unlinks a file or an empty directory.
	Remove(name string) error
	// Stat describes name itself, not what a symbolic link points to.
	Stat(name string) (Info, error)
	// Scan calls fn for each entry but "." and "..", in directory order. The
	// entry's name is valid during the call only.
	Scan(fn func(Entry) error) error
	// Self describes the directory.
	Self() (Info, error)
	// Sync makes the directory's entries durable, not the files' contents.
	Sync() error
	// Remote reports that other hosts may change the directory unseen by this
	// kernel, as on NFS.
	Remote() bool
	io.Closer
}

// File is an open regular file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	// WriteAt writes in place. Not for files from Append.
	io.WriterAt
	io.Closer
	// Sync makes contents and size durable. After an error the file must be
	// given up: the kernel drops the error and a second Sync would lie.
	Sync() error
	// SyncData is Sync without the times of the file. What was written over
	// blocks that the file has costs the file system no transaction then.
	SyncData() error
	// Truncate cuts the file to size bytes.
	Truncate(size int64) error
	// SetTime sets the modification time.
	SetTime(mtime time.Time) error
	// Stat describes the file.
	Stat() (Info, error)
	// Map returns the first size bytes as memory, private to the caller: it
	// may write to it, the file does not change. Unmap gives it back.
	Map(size int) (data []byte, unmap func(), err error)
}

// Info is what stat tells of a file or directory.
type Info struct {
	Dev, Ino            uint64
	Size                int64
	Mode                fs.FileMode
	Nlink               uint32
	UID, GID            uint32
	Mtime, Ctime, Btime int64 // nanoseconds since 1970; Btime 0: not known
}

// Entry is one name of a directory.
type Entry struct {
	Name []byte
	Ino  uint64
	Type fs.FileMode // type bits only; fs.ModeIrregular when the file system does not say
}
