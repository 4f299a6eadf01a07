package imapd

// maxCode is the longest code in bits (RFC 1951 3.2.7).
const maxCode = 15

// huffman is a code: how many symbols have each length, and the symbols in the order of their codes
// (RFC 1951 3.2.2).
type huffman struct {
	count   [maxCode + 1]uint16
	symbols [288]uint16
}

// init makes the code of some lengths. It is false for one that has too many codes, or too few
// other than a single one.
func (h *huffman) init(lengths []uint8) bool {
	h.count = [maxCode + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	left, total := 1, 0
	for n := 1; n <= maxCode; n++ {
		if left = left<<1 - int(h.count[n]); left < 0 {
			return false
		}
		total += int(h.count[n])
	}
	if left > 0 && (total > 1 || total == 1 && h.count[1] != 1) {
		return false
	}
	var offset [maxCode + 2]uint16
	for n := 1; n <= maxCode; n++ {
		offset[n+1] = offset[n] + h.count[n]
	}
	for symbol, n := range lengths {
		if n > 0 {
			h.symbols[offset[n]] = uint16(symbol)
			offset[n]++
		}
	}
	return true
}

// decode finds the symbol that bits begin with, and how many it has. It is not ok with 0 used where
// more bits are wanted, and with others where no symbol begins so.
func (h *huffman) decode(bits uint64, n uint) (symbol int, used uint, ok bool) {
	code, first, index := 0, 0, 0
	for used = 1; used <= maxCode; used++ {
		if used > n {
			return 0, 0, false
		}
		code |= int(bits & 1)
		bits >>= 1
		count := int(h.count[used])
		if code-count < first {
			return int(h.symbols[index+code-first]), used, true
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, used, false
}

// fixedCodes are those of RFC 1951 3.2.6.
func fixedCodes() (lit, dist huffman) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	lit.init(lengths[:])
	for i := range 32 {
		lengths[i] = 5
	}
	dist.init(lengths[:32])
	return lit, dist
}
