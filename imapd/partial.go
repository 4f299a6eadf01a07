package imapd

// A partialRange is a page of results (RFC 9394): first:last from the front, or -first:-last from
// the end, both from 1.
type partialRange struct {
	first, last uint32
	fromEnd     bool
	text        string // as it is answered
}

// readPartialRange reads SP range.
func readPartialRange(r *request) *partialRange {
	p := &partialRange{}
	r.SP()
	p.fromEnd = r.Is('-')
	p.first = r.NZNumber()
	r.Expect(':')
	if p.fromEnd {
		r.Expect('-')
	}
	p.last = r.NZNumber()
	if p.first > p.last {
		p.first, p.last = p.last, p.first
	}
	sign := ""
	if p.fromEnd {
		sign = "-"
	}
	p.text = sign + number(p.first) + ":" + sign + number(p.last)
	return p
}

// of returns the indices [lo, hi) that the page takes of n results.
func (p *partialRange) of(n int) (lo, hi int) {
	lo, hi = min(int64Clamp(p.first-1), n), min(int64Clamp(p.last), n)
	if p.fromEnd {
		lo, hi = n-hi, n-lo
	}
	return lo, hi
}

func int64Clamp(n uint32) int { return int(min(int64(n), 1<<31-1)) }
