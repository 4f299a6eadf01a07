package textindex

import (
	"io"
	"slices"
	"sort"
)

// MaxMessages is how many messages a segment may have: their numbers take two bytes.
const MaxMessages = 1<<16 - 1

// BuildSize is how many trigrams of messages a Builder should hold: 8 MiB, and as much
// again while it writes.
const BuildSize = 1 << 20

// A Builder gathers messages for a segment. It is for one goroutine.
type Builder struct {
	uids  []uint32
	full  []bool
	pairs []uint64 // gram, and number in the order of Add
}

// Add adds a message that was not added before; the order is free. It reports that
// the segment should be written now.
func (b *Builder) Add(uid uint32, g Grams) (enough bool) {
	number := uint64(len(b.uids))
	b.uids = append(b.uids, uid)
	b.full = append(b.full, g.full)
	if !g.full {
		for _, x := range g.list {
			b.pairs = append(b.pairs, uint64(x)<<16|number)
		}
	}
	return len(b.pairs) >= BuildSize || len(b.uids) == MaxMessages
}

// Len is the number of messages.
func (b *Builder) Len() int { return len(b.uids) }

// WriteTo writes the segment of a mailbox with this UIDVALIDITY, and empties the
// Builder.
func (b *Builder) WriteTo(w io.Writer, validity uint32) error {
	order := make([]int, len(b.uids))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool { return b.uids[order[i]] < b.uids[order[j]] })
	number := make([]uint16, len(order)) // in the segment
	h := head{validity: validity}
	for to, from := range order {
		number[from] = uint16(to)
		h.uids = append(h.uids, b.uids[from])
		if b.full[from] {
			h.full = append(h.full, uint16(to))
		}
	}
	pairs := sortPairs(b.pairs)
	out := newWriter(w, len(h.uids))
	var numbers []uint16
	for i := 0; i < len(pairs); {
		g := pairs[i] >> 16
		numbers = numbers[:0]
		for ; i < len(pairs) && pairs[i]>>16 == g; i++ {
			numbers = append(numbers, number[uint16(pairs[i])])
		}
		if !slices.IsSorted(numbers) {
			slices.Sort(numbers)
		}
		out.add(gram(g), numbers)
	}
	*b = Builder{uids: b.uids[:0], full: b.full[:0], pairs: b.pairs[:0]}
	return out.finish(&h)
}

// sortPairs sorts by gram; what has the same stays in order.
func sortPairs(pairs []uint64) []uint64 {
	const digit = 13
	other := make([]uint64, len(pairs))
	for _, shift := range []int{16, 16 + digit} {
		var count [1 << digit]int
		for _, p := range pairs {
			count[p>>shift&(1<<digit-1)]++
		}
		at := 0
		for i, n := range count {
			count[i], at = at, at+n
		}
		for _, p := range pairs {
			d := p >> shift & (1<<digit - 1)
			other[count[d]] = p
			count[d]++
		}
		pairs, other = other, pairs
	}
	return pairs
}
