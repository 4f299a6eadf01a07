package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteFile replaces the file name under dir with data, whole or not at all:
//
//	open(.name.<random>, O_EXCL) → write → fsync → close → rename → fsync(directory)
//
// name may hold slashes; its directory must exist. After a crash at any point
// the old or the new contents are there. When it returns nil the new contents
// are durable.
func WriteFile(dir *os.Root, name string, data []byte, perm fs.FileMode) error {
	parent, base := path.Split(name)
	tmp := parent + tempName(base)
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	// After a failed fsync the file's state is unknown: it is thrown away,
	// never synced again (Linux reports such an error only once).
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Rename(tmp, name)
	}
	if err != nil {
		_ = dir.Remove(tmp)
		return err
	}
	return SyncDir(dir, path.Dir(name))
}

// WriteFileIn is WriteFile for a Dir.
func WriteFileIn(dir Dir, name string, data []byte, perm fs.FileMode) error {
	tmp := tempName(name)
	if err := CreateFile(dir, tmp, data, perm); err != nil {
		return err
	}
	if err := dir.Replace(tmp, name); err != nil {
		_ = dir.Remove(tmp)
		return err
	}
	return dir.Sync()
}

// WriteFileAt is WriteFile for a path, whose directory must exist.
func WriteFileAt(file string, data []byte, perm fs.FileMode) error {
	dir, err := OpenDir(path.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	return WriteFileIn(dir, path.Base(file), data, perm)
}

// CreateFile makes the file name with data and makes its contents durable; its
// name is durable after the caller's dir.Sync.
func CreateFile(dir Dir, name string, data []byte, perm fs.FileMode) error {
	f, err := dir.Create(name, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = dir.Remove(name)
	}
	return err
}

// tempName is a hidden name beside name that no other writer uses. It stays
// within NAME_MAX.
func tempName(name string) string {
	var r [6]byte
	_, _ = rand.Read(r[:]) // crypto/rand never fails since Go 1.24
	return "." + name[:min(len(name), 200)] + "." + hex.EncodeToString(r[:])
}

// IsTemp reports that a name looks like one that WriteFile writes to before the
// rename. After a crash such files are litter.
func IsTemp(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 1 || name[0] != '.' || len(name)-i-1 != 12 {
		return false
	}
	return strings.Trim(name[i+1:], "0123456789abcdef") == ""
}

// SyncDir makes the entries of the directory name under dir durable; "." is dir
// itself.
func SyncDir(dir *os.Root, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// ErrLocked is the answer to Lock when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock takes the advisory lock (flock) on the file at path, without waiting, and
// writes the process id into it for people to read. The lock ends with unlock or
// with the process. ErrLocked names the holder where it is known. The file
// stays: removing it would let two processes hold "the" lock.
func Lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
		}
		buf := make([]byte, 32)
		n, _ := f.ReadAt(buf, 0)
		if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
			return nil, fmt.Errorf("%s: %w (pid %s)", path, ErrLocked, pid)
		}
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(pidText()+"\n"), 0)
	}
	return f.Close, nil
}
