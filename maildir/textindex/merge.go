package textindex

import (
	"fmt"
	"io"
	"slices"
)

// Merge writes one segment that has what several have of the messages that are still
// wanted, at most MaxMessages. A message that is in several counts once.
func Merge(w io.Writer, segments []*Segment, wanted func(uid uint32) bool) error {
	h, sources := mergeHeads(segments, wanted)
	if len(h.uids) > MaxMessages {
		return fmt.Errorf("%d messages are too many for one segment", len(h.uids))
	}
	out := newWriter(w, len(h.uids))
	var numbers []uint16
	for {
		g, any := gram(0), false
		for _, m := range sources {
			if m.have && (!any || m.entry.gram < g) {
				g, any = m.entry.gram, true
			}
		}
		if !any {
			break
		}
		numbers = numbers[:0]
		for _, m := range sources {
			for m.have && m.entry.gram == g {
				numbers = m.take(numbers)
			}
		}
		slices.Sort(numbers)
		if numbers = slices.Compact(numbers); len(numbers) > 0 {
			out.add(g, numbers)
		}
	}
	for _, m := range sources {
		if m.err != nil {
			return m.err
		}
	}
	return out.finish(&h)
}

// mergeHeads makes the head of the whole, and a source for each segment.
func mergeHeads(segments []*Segment, wanted func(uid uint32) bool) (h head, sources []*source) {
	from := map[uint32]*source{}
	for _, s := range segments {
		h.validity = s.validity
		m := &source{s: s, to: make([]int, len(s.uids))}
		sources = append(sources, m)
		for _, uid := range s.uids {
			if from[uid] == nil && wanted(uid) {
				from[uid] = m
				h.uids = append(h.uids, uid)
			}
		}
	}
	slices.Sort(h.uids)
	for _, m := range sources {
		for i, uid := range m.s.uids {
			m.to[i] = -1
			if from[uid] == m {
				m.to[i], _ = slices.BinarySearch(h.uids, uid)
			}
		}
		for _, x := range m.s.full {
			if to := m.to[x]; to >= 0 {
				h.full = append(h.full, uint16(to))
			}
		}
		m.page = -1
		m.advance()
	}
	slices.Sort(h.full)
	return h, sources
}

// source reads the entries of a segment in order.
type source struct {
	s     *Segment
	to    []int // number in the merged segment of each message; -1: it is not wanted
	page  int
	data  []byte
	r     pageReader
	entry entry
	have  bool
	old   []uint16
	err   error
}

func (m *source) advance() {
	for m.err == nil {
		if m.entry, m.have = m.r.next(); m.have {
			return
		}
		if m.r.bad {
			m.err = fmt.Errorf("%w: page", ErrDamaged)
			return
		}
		if m.page++; m.page == len(m.s.pages) {
			return
		}
		if m.data, m.err = m.s.readPage(m.page, m.data); m.err == nil {
			m.r = m.s.entries(m.page, m.data)
		}
	}
}

// take appends the messages of the entry, by their new numbers, and goes on to the
// next.
func (m *source) take(numbers []uint16) []uint16 {
	set := newBits(len(m.s.uids))
	if !readPosting(set, m.entry.posting, m.entry.form, len(m.s.uids)) {
		m.err, m.have = fmt.Errorf("%w: posting", ErrDamaged), false
		return numbers
	}
	m.old = set.numbers(m.old[:0])
	for _, x := range m.old {
		if to := m.to[x]; to >= 0 {
			numbers = append(numbers, uint16(to))
		}
	}
	m.advance()
	return numbers
}
