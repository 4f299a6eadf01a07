package textindex

import (
	"cmp"
	"io"
	"slices"
)

// MaxMessages is how many messages a segment may have: their numbers take two bytes.
const MaxMessages = 1<<16 - 1

// BuildSize is how many trigrams of messages a Builder should hold: 4 MiB, and twice as much
// again while it writes. It keeps this memory.
const BuildSize = 1 << 20

// A Builder gathers messages for a segment. It is for one goroutine.
type Builder struct {
	uids  []uint32
	full  []bool
	grams []gram // of one message after the other, in the order of Add
	ends  []int  // of each message's in grams

	entries, scratch []uint32 // of sorted
}

// Add adds a message that was not added before; the order is free. It reports that
// the segment should be written now.
func (b *Builder) Add(uid uint32, g Grams) (enough bool) {
	b.uids = append(b.uids, uid)
	b.full = append(b.full, g.full)
	if !g.full {
		b.grams = append(b.grams, g.list...)
	}
	b.ends = append(b.ends, len(b.grams))
	return len(b.grams) >= BuildSize || len(b.uids) == MaxMessages
}

// Len is the number of messages.
func (b *Builder) Len() int { return len(b.uids) }

// Reset empties the Builder.
func (b *Builder) Reset() {
	b.uids, b.full, b.grams, b.ends = b.uids[:0], b.full[:0], b.grams[:0], b.ends[:0]
}

// WriteTo writes the segment of a mailbox with this UIDVALIDITY, and empties the
// Builder.
func (b *Builder) WriteTo(w io.Writer, validity uint32) error {
	order := make([]int, len(b.uids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(b.uids[x], b.uids[y]) })
	h := head{validity: validity}
	for number, from := range order {
		h.uids = append(h.uids, b.uids[from])
		if b.full[from] {
			h.full = append(h.full, uint16(number))
		}
	}
	out := newWriter(w, len(h.uids))
	b.sorted(order, out.add)
	b.Reset()
	return out.finish(&h)
}

// A trigram is sorted by its upper bits first, which leaves few that have the same. An
// entry is the lower bits and a message's number.
const (
	lowerBits = 12
	uppers    = int(kinds) << (gramBits - lowerBits)
)

// sorted calls do for each trigram with the numbers of its messages, both ascending.
// order has which message gets which number.
func (b *Builder) sorted(order []int, do func(g gram, numbers []uint16)) {
	var at [uppers + 1]int // where the entries of each go
	for _, g := range b.grams {
		at[g>>lowerBits+1]++
	}
	for i := range uppers {
		at[i+1] += at[i]
	}
	b.entries = slices.Grow(b.entries[:0], len(b.grams))[:len(b.grams)]
	for number, from := range order {
		start := 0
		if from > 0 {
			start = b.ends[from-1]
		}
		for _, g := range b.grams[start:b.ends[from]] {
			upper := g >> lowerBits
			b.entries[at[upper]] = uint32(g&(1<<lowerBits-1))<<16 | uint32(number)
			at[upper]++
		}
	}
	start := 0
	var numbers []uint16
	for upper := range uppers {
		end := at[upper] // of this one, as its last entry is in place
		entries := b.byLower(b.entries[start:end])
		start = end
		for i := 0; i < len(entries); {
			lower := entries[i] >> 16
			numbers = numbers[:0]
			for ; i < len(entries) && entries[i]>>16 == lower; i++ {
				numbers = append(numbers, uint16(entries[i]))
			}
			do(gram(upper)<<lowerBits|gram(lower), numbers)
		}
	}
}

// byLower sorts entries by their lower bits; what has the same stays in order. The
// result is valid until the next call.
func (b *Builder) byLower(entries []uint32) []uint32 {
	const few = 256 // cost less to compare than to count
	if len(entries) < few {
		slices.Sort(entries)
		return entries
	}
	var at [1 << lowerBits]int
	for _, e := range entries {
		at[e>>16]++
	}
	next := 0
	for i, n := range at {
		at[i], next = next, next+n
	}
	b.scratch = slices.Grow(b.scratch[:0], len(entries))[:len(entries)]
	for _, e := range entries {
		b.scratch[at[e>>16]] = e
		at[e>>16]++
	}
	return b.scratch
}
