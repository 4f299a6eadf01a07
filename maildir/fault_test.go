package maildir

import (
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// faults stands between a store and the disk: a test may look at each operation,
// do something just before it, or have it fail.
type faults struct {
	mu sync.Mutex
	// before is called with every operation; an error is its result, and the
	// disk is not asked. It runs without mu.
	before func(op operation) error
	// blind hides the descriptors, as if inotify could not be had.
	blind bool
	// self changes what a directory says of itself.
	self func(durable.Info) durable.Info
	// remote is what directories say of the file system.
	remote bool
	// state has the indexes on the disk that fails, too.
	state bool
	// chunk is how many bytes of a directory are read at once; 0: as the disk.
	chunk int
}

// operation is one call of the seam. What only looks has changes=false.
type operation struct {
	kind    string // create, write, fsync, rename, replace, link, remove, mkdir, syncdir; stat, scan, chunk, open, opendir
	dir     string // below the mail directory
	name    string
	to      string // rename, link: directory and name
	changes bool
}

func (f *faults) on(fn func(op operation) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = fn
}

func (f *faults) call(op operation) error {
	f.mu.Lock()
	fn := f.before
	f.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(op)
}

// faulty makes a harness on f; it is not open yet.
func faulty(t testing.TB, f *faults, options ...func(*Config)) *harness {
	h := newHarness(t, options...)
	h.before = func(c *Config) {
		mail, err := makeAndOpen(c.Mail)
		if err != nil {
			t.Fatal(err)
		}
		c.MailDir = &faultDir{Dir: mail, faults: f}
		if f.state {
			state, err := makeAndOpen(c.State)
			if err != nil {
				t.Fatal(err)
			}
			c.StateDir = &faultDir{Dir: state, faults: f}
		}
	}
	return h
}

type faultDir struct {
	durable.Dir
	faults *faults
	path   string
}

func (d *faultDir) at(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

func (d *faultDir) do(kind, name string) error {
	return d.faults.call(operation{kind: kind, dir: d.path, name: name, changes: true})
}

func (d *faultDir) see(kind, name string) error {
	return d.faults.call(operation{kind: kind, dir: d.path, name: name})
}

func (d *faultDir) Descriptor() (int, bool) {
	if d.faults.blind {
		return -1, false
	}
	return durable.Descriptor(d.Dir)
}

func (d *faultDir) Remote() bool { return d.faults.remote || d.Dir.Remote() }

func (d *faultDir) file(kind, name string, open func() (durable.File, error)) (durable.File, error) {
	if err := d.faults.call(operation{kind: kind, dir: d.path, name: name, changes: kind == "create"}); err != nil {
		return nil, err
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	return &faultFile{f, d, name}, nil
}

func (d *faultDir) Open(name string) (durable.File, error) {
	return d.file("open", name, func() (durable.File, error) { return d.Dir.Open(name) })
}

func (d *faultDir) Create(name string, perm fs.FileMode) (durable.File, error) {
	return d.file("create", name, func() (durable.File, error) { return d.Dir.Create(name, perm) })
}

func (d *faultDir) Append(name string, perm fs.FileMode) (durable.File, error) {
	return d.file("create", name, func() (durable.File, error) { return d.Dir.Append(name, perm) })
}

func (d *faultDir) OpenDir(name string) (durable.Dir, error) {
	if err := d.see("opendir", name); err != nil {
		return nil, err
	}
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultDir{sub, d.faults, d.at(name)}, nil
}

func (d *faultDir) Mkdir(name string, perm fs.FileMode) error {
	if err := d.do("mkdir", name); err != nil {
		return err
	}
	return d.Dir.Mkdir(name, perm)
}

func (d *faultDir) pair(kind, name string, to durable.Dir, newName string) (durable.Dir, error) {
	t := to.(*faultDir)
	return t.Dir, d.faults.call(operation{kind: kind, dir: d.path, name: name, to: t.at(newName), changes: true})
}

func (d *faultDir) Rename(name string, to durable.Dir, newName string) error {
	t, err := d.pair("rename", name, to, newName)
	if err != nil {
		return err
	}
	return d.Dir.Rename(name, t, newName)
}

func (d *faultDir) Replace(name, newName string) error {
	if _, err := d.pair("replace", name, d, newName); err != nil {
		return err
	}
	return d.Dir.Replace(name, newName)
}

func (d *faultDir) Link(name string, to durable.Dir, newName string) error {
	t, err := d.pair("link", name, to, newName)
	if err != nil {
		return err
	}
	return d.Dir.Link(name, t, newName)
}

func (d *faultDir) Remove(name string) error {
	if err := d.do("remove", name); err != nil {
		return err
	}
	return d.Dir.Remove(name)
}

func (d *faultDir) Stat(name string) (durable.Info, error) {
	if err := d.see("stat", name); err != nil {
		return durable.Info{}, err
	}
	return d.Dir.Stat(name)
}

func (d *faultDir) Self() (durable.Info, error) {
	in, err := d.Dir.Self()
	if err == nil && d.faults.self != nil {
		in = d.faults.self(in)
	}
	return in, err
}

func (d *faultDir) Sync() error {
	if err := d.do("syncdir", ""); err != nil {
		return err
	}
	return d.Dir.Sync()
}

// Scan reads the directory in chunks as small as the test wants them, and tells
// of each.
func (d *faultDir) Scan(fn func(durable.Entry) error) error {
	if err := d.see("scan", ""); err != nil {
		return err
	}
	if d.faults.chunk == 0 {
		return d.Dir.Scan(fn)
	}
	inner, _ := durable.Descriptor(d.Dir)
	fd, err := unix.Openat(inner, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, d.faults.chunk)
	for {
		if err := d.see("chunk", ""); err != nil {
			return err
		}
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			return err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			e := durable.Entry{Name: []byte(name), Type: fs.ModeIrregular}
			if in, err := d.Dir.Stat(name); err == nil {
				e.Ino, e.Type = in.Ino, in.Mode.Type()
			}
			if err := fn(e); err != nil {
				return err
			}
		}
	}
}

type faultFile struct {
	durable.File
	dir  *faultDir
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.dir.do("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.dir.do("fsync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

var errDead = errors.New("the process is dead")

// testClock is a clock that a test sets.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock { return &testClock{now: time.Now()} }

func (c *testClock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
