package message

import (
	"bytes"
	"slices"
)

// boundary is the delimiter of an open multipart.
type boundary struct {
	text   string
	part   int // index of the multipart among the open parts
	shadow int // index of the next outer boundary with the same text, or -1
}

// boundaries holds the delimiters of all open multiparts, the innermost last. A line is
// looked up once for each length that they have, and it has no more than its own
// bytes, so that no nest of multiparts makes a scan slow.
type boundaries struct {
	list    []boundary
	byText  map[string]int // the innermost with this text
	lengths []int          // of the texts, longest first, each once
}

// push opens a delimiter; of a longer one MaxBoundary bytes count.
func (b *boundaries) push(text string, part int) {
	text = text[:min(len(text), MaxBoundary)]
	if b.byText == nil {
		b.byText = map[string]int{}
	}
	shadow, ok := b.byText[text]
	if !ok {
		shadow = -1
	}
	b.byText[text] = len(b.list)
	b.list = append(b.list, boundary{text, part, shadow})
	b.measure()
}

// truncate closes all but the n outermost.
func (b *boundaries) truncate(n int) {
	for len(b.list) > n {
		last := b.list[len(b.list)-1]
		b.list = b.list[:len(b.list)-1]
		if last.shadow >= 0 {
			b.byText[last.text] = last.shadow
		} else {
			delete(b.byText, last.text)
		}
	}
	b.measure()
}

func (b *boundaries) measure() {
	b.lengths = b.lengths[:0]
	for _, x := range b.list {
		b.lengths = append(b.lengths, len(x.text))
	}
	slices.Sort(b.lengths)
	slices.Reverse(b.lengths)
	b.lengths = slices.Compact(b.lengths)
}

// find returns the index of the delimiter with which line, that stood after "--", begins,
// or -1. RFC 2046 5.1.1 wants only the start compared. Of several the longest wins, so
// that a delimiter may be a prefix of another; of equal ones the innermost. A line "x--"
// is the end of "x" rather than a delimiter of its own if "x" is the inner one.
func (b *boundaries) find(line []byte) int {
	found := -1
	for _, n := range b.lengths {
		if n > len(line) || found >= 0 && n < len(line)-len("--") {
			continue
		}
		i, ok := b.byText[string(line[:n])]
		switch {
		case !ok:
		case found < 0:
			found = i
			if n < len(line) || !bytes.HasSuffix(line, []byte("--")) {
				return i
			}
		case n == len(line)-len("--"):
			return max(found, i)
		}
	}
	return found
}
