package textindex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A segment is:
//
//	pages · head · length of the head, 4 bytes · CRC-32C of the head, 4 · magic, 8
//
// A page holds trigrams in order, each with its posting:
//
//	distance to the trigram before, uvarint · length<<2 | form, uvarint · posting
//
// The head has UIDVALIDITY, the UIDs in order, the messages that may hold any text,
// and for each page its first trigram, length and CRC-32C. So every byte is under a
// checksum, and a search reads the head once and a page for each trigram.
const (
	magic     = 0x31_30_74_78_74_7a_75_62 // "buztxt01"
	footer    = 16
	pageBytes = 8 << 10 // a page is full with this many, or
	pageGrams = 256     // this many trigrams
	// maxPage is a full page and the largest posting on top.
	maxPage = 2*pageBytes + MaxMessages/8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged: the segment is not what was written. It can only be thrown away.
var ErrDamaged = errors.New("damaged text index")

type head struct {
	validity uint32
	uids     []uint32 // ascending
	full     []uint16
	pages    []page
}

type page struct {
	first  gram
	crc    uint32
	at     int64
	length int
}

// writer writes the pages of a segment.
type writer struct {
	w       io.Writer
	n       int // messages
	buf     []byte
	posting []byte
	last    gram
	grams   int
	at      int64
	pages   []page
	err     error
}

func newWriter(w io.Writer, n int) *writer { return &writer{w: w, n: n} }

// add writes the posting of the next trigram.
func (w *writer) add(g gram, numbers []uint16) {
	if len(w.buf) >= pageBytes || w.grams == pageGrams {
		w.flush()
	}
	if w.grams == 0 {
		w.pages = append(w.pages, page{first: g, at: w.at})
		w.last = g
	}
	var f form
	w.posting, f = appendPosting(w.posting[:0], numbers, w.n)
	w.buf = binary.AppendUvarint(w.buf, uint64(g-w.last))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(w.posting))<<2|uint64(f))
	w.buf = append(w.buf, w.posting...)
	w.last = g
	w.grams++
}

func (w *writer) flush() {
	if w.grams == 0 {
		return
	}
	p := &w.pages[len(w.pages)-1]
	p.length, p.crc = len(w.buf), crc32.Checksum(w.buf, castagnoli)
	w.write(w.buf)
	w.buf, w.grams = w.buf[:0], 0
}

func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.at += int64(len(b))
	}
}

func (w *writer) finish(h *head) error {
	w.flush()
	h.pages = w.pages
	b := h.encode()
	n := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[:n], castagnoli))
	b = binary.LittleEndian.AppendUint64(b, magic)
	w.write(b)
	return w.err
}

func (h *head) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(h.validity))
	b = binary.AppendUvarint(b, uint64(len(h.uids)))
	last := uint32(0)
	for _, uid := range h.uids {
		b = binary.AppendUvarint(b, uint64(uid-last))
		last = uid
	}
	b = binary.AppendUvarint(b, uint64(len(h.full)))
	for _, x := range h.full {
		b = binary.AppendUvarint(b, uint64(x))
	}
	b = binary.AppendUvarint(b, uint64(len(h.pages)))
	first := gram(0)
	for _, p := range h.pages {
		b = binary.AppendUvarint(b, uint64(p.first-first))
		b = binary.AppendUvarint(b, uint64(p.length))
		b = binary.LittleEndian.AppendUint32(b, p.crc)
		first = p.first
	}
	return b
}

// headReader reads what encode wrote; after the first fault it returns zeros.
type headReader struct {
	b   []byte
	bad bool
}

func (r *headReader) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose items take a byte or more.
func (r *headReader) count() int { return int(r.uint(uint64(len(r.b)))) }

func (r *headReader) crc() uint32 {
	if len(r.b) < 4 {
		r.b, r.bad = nil, true
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// decode reads a head whose pages take size bytes; false: it is damaged.
func (h *head) decode(b []byte, size int64) bool {
	r := headReader{b: b}
	h.validity = uint32(r.uint(1<<32 - 1))
	uid := uint64(0)
	for i := range r.count() {
		d := r.uint(1<<32 - 1 - uid)
		if d == 0 || i == MaxMessages {
			return false
		}
		uid += d
		h.uids = append(h.uids, uint32(uid))
	}
	for i := range r.count() {
		x := uint16(r.uint(MaxMessages))
		if int(x) >= len(h.uids) || i > 0 && x <= h.full[i-1] {
			return false
		}
		h.full = append(h.full, x)
	}
	var at int64
	first := gram(0)
	for i := range r.count() {
		d := gram(r.uint(uint64(kinds)<<gramBits - 1 - uint64(first)))
		length := int(r.uint(maxPage))
		crc := r.crc()
		if i > 0 && d == 0 || length == 0 {
			return false
		}
		first += d
		h.pages = append(h.pages, page{first, crc, at, length})
		at += int64(length)
	}
	return !r.bad && len(r.b) == 0 && at == size
}

// A Segment is an index of some messages. It is safe for concurrent use.
type Segment struct {
	head
	r io.ReaderAt
}

// Open reads the head of a segment of size bytes. ErrDamaged, or an error of r.
func Open(r io.ReaderAt, size int64) (*Segment, error) {
	if size < footer {
		return nil, fmt.Errorf("%w: too short", ErrDamaged)
	}
	var end [footer]byte
	if err := readFull(r, end[:], size-footer); err != nil {
		return nil, err
	}
	n, crc := int64(binary.LittleEndian.Uint32(end[:])), binary.LittleEndian.Uint32(end[4:])
	if binary.LittleEndian.Uint64(end[8:]) != magic || n > size-footer {
		return nil, fmt.Errorf("%w: no segment", ErrDamaged)
	}
	b := make([]byte, n)
	if err := readFull(r, b, size-footer-n); err != nil {
		return nil, err
	}
	s := &Segment{r: r}
	if crc32.Checksum(b, castagnoli) != crc || !s.decode(b, size-footer-n) {
		return nil, fmt.Errorf("%w: head", ErrDamaged)
	}
	return s, nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("%w: cut short", ErrDamaged)
	}
	return err
}

// UIDValidity is that of the mailbox when the segment was written.
func (s *Segment) UIDValidity() uint32 { return s.validity }

// UIDs are those of the messages, ascending. The slice is shared.
func (s *Segment) UIDs() []uint32 { return s.uids }

// Number returns which number the message has in the segment's Bits.
func (s *Segment) Number(uid uint32) (int, bool) {
	if n := len(s.uids); n == 0 || uid < s.uids[0] || uid > s.uids[n-1] {
		return 0, false
	}
	return slices.BinarySearch(s.uids, uid)
}

// readPage returns the entries of page i, in buf where it is large enough.
func (s *Segment) readPage(i int, buf []byte) ([]byte, error) {
	p := s.pages[i]
	buf = slices.Grow(buf[:0], p.length)[:p.length]
	if err := readFull(s.r, buf, p.at); err != nil {
		return nil, err
	}
	if crc32.Checksum(buf, castagnoli) != p.crc {
		return nil, fmt.Errorf("%w: page", ErrDamaged)
	}
	return buf, nil
}

// entry is a trigram and its posting.
type entry struct {
	gram    gram
	form    form
	posting []byte
}

// pageReader reads the entries of a page.
type pageReader struct {
	rest  []byte
	last  gram
	begun bool
	bad   bool
}

func (s *Segment) entries(i int, data []byte) pageReader {
	return pageReader{rest: data, last: s.pages[i].first}
}

func (r *pageReader) next() (e entry, ok bool) {
	if len(r.rest) == 0 {
		return e, false
	}
	d, n := binary.Uvarint(r.rest)
	if n <= 0 || d > 1<<(gramBits+1) || (d == 0) == r.begun {
		return r.fail()
	}
	r.rest = r.rest[n:]
	length, n := binary.Uvarint(r.rest)
	if n <= 0 || length>>2 > uint64(len(r.rest)-n) || form(length&3) >= forms {
		return r.fail()
	}
	r.rest = r.rest[n:]
	r.last += gram(d)
	r.begun = true
	e = entry{r.last, form(length & 3), r.rest[:length>>2]}
	r.rest = r.rest[length>>2:]
	return e, true
}

func (r *pageReader) fail() (entry, bool) {
	r.rest, r.bad = nil, true
	return entry{}, false
}
