package wire

import (
	"cmp"
	"slices"
	"sort"
	"strconv"
)

// A Range is a range of UIDs or sequence numbers with both ends, First ≤ Last. In a Set that came
// from a client 0 stands for "*".
type Range struct{ First, Last uint32 }

// A Set is a sequence-set as the client wrote it (RFC 9051 section 9). A number costs nothing until
// it meets a message: sets are kept as ranges, and are never spelt out.
type Set struct {
	ranges []Range
	// Saved: the set is "$", the saved result of a SEARCH (RFC 9051 6.4.4.1).
	Saved bool
}

// Set reads a sequence-set.
func (d *Decoder) Set() Set {
	if d.Is('$') {
		return Set{Saved: true}
	}
	var s Set
	for {
		r := Range{First: d.setNumber()}
		r.Last = r.First
		if d.Is(':') {
			r.Last = d.setNumber()
		}
		if d.err != nil {
			return Set{}
		}
		s.ranges = append(s.ranges, r)
		if !d.Is(',') {
			return s
		}
	}
}

func (d *Decoder) setNumber() uint32 {
	if d.Is('*') {
		return 0
	}
	return d.NZNumber()
}

// Resolve puts top in the place of "*" and returns the ranges in order, disjoint and not adjacent.
// "5:*" is "top:5" when top is lower (RFC 9051: seq-range).
func (s Set) Resolve(top uint32) Ranges {
	rs := make(Ranges, 0, len(s.ranges))
	for _, r := range s.ranges {
		if r.First == 0 {
			r.First = top
		}
		if r.Last == 0 {
			r.Last = top
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		rs = append(rs, r)
	}
	return rs.Normal()
}

// List returns the numbers in the order in which the client wrote them, without "*". It refuses (ok
// is false) sets of more than limit numbers. It serves the few places where RFC 7162 pairs two
// sets.
func (s Set) List(limit int) (nums []uint32, ok bool) {
	for _, r := range s.ranges {
		if r.First == 0 || r.Last == 0 {
			return nil, false
		}
		lo, hi := min(r.First, r.Last), max(r.First, r.Last)
		if uint64(hi-lo) >= uint64(limit-len(nums)) {
			return nil, false
		}
		for n := lo; ; n++ {
			nums = append(nums, n)
			if n == hi {
				break
			}
		}
	}
	return nums, true
}

// Ranges is a set of numbers as ranges in ascending order, disjoint and not adjacent.
type Ranges []Range

// Normal sorts and merges in place, and returns what is left.
func (rs Ranges) Normal() Ranges {
	if len(rs) < 2 {
		return rs
	}
	if !slices.IsSortedFunc(rs, compareFirst) {
		slices.SortFunc(rs, compareFirst)
	}
	out := rs[:1]
	for _, r := range rs[1:] {
		last := &out[len(out)-1]
		if r.First <= last.Last || r.First-last.Last == 1 {
			last.Last = max(last.Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func compareFirst(a, b Range) int { return cmp.Compare(a.First, b.First) }

// Add appends n, which must be greater than every number in the set.
func (rs *Ranges) Add(n uint32) {
	if k := len(*rs); k > 0 && (*rs)[k-1].Last+1 == n {
		(*rs)[k-1].Last = n
		return
	}
	*rs = append(*rs, Range{n, n})
}

// Contains says whether n is in the set.
func (rs Ranges) Contains(n uint32) bool {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].Last >= n })
	return i < len(rs) && rs[i].First <= n
}

// Max is the greatest number of the set, 0 for an empty one.
func (rs Ranges) Max() uint32 {
	if len(rs) == 0 {
		return 0
	}
	return rs[len(rs)-1].Last
}

// Append writes the set as the grammar wants it. The empty set has no form of its own: nothing is
// written.
func (rs Ranges) Append(b []byte) []byte {
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return b
}

func (rs Ranges) String() string { return string(rs.Append(nil)) }

// AppendList writes numbers in the order given, as a set in which runs are ranges: RFC 4315 3 pairs
// the sets of COPYUID by their order.
func AppendList[N ~uint32](b []byte, nums []N) []byte {
	for i := 0; i < len(nums); {
		j := i + 1
		for j < len(nums) && nums[j] == nums[j-1]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(nums[i]), 10)
		if j-i > 1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(nums[j-1]), 10)
		}
		i = j
	}
	return b
}

// Intersect returns the numbers that are in both sets.
func (rs Ranges) Intersect(other Ranges) Ranges {
	var out Ranges
	for i, j := 0, 0; i < len(rs) && j < len(other); {
		a, b := rs[i], other[j]
		if first, last := max(a.First, b.First), min(a.Last, b.Last); first <= last {
			out = append(out, Range{first, last})
		}
		if a.Last < b.Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// Without returns the numbers of rs that are not in nums, which ascend.
func Without[N ~uint32](rs Ranges, nums []N) Ranges {
	var out Ranges
	i := 0
	for _, r := range rs {
		next := uint64(r.First)
		for i < len(nums) && uint32(nums[i]) < r.First {
			i++
		}
		for ; i < len(nums) && uint32(nums[i]) <= r.Last; i++ {
			if n := uint64(nums[i]); n > next {
				out = append(out, Range{uint32(next), uint32(n - 1)})
			}
			next = uint64(nums[i]) + 1
		}
		if next <= uint64(r.Last) {
			out = append(out, Range{uint32(next), r.Last})
		}
	}
	return out
}
