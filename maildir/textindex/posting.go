package textindex

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A posting is the ascending numbers of the messages that have a trigram, in one of
// three forms, whichever is the shortest.
type form uint8

const (
	listed   form = iota // distances to the number before, less one
	bitmap               // a bit for each message; zeros at the end left out
	unlisted             // as listed, but those that have it not
	forms
)

// Bits is a set of messages of a segment, by number.
type Bits []uint64

func newBits(n int) Bits { return make(Bits, (n+63)/64) }

func (b Bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b Bits) add(i int)      { b[i/64] |= 1 << (i % 64) }

func (b Bits) and(other Bits) {
	for i := range b {
		b[i] &= other[i]
	}
}

func (b Bits) or(other Bits) {
	for i := range b {
		b[i] |= other[i]
	}
}

func (b Bits) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// all sets the numbers below n.
func (b Bits) all(n int) {
	for i := range b {
		b[i] = ^uint64(0)
	}
	if r := n % 64; r > 0 {
		b[len(b)-1] = 1<<r - 1
	}
}

// appendPosting appends numbers of n messages, ascending, in the shortest form.
func appendPosting(dst []byte, numbers []uint16, n int) ([]byte, form) {
	start := len(dst)
	if 2*len(numbers) > n {
		dst = appendUnlisted(dst, numbers, n)
		if len(dst)-start <= n/8 {
			return dst, unlisted
		}
	} else {
		dst = appendListed(dst, numbers)
		if len(dst)-start <= n/8 {
			return dst, listed
		}
	}
	used := int(numbers[len(numbers)-1])/8 + 1
	if len(dst)-start <= used && 2*len(numbers) <= n {
		return dst, listed
	}
	dst = append(dst[:start], make([]byte, used)...)
	for _, x := range numbers {
		dst[start+int(x)/8] |= 1 << (x % 8)
	}
	return dst, bitmap
}

func appendListed(dst []byte, numbers []uint16) []byte {
	next := 0
	for _, x := range numbers {
		dst = binary.AppendUvarint(dst, uint64(int(x)-next))
		next = int(x) + 1
	}
	return dst
}

func appendUnlisted(dst []byte, numbers []uint16, n int) []byte {
	next, want := 0, 0
	for _, x := range append(slices.Clip(numbers), uint16(n)) {
		for ; want < int(x); want++ {
			dst = binary.AppendUvarint(dst, uint64(want-next))
			next = want + 1
		}
		want = int(x) + 1
	}
	return dst
}

// readPosting adds the messages of a posting to set, which holds n; false: it is
// damaged.
func readPosting(set Bits, data []byte, f form, n int) bool {
	switch f {
	case listed:
		return eachDistance(data, n, set.add)
	case unlisted:
		not := newBits(n)
		if !eachDistance(data, n, not.add) {
			return false
		}
		all := newBits(n)
		all.all(n)
		for i := range set {
			set[i] |= all[i] &^ not[i]
		}
		return true
	case bitmap:
		if len(data) > (n+7)/8 || n%8 != 0 && len(data) == (n+7)/8 && data[n/8]>>(n%8) != 0 {
			return false
		}
		for i, b := range data {
			set[i/8] |= uint64(b) << (i % 8 * 8)
		}
		return true
	}
	return false
}

func eachDistance(data []byte, n int, do func(int)) bool {
	next := 0
	for len(data) > 0 {
		v, k := binary.Uvarint(data)
		if k <= 0 || v >= uint64(n-next) {
			return false
		}
		data = data[k:]
		do(next + int(v))
		next += int(v) + 1
	}
	return true
}

// numbers lists the members.
func (b Bits) numbers(dst []uint16) []uint16 {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			dst = append(dst, uint16(i*64+bits.TrailingZeros64(w)))
		}
	}
	return dst
}
