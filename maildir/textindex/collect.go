// Package textindex tells which of many messages may hold a text, without reading
// them. It keeps for every three bytes that follow each other in a message's folded
// texts (a trigram) the list of the messages that have them: a message that lacks
// one trigram of a text does not hold the text.
//
// An index is a number of segments, each a file of its own that is written once.
// The package knows bytes and UIDs; nothing of messages, mailboxes or directories.
// docs/maildir.md describes the file.
package textindex

import "slices"

// Kind parts the texts of a message. A text that is looked for stands in one text of
// one kind.
type Kind uint8

// What SEARCH BODY looks into, and what SEARCH TEXT looks into besides.
const (
	Body Kind = iota
	Header
	kinds
)

// gram is a trigram: the kind of its text and three bytes.
type gram uint32

const (
	gramBits = 24
	// textEnd stands twice behind each text, so that every byte of it begins a
	// trigram. No text in UTF-8 has it.
	textEnd = 0xff
	// maxGrams is where a message counts as one that may hold any text: no prose
	// has as many, encoded data has.
	maxGrams = 1 << 15
)

// A Collector takes the texts of one message after the other. It is for one
// goroutine, and holds 4 MiB.
type Collector struct {
	seen  []uint64 // a bit for each gram
	grams []gram
	full  bool
	kind  gram
	last  uint32 // bytes
	n     int    // bytes of this text
}

// Begin begins a text.
func (c *Collector) Begin(k Kind) {
	if c.seen == nil {
		c.seen = make([]uint64, uint(kinds)<<gramBits/64)
	}
	c.kind, c.last, c.n = gram(k)<<gramBits, 0, 0
}

// Write takes the next piece of the text, folded.
func (c *Collector) Write(piece []byte) {
	if c.full {
		return
	}
	last := c.last
	for c.n < 2 && len(piece) > 0 { // no trigram yet
		last, piece = last<<8|uint32(piece[0]), piece[1:]
		c.n++
	}
	c.n += len(piece)
	seen, kind := c.seen[:uint(kinds)<<gramBits/64], c.kind
	for _, b := range piece {
		last = last<<8&0xffffff | uint32(b)
		g := kind | gram(last)
		if w, bit := &seen[g/64], uint64(1)<<(g%64); *w&bit == 0 {
			*w |= bit
			c.grams = append(c.grams, g)
		}
	}
	c.last = last
	c.full = len(c.grams) > maxGrams
}

// End ends the text.
func (c *Collector) End() {
	if c.n > 0 {
		c.Write([]byte{textEnd, textEnd})
	}
}

// Grams returns the trigrams of the message. They are valid until Reset.
func (c *Collector) Grams() Grams { return Grams{c.grams, c.full} }

// May says whether the message may hold the texts of a query.
func (c *Collector) May(q Query) bool {
	return c.full || slices.ContainsFunc(q.Kinds, func(k Kind) bool {
		return !slices.ContainsFunc(q.Texts, func(t string) bool { return !c.has(t, k) })
	})
}

func (c *Collector) has(text string, k Kind) bool {
	if len(text) < 3 {
		return true // what would have to be looked for is not short
	}
	for i := range len(text) - 2 {
		if g := gramOf(k, text[i:]); c.seen == nil || c.seen[g/64]&(1<<(g%64)) == 0 {
			return false
		}
	}
	return true
}

// gramOf is the first trigram of text.
func gramOf(k Kind, text string) gram {
	return gram(k)<<gramBits | gram(text[0])<<16 | gram(text[1])<<8 | gram(text[2])
}

// Reset begins another message.
func (c *Collector) Reset() {
	for _, x := range c.grams {
		c.seen[x/64] &^= 1 << (x % 64)
	}
	c.grams, c.full = c.grams[:0], false
}

// Grams are the trigrams of a message, each once.
type Grams struct {
	list []gram
	full bool // there are too many
}
