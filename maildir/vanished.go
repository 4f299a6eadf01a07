package maildir

import (
	"slices"
	"sync"
)

// vanished remembers which UIDs are gone since when, for clients that come back
// (RFC 7162, QRESYNC). What it no longer knows lies below its floor.
type vanished struct {
	mu    sync.Mutex
	floor ModSeq
	gone  []vanishedRange // modseqs ascend
}

type vanishedRange struct {
	UIDRange
	modseq ModSeq
}

// maxVanished bounds the history; the oldest half goes when it is reached.
const maxVanished = 100_000

func (v *vanished) add(uids []UID, modseq ModSeq) {
	if len(uids) == 0 {
		return
	}
	uids = slices.Clone(uids)
	slices.Sort(uids)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, uid := range uids {
		if n := len(v.gone); n > 0 && v.gone[n-1].modseq == modseq && v.gone[n-1].Last+1 == uid {
			v.gone[n-1].Last = uid
			continue
		}
		v.gone = append(v.gone, vanishedRange{UIDRange{uid, uid}, modseq})
	}
	if len(v.gone) > maxVanished {
		half := len(v.gone) / 2
		v.floor = max(v.floor, v.gone[half-1].modseq)
		v.gone = slices.Clone(v.gone[half:])
	}
}

func (v *vanished) reset(floor ModSeq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.floor, v.gone = floor, nil
}

// VanishedSince returns the UIDs that were expunged after modseq, ascending.
// complete is false when the history does not reach back so far: then every UID
// below UIDNEXT that the mailbox has not is the answer.
func (m *Mailbox) VanishedSince(modseq ModSeq) (ranges []UIDRange, complete bool) {
	v := &m.vanished
	v.mu.Lock()
	defer v.mu.Unlock()
	if modseq < v.floor {
		return nil, false
	}
	for i := len(v.gone) - 1; i >= 0 && v.gone[i].modseq > modseq; i-- {
		ranges = append(ranges, v.gone[i].UIDRange)
	}
	slices.SortFunc(ranges, func(a, b UIDRange) int { return cmpUint(uint64(a.First), uint64(b.First)) })
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && r.First <= merged[n-1].Last+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged, true
}

func (e *encoder) vanished(v *vanished) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e.uint(uint64(v.floor))
	e.uint(uint64(len(v.gone)))
	for _, g := range v.gone {
		e.uint(uint64(g.First))
		e.uint(uint64(g.Last - g.First))
		e.uint(uint64(g.modseq))
	}
}

func (d *decoder) vanished(v *vanished) {
	v.floor = ModSeq(d.uint())
	n := d.count()
	v.gone = make([]vanishedRange, 0, n)
	for range n {
		first := d.uid()
		last := uint64(first) + d.uint()
		if last > uint64(maxUID) {
			d.fail()
		}
		v.gone = append(v.gone, vanishedRange{UIDRange{first, UID(last)}, ModSeq(d.uint())})
	}
}
