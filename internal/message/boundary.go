package message

import "bytes"

// boundary is the delimiter of an open multipart.
type boundary struct {
	text []byte
	part int // index of the multipart among the open parts
}

// boundaries holds the delimiters of all open multiparts, the innermost last.
type boundaries struct {
	list    []boundary
	byFirst [256]uint8 // how many begin with this byte; an empty one begins with any
	empty   int
}

func (b *boundaries) push(text string, part int) {
	t := []byte(text)[:min(len(text), MaxBoundary)]
	b.list = append(b.list, boundary{t, part})
	b.count(t, 1)
}

func (b *boundaries) truncate(n int) {
	for _, x := range b.list[n:] {
		b.count(x.text, -1)
	}
	b.list = b.list[:n]
}

func (b *boundaries) count(text []byte, by int) {
	if len(text) == 0 {
		b.empty += by
	} else {
		b.byFirst[text[0]] += uint8(by)
	}
}

// find returns the index of the delimiter with which line, that stood after "--",
// begins, or -1, and whether it closes its multipart. RFC 2046 5.1.1 wants only
// the start compared. Of several the longest wins, so that a delimiter may be the
// prefix of an outer one; of equal ones the innermost. line has no line end.
func (b *boundaries) find(line []byte) (index int, closing bool) {
	index = -1
	if b.empty == 0 && (len(line) == 0 || b.byFirst[line[0]] == 0) {
		return -1, false
	}
	for i := len(b.list) - 1; i >= 0; i-- {
		t := b.list[i].text
		if bytes.HasPrefix(line, t) && (index < 0 || len(t) > len(b.list[index].text)) {
			index = i
			if rest := line[len(t):]; len(rest) == 0 || string(rest) == "--" {
				break // not a prefix, but the whole
			}
		}
	}
	if index < 0 {
		return -1, false
	}
	return index, bytes.HasPrefix(line[len(b.list[index].text):], []byte("--"))
}
