package maildir

import "hash/maphash"

// arrivalTable is files without a message, found by their base. A first look at a
// folder finds a million of them: they lie in slabs, under a table of numbers.
type arrivalTable struct {
	all   []*arrival
	slab  []arrival
	table []uint32 // number in all + 1; 0 is empty
}

const arrivalSlab = 1024

// add adds a file whose base is not known yet.
func (x *arrivalTable) add(file sighting, base string) {
	if len(x.slab) == 0 {
		x.slab = make([]arrival, arrivalSlab)
	}
	a := &x.slab[0]
	x.slab = x.slab[1:]
	a.file, a.base = file, base
	x.all = append(x.all, a)
	if 2*len(x.all) > len(x.table) {
		x.grow()
		return
	}
	x.put(len(x.all) - 1)
}

func (x *arrivalTable) grow() {
	x.table = make([]uint32, max(64, 4*len(x.table)))
	for i := range x.all {
		x.put(i)
	}
}

func (x *arrivalTable) put(number int) {
	mask := uint64(len(x.table) - 1)
	for i := maphash.String(nameSeed, x.all[number].base) & mask; ; i = (i + 1) & mask {
		if x.table[i] == 0 {
			x.table[i] = uint32(number) + 1
			return
		}
	}
}

// find returns the file with a base, or nil.
func (x *arrivalTable) find(base []byte) *arrival {
	if len(x.table) == 0 {
		return nil
	}
	mask := uint64(len(x.table) - 1)
	for i := hashName(base) & mask; x.table[i] != 0; i = (i + 1) & mask {
		if a := x.all[x.table[i]-1]; a.base == string(base) {
			return a
		}
	}
	return nil
}

// indexArrivals makes the files of a list findable.
func indexArrivals(list []*arrival) *arrivalTable {
	size := 64
	for size < 2*len(list) {
		size *= 2
	}
	x := &arrivalTable{all: list, table: make([]uint32, size)}
	for i := range list {
		x.put(i)
	}
	return x
}

// taken marks a file that became a finding: more is known of its base.
func (a *arrival) taken() bool { return a.file.name == "" }
