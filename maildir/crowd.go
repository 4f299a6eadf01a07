package maildir

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// crowd is the files that the first look at a folder finds: a million of them
// need 40 bytes each, and their names, in memory that holds no pointers and is
// given back when they are messages.
type crowd struct {
	people *memory // []newcomer
	texts  *memory // names, and the keys of lines in the uidlist
	sorted int     // so many of them are, by time and base
	hint   int     // where claim found the last one
}

func newCrowd() *crowd { return &crowd{people: &memory{}, texts: &memory{}, hint: -1} }

// newcomer is one file.
type newcomer struct {
	time    arrivalTime
	ino     uint64
	name    uint32 // where its name begins in texts
	keys    uint32 // where its keys begin in texts, + 1; 0: it has none
	uid     UID    // 0: it has none yet
	length  uint8  // of the name: NAME_MAX is 255
	base    uint8  // length of the base
	isNew   bool
	listed  bool // in the uidlist
	special bool // more is known of its base: a finding speaks for it
}

// maxCrowdTexts is what 32 bits can address.
const maxCrowdTexts = 1<<32 - 1<<16

func (c *crowd) all() []newcomer {
	n := len(c.people.b) / int(unsafe.Sizeof(newcomer{}))
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*newcomer)(unsafe.Pointer(&c.people.b[0])), n)
}

func (c *crowd) free() {
	c.people.free()
	c.texts.free()
}

// add adds a file; the name must be usable.
func (c *crowd) add(name []byte, isNew bool, ino uint64) error {
	at := len(c.texts.b)
	to, err := c.texts.extend(len(name))
	if err != nil || at > maxCrowdTexts || len(name) > 255 {
		return cmp.Or(err, error(ErrLimit))
	}
	copy(to, name)
	p, err := c.people.extend(int(unsafe.Sizeof(newcomer{})))
	if err != nil {
		return err
	}
	base := name
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		base = name[:i]
	}
	*(*newcomer)(unsafe.Pointer(&p[0])) = newcomer{
		time: nameTime(borrowed(base)), ino: ino, name: uint32(at), length: uint8(len(name)), base: uint8(len(base)), isNew: isNew,
	}
	return nil
}

// name is the name of n's file, valid until the next add.
func (c *crowd) name(n *newcomer) []byte { return c.texts.b[n.name:][:n.length:n.length] }

func (c *crowd) base(n *newcomer) []byte { return c.texts.b[n.name:][:n.base:n.base] }

func (c *crowd) compare(a, b *newcomer) int {
	return a.time.compare(b.time, borrowed(c.base(a)), borrowed(c.base(b)))
}

// sort orders the files as they get their UIDs: by time and base.
func (c *crowd) sort() {
	all := c.all()
	if c.sorted == len(all) {
		return
	}
	// Two halves at once, then merged: this is most of what a first look computes.
	order := func(a, b newcomer) int { return c.compare(&a, &b) }
	half := len(all) / 2
	var wg sync.WaitGroup
	wg.Go(func() { slices.SortFunc(all[:half], order) })
	slices.SortFunc(all[half:], order)
	wg.Wait()
	if half > 0 && c.compare(&all[half-1], &all[half]) > 0 {
		c.mergeHalves(half)
	}
	c.sorted = len(all)
}

func (c *crowd) mergeHalves(half int) {
	merged := &memory{}
	if _, err := merged.extend(len(c.people.b)); err != nil {
		slices.SortFunc(c.all(), func(a, b newcomer) int { return c.compare(&a, &b) })
		return
	}
	all := c.all()
	out := (&crowd{people: merged}).all()
	i, j := 0, half
	for k := range out {
		if j == len(all) || i < half && c.compare(&all[i], &all[j]) <= 0 {
			out[k] = all[i]
			i++
		} else {
			out[k] = all[j]
			j++
		}
	}
	c.people.free()
	c.people = merged
}

// find returns where the first file with the base is; -1 when none has it.
func (c *crowd) find(base string) int {
	t := nameTime(base)
	i, found := slices.BinarySearchFunc(c.all(), base, func(n newcomer, base string) int {
		return n.time.compare(t, borrowed(c.base(&n)), base)
	})
	if !found {
		return -1
	}
	return i
}

// findNext is find for bases that come in the order of the files, mostly, as those
// of the uidlist do.
func (c *crowd) findNext(base string) int {
	all := c.all()
	if next := c.hint + 1; next < len(all) && borrowed(c.base(&all[next])) == base {
		c.hint = next
	} else if i := c.find(base); i >= 0 {
		c.hint = i
	} else {
		return -1
	}
	return c.hint
}

// claim gives the file of a uidlist's line its UID; false: there is no such file.
func (c *crowd) claim(r uidRecord) (bool, error) {
	i := c.findNext(r.base)
	if i < 0 {
		return false, nil
	}
	return true, c.list(i, r.uid, r.keys)
}

// list notes what the uidlist says of file i.
func (c *crowd) list(i int, uid UID, keys string) error {
	at := uint32(0)
	if keys != "" && len(keys) <= maxUIDListLine {
		at = uint32(len(c.texts.b)) + 1
		to, err := c.texts.extend(2 + len(keys))
		if err != nil || len(c.texts.b) > maxCrowdTexts {
			return cmp.Or(err, error(ErrLimit))
		}
		binary.LittleEndian.PutUint16(to, uint16(len(keys)))
		copy(to[2:], keys)
	}
	n := &c.all()[i]
	n.uid, n.keys, n.listed = uid, at, true
	return nil
}

func (c *crowd) keys(n *newcomer) string {
	if n.keys == 0 {
		return ""
	}
	b := c.texts.b[n.keys-1:]
	return string(b[2 : 2+binary.LittleEndian.Uint16(b)])
}

// disown forgets all that the uidlist said.
func (c *crowd) disown() {
	all := c.all()
	for i := range all {
		all[i].uid, all[i].keys, all[i].listed = 0, 0, false
	}
}

// takeOut returns the files of a base and leaves them out of the crowd. All are
// sorted.
func (c *crowd) takeOut(base string) (files []sighting) {
	all := c.all()
	for i := c.find(base); i >= 0 && i < len(all) && borrowed(c.base(&all[i])) == base; i++ {
		if n := &all[i]; !n.special {
			files = append(files, sighting{n.isNew, strings.Clone(borrowed(c.name(n))), n.ino})
			n.special = true
		}
	}
	return files
}

// twins are the bases that several files have.
func (c *crowd) twins() (bases []string) {
	all := c.all()
	for i := 1; i < len(all); i++ {
		if all[i-1].time == all[i].time && bytes.Equal(c.base(&all[i-1]), c.base(&all[i])) {
			bases = append(bases, strings.Clone(borrowed(c.base(&all[i]))))
		}
	}
	return slices.Compact(bases)
}

// leave takes those out of the list that findings speak for.
func (c *crowd) leave() {
	all := c.all()
	kept := slices.DeleteFunc(all, func(n newcomer) bool { return n.special })
	c.people.b = c.people.b[:len(kept)*int(unsafe.Sizeof(newcomer{}))]
	c.sorted = len(kept)
}

// byUID orders the files by their UIDs.
func (c *crowd) byUID() {
	order := func(a, b newcomer) int { return cmp.Compare(a.uid, b.uid) }
	if all := c.all(); !slices.IsSortedFunc(all, order) {
		slices.SortFunc(all, order)
	}
}
