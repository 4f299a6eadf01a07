package crashfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"buzon/internal/durable"
)

// dir is a directory that is held open.
type dir struct {
	fs   *FS
	node *inode
	path string
}

func (d *dir) lock(op, name string, counts bool) (unlock func(), err error) {
	d.fs.mu.Lock()
	if !durable.ValidName(name) {
		err = pathError(op, name, fs.ErrInvalid)
	} else {
		err = d.fs.begin(op, d.path+"/"+name, counts)
	}
	if err != nil {
		d.fs.mu.Unlock()
		return nil, err
	}
	return d.fs.mu.Unlock, nil
}

func (d *dir) Open(name string) (durable.File, error) {
	unlock, err := d.lock("open", name, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	x := d.node.entries[name]
	switch {
	case x == nil:
		return nil, pathError("open", name, fs.ErrNotExist)
	case x.entries != nil:
		return nil, pathError("open", name, durable.ErrNotRegular)
	}
	return &file{fs: d.fs, node: x, name: d.path + "/" + name}, nil
}

func (d *dir) Create(name string, perm fs.FileMode) (durable.File, error) {
	unlock, err := d.lock("create", name, true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if d.node.entries[name] != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	x := d.fs.newInode(perm.Perm())
	d.fs.change(part{dir: d.node, name: name, target: x})
	return &file{fs: d.fs, node: x, name: d.path + "/" + name}, nil
}

func (d *dir) Append(name string, perm fs.FileMode) (durable.File, error) {
	d.fs.mu.Lock()
	exists := d.node.entries[name] != nil
	d.fs.mu.Unlock()
	if exists {
		return d.Open(name)
	}
	return d.Create(name, perm)
}

func (d *dir) Rewrite(name string) (durable.File, error) { return d.Open(name) }

func (d *dir) OpenDir(name string) (durable.Dir, error) {
	unlock, err := d.lock("open", name, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	x := d.node.entries[name]
	switch {
	case x == nil:
		return nil, pathError("open", name, fs.ErrNotExist)
	case x.entries == nil:
		return nil, pathError("open", name, errNotDir)
	}
	return &dir{d.fs, x, d.path + "/" + name}, nil
}

func (d *dir) Mkdir(name string, perm fs.FileMode) error {
	unlock, err := d.lock("mkdir", name, true)
	if err != nil {
		return err
	}
	defer unlock()
	if d.node.entries[name] != nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	d.fs.change(part{dir: d.node, name: name, target: d.fs.newInode(fs.ModeDir | perm.Perm())})
	return nil
}

func (d *dir) Rename(name string, to durable.Dir, newName string) error {
	return d.rename(name, to.(*dir), newName, false)
}

func (d *dir) Replace(name, newName string) error { return d.rename(name, d, newName, true) }

func (d *dir) rename(name string, to *dir, newName string, replace bool) error {
	unlock, err := d.lock("rename", name, true)
	if err != nil {
		return err
	}
	defer unlock()
	x, old := d.node.entries[name], to.node.entries[newName]
	switch {
	case !durable.ValidName(newName):
		return linkError("rename", name, newName, fs.ErrInvalid)
	case x == nil:
		return linkError("rename", name, newName, fs.ErrNotExist)
	case old != nil && !replace:
		return linkError("rename", name, newName, fs.ErrExist)
	}
	if old != nil {
		old.nlink--
	}
	x.ctime = d.fs.tick()
	d.fs.change(part{dir: d.node, name: name}, part{dir: to.node, name: newName, target: x})
	return nil
}

func (d *dir) Link(name string, to durable.Dir, newName string) error {
	unlock, err := d.lock("link", name, true)
	if err != nil {
		return err
	}
	defer unlock()
	x, t := d.node.entries[name], to.(*dir)
	switch {
	case x == nil:
		return linkError("link", name, newName, fs.ErrNotExist)
	case x.entries != nil:
		return linkError("link", name, newName, syscall.EPERM)
	case t.node.entries[newName] != nil:
		return linkError("link", name, newName, fs.ErrExist)
	}
	x.nlink++
	x.ctime = d.fs.tick()
	d.fs.change(part{dir: t.node, name: newName, target: x})
	return nil
}

func (d *dir) Remove(name string) error {
	unlock, err := d.lock("remove", name, true)
	if err != nil {
		return err
	}
	defer unlock()
	x := d.node.entries[name]
	switch {
	case x == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case len(x.entries) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	x.nlink--
	if x.entries != nil {
		x.nlink = 0
	}
	d.fs.change(part{dir: d.node, name: name})
	return nil
}

func (d *dir) Stat(name string) (durable.Info, error) {
	unlock, err := d.lock("stat", name, false)
	if err != nil {
		return durable.Info{}, err
	}
	defer unlock()
	x := d.node.entries[name]
	if x == nil {
		return durable.Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	return x.info(), nil
}

func (x *inode) info() durable.Info {
	return durable.Info{
		Dev: 1, Ino: x.ino, Size: int64(len(x.data)), Mode: x.mode, Nlink: x.nlink,
		Mtime: x.mtime, Ctime: x.ctime, Btime: x.btime, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
	}
}

func (d *dir) Scan(fn func(durable.Entry) error) error {
	d.fs.mu.Lock()
	err := d.fs.begin("readdir", d.path, false)
	entries := maps.Clone(d.node.entries)
	d.fs.mu.Unlock()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		x := entries[name]
		if err := fn(durable.Entry{Name: []byte(name), Ino: x.ino, Type: x.mode.Type()}); err != nil {
			return err
		}
	}
	return nil
}

func (d *dir) Self() (durable.Info, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if err := d.fs.begin("stat", d.path, false); err != nil {
		return durable.Info{}, err
	}
	return d.node.info(), nil
}

func (d *dir) Sync() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if err := d.fs.begin("fsync", d.path+"/", true); err != nil {
		return err
	}
	if !d.fs.lies(d.path + "/") {
		d.fs.syncDir(d.node)
	}
	return nil
}

func (d *dir) Remote() bool { return false }
func (d *dir) Close() error { return nil }

// file is an open file.
type file struct {
	fs     *FS
	node   *inode
	name   string
	offset int64
	closed bool
}

func (f *file) lock(op string, counts bool) (unlock func(), err error) {
	f.fs.mu.Lock()
	if f.closed {
		err = pathError(op, f.name, fs.ErrClosed)
	} else {
		err = f.fs.begin(op, f.name, counts)
	}
	if err != nil {
		f.fs.mu.Unlock()
		return nil, err
	}
	return f.fs.mu.Unlock, nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.offset)
	f.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	unlock, err := f.lock("read", false)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write appends, as all our writing does.
func (f *file) Write(p []byte) (int, error) {
	unlock, err := f.lock("write", true)
	if err != nil {
		return 0, err
	}
	defer unlock()
	f.touch()
	f.node.data = append(slices.Clip(f.node.data), p...)
	f.node.ends = append(f.node.ends, len(f.node.data))
	return len(p), nil
}

// WriteAt overwrites what is there.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	unlock, err := f.lock("write", true)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if off < 0 || off+int64(len(p)) > int64(len(f.node.data)) {
		return 0, pathError("write", f.name, fs.ErrInvalid) // none of our files grows so
	}
	f.touch()
	f.node.data = slices.Clone(f.node.data)
	copy(f.node.data[off:], p)
	f.node.patches = append(f.node.patches, patch{off, slices.Clone(p)})
	return len(p), nil
}

func (f *file) touch() {
	if !f.node.dirty {
		f.node.dirty = true
		f.fs.files = append(f.fs.files, f.node)
	}
	f.node.mtime = f.fs.tick()
	f.node.ctime = f.node.mtime
}

func (f *file) Truncate(size int64) error {
	unlock, err := f.lock("truncate", true)
	if err != nil {
		return err
	}
	defer unlock()
	f.touch()
	f.node.data = slices.Clip(f.node.data[:min(size, int64(len(f.node.data)))])
	f.node.ends = append(f.node.ends, len(f.node.data))
	return nil
}

func (f *file) Sync() error { return f.sync("fsync") }

func (f *file) SyncData() error { return f.sync("fdatasync") }

func (f *file) sync(op string) error {
	unlock, err := f.lock(op, true)
	if err != nil {
		return err
	}
	defer unlock()
	if f.fs.lies(f.name) {
		return nil
	}
	f.node.clean()
	f.fs.files = slices.DeleteFunc(f.fs.files, func(x *inode) bool { return x == f.node })
	return nil
}

func (f *file) SetTime(t time.Time) error {
	unlock, err := f.lock("utimens", false)
	if err != nil {
		return err
	}
	defer unlock()
	f.node.mtime, f.node.ctime = t.UnixNano(), f.fs.tick()
	return nil
}

func (f *file) Stat() (durable.Info, error) {
	unlock, err := f.lock("stat", false)
	if err != nil {
		return durable.Info{}, err
	}
	defer unlock()
	return f.node.info(), nil
}

func (f *file) Map(size int) ([]byte, func(), error) {
	unlock, err := f.lock("mmap", false)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	// Aligned as a page is, for who lays columns over it.
	words := make([]uint64, (size+7)/8+1)
	b := bytesOf(words)[:size]
	copy(b, f.node.data)
	return b, func() {}, nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
