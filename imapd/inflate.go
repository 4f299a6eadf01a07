package imapd

import (
	"errors"
	"io"
)

// An inflater reads DEFLATE (RFC 1951) as a client of COMPRESS writes it: it hands out all that the
// bytes so far say before it waits for more. The libraries do not. The standard one keeps what
// follows a partial flush until its window is full, and klauspost's wants up to ten bits of what
// comes after a block before it ends the block: mbsync, which flushes partially, then waits for
// answers to commands that we have not seen.
type inflater struct {
	r   io.Reader
	in  []byte // read and not looked at
	buf [2048]byte

	bits  uint64 // the next ones, from the lowest
	nbits uint

	window []byte // of what has come out; it grows to windowSize
	at     int    // where the next byte goes in window
	full   bool

	inBlock, final bool
	stored         int // bytes left of a stored block; -1: it is another one
	lit, dist      huffman
	length, back   int // of a copy under way
	err            error

	heading bool   // the header of a block is being read
	head    []byte // and this has been read of it
}

const (
	windowSize  = 32 << 10
	firstWindow = 1 << 10 // clients that wait have not said more in all
)

var errInflate = errors.New("compressed data is malformed")

func newInflater(r io.Reader) *inflater { return &inflater{r: r} }

// Read implements io.Reader. After errWoken it goes on as if nothing had been.
func (f *inflater) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n == 0 && f.err == nil {
		if !f.inBlock {
			err = f.beginAgain()
		} else {
			var starved bool
			if n, starved = f.block(p); starved && n == 0 && f.err == nil {
				err = f.more()
			}
		}
		if errors.Is(err, errWoken) {
			return 0, err
		}
		if err != nil {
			f.err = err
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, f.err
}

// more waits for input.
func (f *inflater) more() error {
	n, err := f.r.Read(f.buf[:])
	if n > 0 {
		f.in = f.buf[:n]
		if f.heading {
			f.head = append(f.head, f.in...)
		}
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// refill takes as many bits as there is room for, without waiting.
func (f *inflater) refill() {
	for f.nbits <= 56 && len(f.in) > 0 {
		f.bits |= uint64(f.in[0]) << f.nbits
		f.in = f.in[1:]
		f.nbits += 8
	}
}

// take waits for some bits, at most 16, and takes them.
func (f *inflater) take(n uint) (int, error) {
	for f.refill(); f.nbits < n; f.refill() {
		if err := f.more(); err != nil {
			return 0, err
		}
	}
	v := int(f.bits & (1<<n - 1))
	f.bits >>= n
	f.nbits -= n
	return v, nil
}

// beginAgain is begin, which starts from the same bits when it was woken.
func (f *inflater) beginAgain() error {
	bits, nbits, final := f.bits, f.nbits, f.final
	f.heading, f.head = true, append([]byte(nil), f.in...)
	err := f.begin()
	if errors.Is(err, errWoken) {
		f.bits, f.nbits, f.final, f.in = bits, nbits, final, f.head
	}
	f.heading, f.head = false, nil
	return err
}

// begin reads the header of a block (RFC 1951 3.2.3). Nothing is held back while it waits: a block
// has been handed out before the next one begins.
func (f *inflater) begin() error {
	if f.final {
		return io.EOF
	}
	head, err := f.take(3)
	if err != nil {
		return err
	}
	f.final, f.stored = head&1 == 1, -1
	switch head >> 1 {
	case 0:
		err = f.beginStored()
	case 1:
		f.lit, f.dist = fixedCodes()
	case 2:
		err = f.beginDynamic()
	default:
		err = errInflate
	}
	f.inBlock = err == nil
	return err
}

func (f *inflater) beginStored() error {
	f.bits >>= f.nbits % 8
	f.nbits -= f.nbits % 8
	length, err := f.take(16)
	if err != nil {
		return err
	}
	check, err := f.take(16)
	if err != nil {
		return err
	}
	if length != ^check&0xffff {
		return errInflate
	}
	f.stored = length
	return nil
}

// beginDynamic reads the codes of a block (RFC 1951 3.2.7).
func (f *inflater) beginDynamic() error {
	var n [3]int
	for i, bits := range []uint{5, 5, 4} {
		v, err := f.take(bits)
		if err != nil {
			return err
		}
		n[i] = v
	}
	lits, dists := n[0]+257, n[1]+1
	if lits > 286 {
		return errInflate
	}
	var lengths [286 + 32]uint8
	order := [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	for _, i := range order[:n[2]+4] {
		v, err := f.take(3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(v)
	}
	var codes huffman
	if !codes.init(lengths[:19]) {
		return errInflate
	}
	clear(lengths[:])
	for i := 0; i < lits+dists; {
		symbol, err := f.symbol(&codes)
		if err != nil {
			return err
		}
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		repeat := [...]struct {
			bits  uint
			least int
		}{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		more, err := f.take(repeat.bits)
		if err != nil {
			return err
		}
		var value uint8
		if symbol == 16 {
			if i == 0 {
				return errInflate
			}
			value = lengths[i-1]
		}
		for range more + repeat.least {
			if i == lits+dists {
				return errInflate
			}
			lengths[i] = value
			i++
		}
	}
	if lengths[256] == 0 || !f.lit.init(lengths[:lits]) || !f.dist.init(lengths[lits:lits+dists]) {
		return errInflate
	}
	return nil
}

// symbol waits for one.
func (f *inflater) symbol(h *huffman) (int, error) {
	for {
		f.refill()
		v, used, ok := h.decode(f.bits, f.nbits)
		if ok {
			f.bits >>= used
			f.nbits -= used
			return v, nil
		}
		if used > 0 {
			return 0, errInflate
		}
		if err := f.more(); err != nil {
			return 0, err
		}
	}
}

// block hands out what there is of a block: up to its end, as much as fits into p, or until it is
// starved of input.
func (f *inflater) block(p []byte) (n int, starved bool) {
	for n < len(p) && f.inBlock && f.err == nil {
		switch {
		case f.length > 0:
			n += f.copyBack(p[n:])
		case f.stored > 0:
			f.refill()
			if f.nbits < 8 {
				return n, true
			}
			p[n] = f.put(byte(f.bits))
			f.bits >>= 8
			f.nbits -= 8
			f.stored--
			n++
		case f.stored == 0:
			f.inBlock = false
		default:
			literal, isLiteral, ok := f.step()
			if !ok {
				return n, f.err == nil
			}
			if isLiteral {
				p[n] = f.put(literal)
				n++
			}
		}
	}
	return n, false
}

// put keeps a byte for copies to come.
func (f *inflater) put(b byte) byte {
	if f.at == len(f.window) {
		f.window = append(f.window, make([]byte, max(firstWindow, len(f.window)))...)
	}
	f.window[f.at] = b
	if f.at++; f.at == windowSize {
		f.at, f.full = 0, true
	}
	return b
}

func (f *inflater) copyBack(p []byte) (n int) {
	for n < len(p) && f.length > 0 {
		p[n] = f.put(f.window[(f.at-f.back+windowSize)%windowSize])
		n++
		f.length--
	}
	return n
}

// Bases and extra bits of lengths and distances (RFC 1951 3.2.5).
var (
	lengthBase = [...]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [...]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   = [...]int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distBits   = [...]uint{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// step decodes a literal, the end of the block, or a length with its distance: at most 48 bits,
// taken together or, where they have not all come yet, not at all.
func (f *inflater) step() (literal byte, isLiteral, ok bool) {
	f.refill()
	bits, left := f.bits, f.nbits
	next := func(h *huffman) (int, bool) {
		v, used, ok := h.decode(bits, left)
		if !ok {
			if used > 0 {
				f.err = errInflate
			}
			return 0, false
		}
		bits >>= used
		left -= used
		return v, true
	}
	extra := func(n uint) (int, bool) {
		if left < n {
			return 0, false
		}
		v := int(bits & (1<<n - 1))
		bits >>= n
		left -= n
		return v, true
	}
	v, ok := next(&f.lit)
	switch {
	case !ok:
		return 0, false, false
	case v < 256:
		f.bits, f.nbits = bits, left
		return byte(v), true, true
	case v == 256:
		f.bits, f.nbits, f.inBlock = bits, left, false
		return 0, false, true
	case v-257 >= len(lengthBase):
		f.err = errInflate
		return 0, false, false
	}
	more, ok := extra(lengthBits[v-257])
	if !ok {
		return 0, false, false
	}
	length := lengthBase[v-257] + more
	if v, ok = next(&f.dist); !ok {
		return 0, false, false
	}
	if v >= len(distBase) {
		f.err = errInflate
		return 0, false, false
	}
	if more, ok = extra(distBits[v]); !ok {
		return 0, false, false
	}
	back := distBase[v] + more
	if back > f.at && !f.full {
		f.err = errInflate
		return 0, false, false
	}
	f.bits, f.nbits, f.length, f.back = bits, left, length, back
	return 0, false, true
}
