package durable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is the answer to opening a directory, FIFO, device, socket or
// symbolic link as a file.
var ErrNotRegular = errors.New("not a regular file")

// disk is a Dir of the real file system: a directory descriptor and the *at
// system calls. A path is resolved once, when the first descriptor is opened.
type disk struct {
	f    *os.File
	path string // for messages only
}

// OpenDir opens the directory at path, following symbolic links in it: the path
// of the tree's root is the operator's, not the user's.
func OpenDir(path string) (Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &disk{os.NewFile(uintptr(fd), path), path}, nil
}

// OpenRoot returns a Dir for the directory that root holds.
func OpenRoot(root *os.Root) (Dir, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	return &disk{f, root.Name()}, nil
}

// Descriptor returns the file descriptor of a directory on disk, for inotify.
// It is valid until d is closed. A Dir that stands before one on disk may have it
// as a method of this name.
func Descriptor(d Dir) (fd int, ok bool) {
	switch d := d.(type) {
	case *disk:
		return d.fd(), true
	case interface{ Descriptor() (int, bool) }:
		return d.Descriptor()
	}
	return -1, false
}

func (d *disk) fd() int { return int(d.f.Fd()) }

func (d *disk) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: d.path + "/" + name, Err: err}
}

func (d *disk) failLink(op, name string, to *disk, newName string, err error) error {
	return &os.LinkError{Op: op, Old: d.path + "/" + name, New: to.path + "/" + newName, Err: err}
}

// ValidName reports whether name is one path component that a Dir accepts.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (d *disk) Open(name string) (File, error) {
	// O_NONBLOCK: a FIFO that somebody put here must not hold us up.
	return d.openFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
}

func (d *disk) Create(name string, perm fs.FileMode) (File, error) {
	f, err := d.openFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, perm)
	if err == nil {
		d.giveGroup(int(f.(*diskFile).Fd()), "")
	}
	return f, err
}

// giveGroup gives what was made in the directory the directory's group, as where it
// has the setgid bit: who shares a tree by its group shares what comes into it. It
// is no error when we are not in that group.
func (d *disk) giveGroup(dirfd int, name string) {
	var dir, made unix.Stat_t
	if unix.Fstat(d.fd(), &dir) != nil || int(dir.Gid) == os.Getegid() { // then it has our group in any case
		return
	}
	if unix.Fstatat(dirfd, name, &made, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != nil || made.Gid == dir.Gid {
		return
	}
	_ = unix.Fchownat(dirfd, name, -1, int(dir.Gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

func (d *disk) Append(name string, perm fs.FileMode) (File, error) {
	return d.openFile(name, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NONBLOCK, perm)
}

func (d *disk) Rewrite(name string) (File, error) {
	return d.openFile(name, unix.O_RDWR|unix.O_NONBLOCK, 0)
}

func (d *disk) openFile(name string, flags int, perm fs.FileMode) (File, error) {
	if !ValidName(name) {
		return nil, d.fail("open", name, fs.ErrInvalid)
	}
	fd, err := openat(d.fd(), name, flags|unix.O_NOFOLLOW, uint32(perm.Perm()))
	runtime.KeepAlive(d)
	if err != nil {
		if err == unix.ELOOP {
			err = ErrNotRegular
		}
		return nil, d.fail("open", name, err)
	}
	if flags&unix.O_EXCL != 0 {
		return &diskFile{os.NewFile(uintptr(fd), name)}, nil // we made it
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, d.fail("stat", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, d.fail("open", name, ErrNotRegular)
	}
	return &diskFile{os.NewFile(uintptr(fd), name)}, nil
}

func (d *disk) OpenDir(name string) (Dir, error) {
	if !ValidName(name) {
		return nil, d.fail("open", name, fs.ErrInvalid)
	}
	fd, err := openat(d.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	runtime.KeepAlive(d)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	path := d.path + "/" + name
	return &disk{os.NewFile(uintptr(fd), path), path}, nil
}

func (d *disk) Mkdir(name string, perm fs.FileMode) error {
	if !ValidName(name) {
		return d.fail("mkdir", name, fs.ErrInvalid)
	}
	if err := unix.Mkdirat(d.fd(), name, uint32(perm.Perm())); err != nil {
		return d.fail("mkdir", name, err)
	}
	// The umask must not take away what the caller asked for.
	if err := unix.Fchmodat(d.fd(), name, uint32(perm.Perm()), 0); err != nil {
		return d.fail("chmod", name, err)
	}
	d.giveGroup(d.fd(), name)
	return nil
}

func (d *disk) Rename(name string, to Dir, newName string) error {
	t, err := d.pair("rename", name, to, newName)
	if err != nil {
		return err
	}
	err = renameat2(d.fd(), name, t.fd(), newName)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// NFS and old kernels cannot refuse to replace: link can. A directory
		// cannot be linked, there the check before must do.
		err = d.renameByLink(name, t, newName)
	}
	if err != nil {
		return d.failLink("rename", name, t, newName, err)
	}
	return nil
}

func (d *disk) renameByLink(name string, t *disk, newName string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := unix.Fstatat(t.fd(), newName, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			return unix.EEXIST
		}
		return unix.Renameat(d.fd(), name, t.fd(), newName)
	}
	if err := unix.Linkat(d.fd(), name, t.fd(), newName, 0); err != nil {
		// The answer to a link over NFS can be lost: the same inode under
		// both names means that it was done.
		var nst unix.Stat_t
		if e := unix.Fstatat(t.fd(), newName, &nst, unix.AT_SYMLINK_NOFOLLOW); e != nil ||
			nst.Ino != st.Ino || nst.Dev != st.Dev {
			return err
		}
	}
	return unix.Unlinkat(d.fd(), name, 0)
}

func (d *disk) Replace(name, newName string) error {
	if _, err := d.pair("rename", name, d, newName); err != nil {
		return err
	}
	if err := unix.Renameat(d.fd(), name, d.fd(), newName); err != nil {
		return d.failLink("rename", name, d, newName, err)
	}
	return nil
}

func (d *disk) Link(name string, to Dir, newName string) error {
	t, err := d.pair("link", name, to, newName)
	if err != nil {
		return err
	}
	if err := linkat(d.fd(), name, t.fd(), newName); err != nil {
		return d.failLink("link", name, t, newName, err)
	}
	return nil
}

func (d *disk) pair(op, name string, to Dir, newName string) (*disk, error) {
	t, ok := to.(*disk)
	if !ok || !ValidName(name) || !ValidName(newName) {
		return nil, d.fail(op, name, fs.ErrInvalid)
	}
	return t, nil
}

func (d *disk) Remove(name string) error {
	if !ValidName(name) {
		return d.fail("remove", name, fs.ErrInvalid)
	}
	err := unlinkat(d.fd(), name, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		err = unlinkat(d.fd(), name, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return d.fail("remove", name, err)
	}
	return nil
}

func (d *disk) Stat(name string) (Info, error) {
	if !ValidName(name) {
		return Info{}, d.fail("stat", name, fs.ErrInvalid)
	}
	in, err := statx(d.fd(), name, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return Info{}, d.fail("stat", name, err)
	}
	return in, nil
}

func (d *disk) Self() (Info, error) {
	in, err := statx(d.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return Info{}, d.fail("stat", ".", err)
	}
	return in, nil
}

func (d *disk) Sync() error {
	if err := d.f.Sync(); err != nil {
		return d.fail("fsync", ".", err)
	}
	return nil
}

func (d *disk) Close() error { return d.f.Close() }

// scanBuffer is what one getdents64 call fills: large, so that a directory of
// 30 000 names is read in few calls and changes little meanwhile.
const scanBuffer = 256 << 10

var scanBuffers = sync.Pool{New: func() any { b := make([]byte, scanBuffer); return &b }}

func (d *disk) Scan(fn func(Entry) error) error {
	// A descriptor of its own: the offset of a directory is shared state.
	fd, err := openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return d.fail("open", ".", err)
	}
	defer unix.Close(fd)
	bp := scanBuffers.Get().(*[]byte)
	defer scanBuffers.Put(bp)
	for {
		n, err := unix.Getdents(fd, *bp)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return d.fail("readdir", ".", err)
		}
		if n == 0 {
			return nil
		}
		if err := eachDirent((*bp)[:n], fn); err != nil {
			return err
		}
	}
}

// eachDirent reads the records of getdents64(2). They are read byte by byte, as the
// last one may end before a unix.Dirent would.
func eachDirent(buf []byte, fn func(Entry) error) error {
	const (
		sizeAt = int(unsafe.Offsetof(unix.Dirent{}.Reclen))
		typeAt = int(unsafe.Offsetof(unix.Dirent{}.Type))
		nameAt = int(unsafe.Offsetof(unix.Dirent{}.Name))
	)
	for len(buf) > 0 {
		size := binary.NativeEndian.Uint16(buf[sizeAt:])
		name := buf[nameAt:size]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		e := Entry{Name: name, Ino: binary.NativeEndian.Uint64(buf), Type: direntType(buf[typeAt])}
		buf = buf[size:]
		if string(name) == "." || string(name) == ".." {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func direntType(t uint8) fs.FileMode {
	switch t {
	case unix.DT_REG:
		return 0
	case unix.DT_DIR:
		return fs.ModeDir
	case unix.DT_LNK:
		return fs.ModeSymlink
	case unix.DT_UNKNOWN:
		return fs.ModeIrregular
	}
	return fs.ModeDevice
}

// Magic numbers of file systems that another host may write to (statfs(2)).
var remoteFS = map[int64]bool{
	0x6969:     true, // NFS
	0xff534d42: true, // CIFS
	0xfe534d42: true, // SMB2
	0x00c36400: true, // CephFS
	0x65735546: true, // FUSE: JuiceFS, sshfs, GlusterFS
	0x01021997: true, // 9p
	0x5346414f: true, // AFS
	0x0bd00bd0: true, // Lustre
	0x01161970: true, // GFS2
	0x7461636f: true, // OCFS2
}

func (d *disk) Remote() bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.fd(), &st); err != nil {
		return true
	}
	return remoteFS[int64(st.Type)&0xffffffff]
}

func openat(dirfd int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, perm)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func statx(dirfd int, name string, flags int) (Info, error) {
	var x unix.Statx_t
	if err := unix.Statx(dirfd, name, flags|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x); err != nil {
		return Info{}, err
	}
	in := Info{
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Size: int64(x.Size), Nlink: x.Nlink,
		UID: x.Uid, GID: x.Gid, Mtime: statxTime(x.Mtime), Ctime: statxTime(x.Ctime),
		Mode: fs.FileMode(x.Mode & 0o777),
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		in.Btime = statxTime(x.Btime)
	}
	switch x.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		in.Mode |= fs.ModeDir
	case unix.S_IFLNK:
		in.Mode |= fs.ModeSymlink
	default:
		in.Mode |= fs.ModeIrregular
	}
	return in, nil
}

func statxTime(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// diskFile is a File of the real file system.
type diskFile struct{ *os.File }

func (f *diskFile) SetTime(t time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.UnixNano())}
	// utimensat with a descriptor of the file itself: no name to race with.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return &fs.PathError{Op: "utimens", Path: f.Name(), Err: syscall.Errno(errno)}
	}
	return nil
}

func (f *diskFile) SyncData() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { // the descriptor stays open meanwhile
		for failed = unix.EINTR; failed == unix.EINTR; {
			failed = unix.Fdatasync(int(fd))
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

func (f *diskFile) Stat() (Info, error) {
	in, err := statx(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return Info{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return in, nil
}

func (f *diskFile) Map(size int) ([]byte, func(), error) {
	if size == 0 {
		return nil, func() {}, nil
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return b, func() { _ = unix.Munmap(b) }, nil
}

// BootID names this run of the kernel; "" where it cannot be known. A clean mark
// from another boot proves nothing: the disk may hold less than was written.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// IsFull reports that err is a full disk, a spent quota or a lack of inodes.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// pidText is what a lock file holds.
func pidText() string { return strconv.Itoa(os.Getpid()) }
