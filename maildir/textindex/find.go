package textindex

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// A Query asks which messages may hold texts.
type Query struct {
	// Texts must all be in texts of one of the Kinds, folded. Empty ones say nothing.
	Texts []string
	Kinds []Kind
}

// Exact says whether a message that Find returns certainly holds the text: it is one
// trigram, or less.
func (q Query) Exact() bool { return len(q.Texts) == 1 && len(q.Texts[0]) > 0 && len(q.Texts[0]) <= 3 }

// Result is what a segment says to a Query. All but those in May do not hold the
// texts; those in May, without those in Full, do where the query is exact.
type Result struct{ May, Full Bits }

// Has says what is known of the message with this number.
func (r *Result) Has(number int) (may, full bool) { return r.May.has(number), r.Full.has(number) }

// A query reads at most so many postings, and looks at the rarest of them: each takes
// messages away, and after these there is nobody left to take.
const (
	maxGramsRead = 256
	maxLookups   = 48
)

// Find looks a query up. ErrDamaged, or an error of the file.
func (s *Segment) Find(q Query) (*Result, error) {
	r := &Result{newBits(len(s.uids)), newBits(len(s.uids))}
	for _, x := range s.full {
		r.Full.add(int(x))
	}
	l := lookup{s: s, page: -1}
	for _, k := range q.Kinds {
		found := newBits(len(s.uids))
		found.all(len(s.uids))
		if err := l.all(found, q.Texts, k); err != nil {
			return nil, err
		}
		r.May.or(found)
	}
	r.May.or(r.Full)
	return r, nil
}

// lookup reads pages of a segment.
type lookup struct {
	s    *Segment
	page int // that is in data
	data []byte
}

// all leaves those in set that may hold all texts in one kind.
func (l *lookup) all(set Bits, texts []string, k Kind) error {
	var grams []gram
	for _, t := range texts {
		switch {
		case t == "":
		case len(t) < 3:
			found := newBits(len(l.s.uids))
			if err := l.prefix(found, t, k); err != nil {
				return err
			}
			set.and(found)
		default:
			for i := range len(t) - 2 {
				grams = append(grams, gramOf(k, t[i:]))
			}
		}
	}
	slices.Sort(grams)
	grams = slices.Compact(grams)
	if n := len(grams); n > maxGramsRead { // some of them, from all over
		for i := range maxGramsRead {
			grams[i] = grams[i*n/maxGramsRead]
		}
		grams = grams[:maxGramsRead]
	}
	return l.intersect(set, grams)
}

// intersect takes those out of set that lack one of the trigrams, which ascend.
func (l *lookup) intersect(set Bits, grams []gram) error {
	entries := make([]entry, 0, len(grams))
	for _, g := range grams {
		e, ok, err := l.find(g)
		if err != nil {
			return err
		}
		if !ok {
			clear(set)
			return nil
		}
		e.posting = slices.Clone(e.posting)
		entries = append(entries, e)
	}
	// The rarest first: after them there are few left.
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.cost(), b.cost()) })
	for _, e := range entries[:min(len(entries), maxLookups)] {
		if set.empty() {
			return nil
		}
		has := newBits(len(l.s.uids))
		if !readPosting(has, e.posting, e.form, len(l.s.uids)) {
			return fmt.Errorf("%w: posting", ErrDamaged)
		}
		set.and(has)
	}
	return nil
}

// cost orders postings by about how many messages they have.
func (e *entry) cost() int {
	if e.form == unlisted {
		return MaxMessages - len(e.posting)
	}
	return len(e.posting)
}

// load reads page i.
func (l *lookup) load(i int) (pageReader, error) {
	if l.page != i {
		data, err := l.s.readPage(i, l.data)
		if err != nil {
			l.page = -1
			return pageReader{}, err
		}
		l.page, l.data = i, data
	}
	return l.s.entries(i, l.data), nil
}

// find returns the entry of a trigram. It is valid until the next page is read.
func (l *lookup) find(g gram) (entry, bool, error) {
	i := sort.Search(len(l.s.pages), func(i int) bool { return l.s.pages[i].first > g }) - 1
	if i < 0 {
		return entry{}, false, nil
	}
	r, err := l.load(i)
	if err != nil {
		return entry{}, false, err
	}
	for e, ok := r.next(); ok && e.gram <= g; e, ok = r.next() {
		if e.gram == g {
			return e, true, nil
		}
	}
	if r.bad {
		return entry{}, false, fmt.Errorf("%w: page", ErrDamaged)
	}
	return entry{}, false, nil
}

// prefix adds the messages that have a trigram which begins with t, of one or two
// bytes.
func (l *lookup) prefix(set Bits, t string, k Kind) error {
	from := gram(k)<<gramBits | gram(t[0])<<16
	to := from + 1<<16
	if len(t) == 2 {
		from |= gram(t[1]) << 8
		to = from + 1<<8
	}
	i := max(sort.Search(len(l.s.pages), func(i int) bool { return l.s.pages[i].first > from })-1, 0)
	for ; i < len(l.s.pages) && l.s.pages[i].first < to; i++ {
		r, err := l.load(i)
		if err != nil {
			return err
		}
		for e, ok := r.next(); ok && e.gram < to; e, ok = r.next() {
			if e.gram >= from && !readPosting(set, e.posting, e.form, len(l.s.uids)) {
				return fmt.Errorf("%w: posting", ErrDamaged)
			}
		}
		if r.bad {
			return fmt.Errorf("%w: page", ErrDamaged)
		}
	}
	return nil
}
