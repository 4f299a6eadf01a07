// Package crashfs is a file system in memory that forgets, at a power cut, whatever
// was not fsynced: the contents of a file and the entries of a directory,
// separately. It promises no more than POSIX and the file systems in use do:
//
//   - contents survive as they were at the file's last Sync; later writes survive
//     in part, or not, or whole;
//   - entries survive as they were at the directory's last Sync; each later change
//     of a name may or may not survive, in no order between directories;
//   - a rename within a directory is one change. Between directories it is two, of
//     which each is durable when its own directory is synced: both names may survive
//     when only the target was, as on btrfs, and neither when only the source was.
//     While neither was synced no file is lost by it: at worst both names survive.
//
// It is for tests.
package crashfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"buzon/internal/durable"
)

// ErrCut is the answer to every operation after the power was cut.
const ErrCut = syscall.EIO

// FS is a file system. Use New.
type FS struct {
	mu    sync.Mutex
	root  *inode
	clock int64 // ns; every operation has its own moment
	inos  uint64

	ops  int // operations so far that change something or make it durable
	cut  int // the operation before which the power fails; -1: never
	dead bool

	pending []*change // in the order in which they were made
	files   []*inode  // with contents that were not synced

	// Fail, when set, is asked before each operation and may answer its error.
	Fail func(op, name string) error
	// Trace, when set, is told each operation that counts.
	Trace func(op, name string)
	// Lie, when set, is asked at each fsync whether only to say that it is done. The
	// name of a directory ends in "/".
	Lie func(name string) bool
}

type inode struct {
	ino     uint64
	mode    fs.FileMode
	nlink   uint32
	data    []byte
	synced  []byte
	dirty   bool
	ends    []int             // lengths after each write since the last sync
	patches []patch           // what was overwritten since then
	entries map[string]*inode // of a directory
	kept    map[string]*inode // entries that are durable

	mtime, ctime, btime int64
}

// patch is what was written over a part of a file.
type patch struct {
	off  int64
	data []byte
}

// change is one change of names that is not durable yet: of one name, or of both
// names of a rename.
type change struct {
	parts []part
}

type part struct {
	dir    *inode
	name   string
	target *inode // nil: the name is gone
	done   bool   // durable
}

// New returns an empty file system whose clock begins at start.
func New(start time.Time) *FS {
	f := &FS{clock: start.UnixNano(), cut: -1}
	f.root = f.newInode(fs.ModeDir | 0o700)
	f.root.nlink = 2
	return f
}

// Root returns the root directory.
func (f *FS) Root() durable.Dir { return &dir{f, f.root, ""} }

// Now is the file system's clock; it goes on with every call.
func (f *FS) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Unix(0, f.tick())
}

// Advance sets the clock ahead.
func (f *FS) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock += int64(d)
}

func (f *FS) tick() int64 {
	f.clock += 1000
	return f.clock
}

// Ops is the number of operations so far.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// CutAfter has the power fail after n more operations.
func (f *FS) CutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = f.ops + n
}

// Dead reports that the power failed.
func (f *FS) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Mode says what a power cut leaves of what was not synced.
type Mode int

// Nothing and Everything are the extremes. Ordered keeps a random beginning of all
// changes, as a journal does, and Late a random end of them; Apart keeps those of
// some directories and loses those of the others; Random keeps any.
const (
	Nothing Mode = iota
	Everything
	Ordered
	Random
	Late
	Apart
)

// Modes are all of them.
var Modes = []Mode{Nothing, Everything, Ordered, Random, Late, Apart}

// Restart returns the file system as it is found after a power cut now. f itself
// must not be used any more.
func (f *FS) Restart(mode Mode, rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	f.loseNames(mode, rng)
	for _, x := range f.files {
		x.loseData(mode, rng)
	}
	n := &FS{clock: f.clock + int64(10*time.Second), cut: -1, inos: f.inos, root: f.root, Lie: f.Lie}
	n.settle(n.root, map[*inode]bool{})
	return n
}

func (f *FS) loseNames(mode Mode, rng *rand.Rand) {
	at := 0 // where the changes that survive end, or begin
	if mode == Ordered || mode == Late {
		at = rng.IntN(len(f.pending) + 1)
	}
	lost := map[*inode]bool{}
	apart := func(d *inode) bool {
		if _, known := lost[d]; !known {
			lost[d] = rng.IntN(2) == 0
		}
		return lost[d]
	}
	for i, c := range f.pending {
		whole := true
		switch mode {
		case Nothing:
			whole = false
		case Ordered:
			whole = i < at
		case Late:
			whole = i >= at
		case Apart:
			whole = false
			f.keepApart(c, apart)
		case Random:
			whole = rng.IntN(2) == 0
			if !whole && c.doneParts() == 0 && c.crosses() && rng.IntN(2) == 0 {
				c.parts[1].keep() // the new name alone
			}
		}
		for k := range c.parts {
			if whole {
				c.parts[k].keep()
			}
		}
	}
}

// keepApart keeps what a change made in directories that are not lost.
func (f *FS) keepApart(c *change, lost func(*inode) bool) {
	last := len(c.parts) - 1
	if c.doneParts() == 0 && c.crosses() && lost(c.parts[last].dir) {
		return // the old name stays: no file is lost while nothing was synced
	}
	for k := range c.parts {
		if !lost(c.parts[k].dir) {
			c.parts[k].keep()
		}
	}
}

// crosses reports a rename from one directory to another; parts[0] is the old name.
func (c *change) crosses() bool { return len(c.parts) == 2 && c.parts[0].dir != c.parts[1].dir }

func (c *change) doneParts() (n int) {
	for _, p := range c.parts {
		if p.done {
			n++
		}
	}
	return n
}

func (p *part) keep() {
	if p.done {
		return
	}
	p.done = true
	if p.target == nil {
		delete(p.dir.kept, p.name)
	} else {
		p.dir.kept[p.name] = p.target
	}
}

func (x *inode) loseData(mode Mode, rng *rand.Rand) {
	if !x.dirty {
		return
	}
	switch mode {
	case Everything:
		return
	case Nothing:
		x.data = x.synced
	default:
		if len(x.patches) > 0 && len(x.ends) == 0 {
			x.data = x.patched(mode, rng)
			return
		}
		// A part of what was written: from the last synced length on.
		if len(x.data) >= len(x.synced) && string(x.data[:len(x.synced)]) == string(x.synced) {
			x.data = x.data[:x.tornAt(rng)]
		} else if rng.IntN(2) == 0 {
			x.data = x.synced
		}
	}
}

// sector is what a disk writes whole or not at all.
const sector = 512

// tornAt returns where unsynced writes end after a cut. A write of a sector or
// less survives whole or not at all.
func (x *inode) tornAt(rng *rand.Rand) int {
	from := len(x.synced)
	for _, end := range x.ends {
		if rng.IntN(len(x.ends)+1) == 0 {
			if end-from > sector {
				return from + rng.IntN(end-from)
			}
			return from
		}
		from = end
	}
	return from
}

// patched returns what a cut leaves of a file that was overwritten in place: in
// order up to one moment, or in none, and each sector for itself.
func (x *inode) patched(mode Mode, rng *rand.Rand) []byte {
	data := slices.Clone(x.synced)
	keep := rng.IntN(len(x.patches) + 1)
	for i, p := range x.patches {
		whole := i < keep
		if mode != Ordered {
			whole = rng.IntN(2) == 0
		}
		torn := rng.IntN(4) == 0 && (whole || i == keep)
		for from := 0; from < len(p.data); {
			at := int(p.off) + from
			to := min(len(p.data), from+sector-at%sector)
			if torn && rng.IntN(2) == 0 || whole && !torn {
				copy(data[at:], p.data[from:to])
			}
			from = to
		}
	}
	return data
}

// clean notes that the contents are durable.
func (x *inode) clean() {
	x.synced, x.dirty, x.ends, x.patches = slices.Clone(x.data), false, nil, nil
}

// settle makes what is durable what is there, and counts links again.
func (f *FS) settle(x *inode, seen map[*inode]bool) {
	if x.entries == nil {
		x.clean()
		return
	}
	if seen[x] {
		return
	}
	seen[x] = true
	x.entries = maps.Clone(x.kept)
	x.nlink = 2
	for _, c := range x.entries {
		if c.entries == nil && !seen[c] {
			seen[c], c.nlink = true, 0
		}
		if c.entries == nil {
			c.nlink++
		}
		f.settle(c, seen)
	}
}

func (f *FS) newInode(mode fs.FileMode) *inode {
	f.inos++
	now := f.tick()
	x := &inode{ino: f.inos, mode: mode, nlink: 1, mtime: now, ctime: now, btime: now}
	if mode.IsDir() {
		x.entries, x.kept = map[string]*inode{}, map[string]*inode{}
	}
	return x
}

// begin is called, with the lock held, before an operation. counts: it changes
// something, so that a cut before it differs from one after it.
func (f *FS) begin(op, name string, counts bool) error {
	if f.dead {
		return pathError(op, name, ErrCut)
	}
	if f.Fail != nil {
		if err := f.Fail(op, name); err != nil {
			return pathError(op, name, err)
		}
	}
	if !counts {
		return nil
	}
	if f.ops == f.cut {
		f.dead = true
		return pathError(op, name, ErrCut)
	}
	f.ops++
	if f.Trace != nil {
		f.Trace(op, name)
	}
	return nil
}

func (f *FS) lies(name string) bool { return f.Lie != nil && f.Lie(name) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// change makes a change of names visible, and remembers it until it is durable.
func (f *FS) change(parts ...part) {
	now := f.tick()
	for _, p := range parts {
		if p.target == nil {
			delete(p.dir.entries, p.name)
		} else {
			p.dir.entries[p.name] = p.target
		}
		p.dir.mtime, p.dir.ctime = now, now
	}
	f.pending = append(f.pending, &change{parts})
}

// syncDir makes the names of a directory durable, and nothing elsewhere.
func (f *FS) syncDir(d *inode) {
	left := f.pending[:0]
	for _, c := range f.pending {
		for i := range c.parts {
			if c.parts[i].dir == d {
				c.parts[i].keep()
			}
		}
		if c.doneParts() < len(c.parts) {
			left = append(left, c)
		}
	}
	f.pending = left
}

// Tree lists all files by path, for a test's messages.
func (f *FS) Tree() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	var walk func(path string, x *inode)
	walk = func(path string, x *inode) {
		for name, c := range x.entries {
			if c.entries != nil {
				walk(path+"/"+name, c)
			} else {
				out = append(out, path+"/"+name)
			}
		}
	}
	walk("", f.root)
	slices.Sort(out)
	return out
}

var errNotDir = syscall.ENOTDIR

func linkError(op, a, b string, err error) error {
	return &os.LinkError{Op: op, Old: a, New: b, Err: err}
}
