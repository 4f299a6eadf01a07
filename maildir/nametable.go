package maildir

import "hash/maphash"

// nameTable finds the slot of a base: an open-addressed table of slot numbers, 4
// to 8 bytes a message. Slots of messages that are gone stay in it until it
// grows; the caller checks that what it finds is alive.
type nameTable struct {
	slots []slot // slot+1; 0 is empty
	used  int
}

// nameSeed is the process's own, so that nobody can choose names that collide.
var nameSeed = maphash.MakeSeed()

func hashName(base []byte) uint64 { return maphash.Bytes(nameSeed, base) }

// build makes the table for all rows of s.
func (t *nameTable) build(s *State) {
	size := 64
	for size < 2*s.Len() {
		size *= 2
	}
	t.slots, t.used = make([]slot, size), 0
	for i := range s.uids {
		sl := s.slot(i)
		base, _ := s.blocks[sl.block()].name(sl.row())
		t.put(sl, hashName(base))
	}
}

func (t *nameTable) put(sl slot, hash uint64) {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if t.slots[i] == 0 {
			t.slots[i] = sl + 1
			t.used++
			return
		}
	}
}

// add makes the base of a new row known; s shows it already.
func (t *nameTable) add(s *State, sl slot, base string) {
	if t.slots == nil {
		return // built from s when it is needed
	}
	if 4*(t.used+1) > 3*len(t.slots) {
		t.build(s)
		return
	}
	t.put(sl, maphash.String(nameSeed, base))
}

// find returns the live row of s that has the base.
func (t *nameTable) find(s *State, base []byte) (slot, bool) {
	if t.slots == nil {
		t.build(s)
	}
	mask := uint64(len(t.slots) - 1)
	for i := hashName(base) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		sl := t.slots[i] - 1
		if sl.block() >= len(s.blocks) {
			continue // of a draft that was given up
		}
		b := s.blocks[sl.block()]
		if sl.row() >= b.rows {
			continue
		}
		if known, _ := b.name(sl.row()); string(known) == string(base) {
			if _, live := s.rowOf(sl); live {
				return sl, true
			}
		}
	}
	return 0, false
}
