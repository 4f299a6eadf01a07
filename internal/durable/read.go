package durable

import (
	"io"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// ReadStart reads the start of a regular file into buf, as much as fits, and returns
// how much, and what stat tells of the file but Btime. It is Open, Stat, ReadAt and Close with no
// more than one system call each: mailboxes have many small files.
func ReadStart(d Dir, name string, buf []byte) (n int, in Info, err error) {
	disk, ok := d.(*disk)
	if !ok {
		return readStart(d, name, buf)
	}
	if !ValidName(name) {
		return 0, in, disk.fail("open", name, fs.ErrInvalid)
	}
	fd, err := openat(disk.fd(), name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	runtime.KeepAlive(disk)
	if err != nil {
		if err == unix.ELOOP {
			err = ErrNotRegular
		}
		return 0, in, disk.fail("open", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, in, disk.fail("stat", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, in, disk.fail("open", name, ErrNotRegular)
	}
	in = Info{
		Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mode: fs.FileMode(st.Mode & 0o777), Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}
	want := int(min(st.Size, int64(len(buf))))
	for n < want {
		k, err := unix.Pread(fd, buf[n:want], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, in, disk.fail("read", name, err)
		}
		if k == 0 { // somebody cut it
			in.Size = int64(n)
			return n, in, nil
		}
		n += k
	}
	return n, in, nil
}

// Missing reports that there is certainly nothing at a path below d: it is one
// system call, to spare the several that opening a path below an os.Root takes.
// Symbolic links are followed as there, within d.
func Missing(d Dir, path string) bool {
	disk, ok := d.(*disk)
	if !ok {
		return false
	}
	fd, err := unix.Openat2(disk.fd(), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	runtime.KeepAlive(disk)
	if err == nil {
		unix.Close(fd)
	}
	return err == unix.ENOENT
}

// readStart does it on a Dir of another kind.
func readStart(d Dir, name string, buf []byte) (n int, in Info, err error) {
	f, err := d.Open(name)
	if err != nil {
		return 0, in, err
	}
	defer f.Close()
	if in, err = f.Stat(); err != nil {
		return 0, in, err
	}
	n, err = f.ReadAt(buf[:min(in.Size, int64(len(buf)))], 0)
	if err == io.EOF {
		err = nil
	}
	return n, in, err
}
