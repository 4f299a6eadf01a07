package maildir

import (
	"slices"
	"sync"
)

// Changes is the difference of two states. UIDs ascend. Added may be shared
// memory: it must not be written to.
type Changes struct {
	Vanished []UID // in the old, not in the new
	Changed  []UID // in both; flags or keywords may differ
	Added    []UID // in the new only
}

// UIDRange is First to Last, both included.
type UIDRange struct{ First, Last UID }

// change is what one state changed in the one before.
type change struct {
	generation    uint64
	changed, gone []UID
}

const (
	maxChanges    = 4096    // steps that are remembered
	maxChangeUIDs = 200_000 // UIDs in them
)

// changeHistory remembers the last steps, so that a difference costs as much as
// was changed and not as the mailbox is large.
type changeHistory struct {
	mu    sync.Mutex
	steps []change
	uids  int
}

func (h *changeHistory) add(d *draft) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := change{d.generation, d.changed, d.gone}
	h.steps = append(h.steps, c)
	h.uids += len(c.changed) + len(c.gone)
	for len(h.steps) > 1 && (len(h.steps) > maxChanges || h.uids > maxChangeUIDs) {
		h.uids -= len(h.steps[0].changed) + len(h.steps[0].gone)
		h.steps[0] = change{}
		h.steps = h.steps[1:]
	}
}

func (h *changeHistory) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps, h.uids = nil, 0
}

// between returns what the steps after generation from, up to to, changed; ok is
// false when they are not all remembered.
func (h *changeHistory) between(from, to uint64) (changed, gone []UID, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, found := slices.BinarySearchFunc(h.steps, from+1, func(c change, g uint64) int {
		return cmpUint(c.generation, g)
	})
	if !found {
		return nil, nil, false
	}
	for _, c := range h.steps[first:] {
		if c.generation > to {
			break
		}
		changed = append(changed, c.changed...)
		gone = append(gone, c.gone...)
	}
	return changed, gone, true
}

func cmpUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Changes returns what to has that from has not. Both are states of m; from is
// the older one.
func (m *Mailbox) Changes(from, to *State) Changes {
	if from == to || from.generation >= to.generation {
		return Changes{}
	}
	if from.validity != to.validity {
		return Changes{Vanished: from.UIDs(), Added: to.UIDs()}
	}
	c := Changes{Added: to.UIDs()[to.Lower(from.next):]}
	changed, gone, ok := m.history.between(from.generation, to.generation)
	if !ok {
		c.Vanished, c.Changed = compareStates(from, to)
		return c
	}
	slices.Sort(gone)
	for _, uid := range gone {
		if uid < from.next {
			c.Vanished = append(c.Vanished, uid)
		}
	}
	slices.Sort(changed)
	for _, uid := range slices.Compact(changed) {
		if _, isGone := slices.BinarySearch(gone, uid); !isGone && uid < from.next {
			c.Changed = append(c.Changed, uid)
		}
	}
	return c
}

// compareStates finds the differences by looking at every row.
func compareStates(from, to *State) (vanished, changed []UID) {
	j := 0
	for i, uid := range from.uids {
		for j < len(to.uids) && to.uids[j] < uid {
			j++
		}
		if j == len(to.uids) || to.uids[j] != uid {
			vanished = append(vanished, uid)
			continue
		}
		if from.modseqAt(i) != to.modseqAt(j) {
			changed = append(changed, uid)
		}
	}
	return vanished, changed
}
