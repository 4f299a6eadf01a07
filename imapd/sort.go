package imapd

import (
	"cmp"
	"slices"

	"buzon/internal/message"
	"buzon/maildir"
)

// sort is SORT and UID SORT (RFC 5256 3), with the result options of RFC 5267 and the display names
// of RFC 5957.
func (s *session) sort(r *request) error {
	r.SP()
	ret := &resultOptions{}
	if r.HasWord("RETURN") {
		r.SP()
		ret.read(r)
		r.SP()
	}
	criteria := readSortCriteria(r)
	p := &searchReader{s: s, r: r, charset: "UTF-8"}
	r.SP()
	if err := p.readCharsetName(); err != nil {
		return s.searchFailed(ret, err)
	}
	r.SP()
	key := p.keys()
	ret.modseq = p.modseq
	if err := p.end(); err != nil {
		return s.searchFailed(ret, err)
	}
	found, err := s.matching(r, key)
	if err == nil {
		found, err = s.sorted(found, criteria)
	}
	if err != nil {
		return s.searchFailed(ret, err)
	}
	if ret.given {
		s.writeESearch(r, ret, found)
	} else {
		s.writeSearch(r, "SORT", ret, found)
	}
	if ret.save {
		s.saved = s.savedResult(ret, found)
	}
	if ret.update {
		s.keepUpdated(r, ret, key, criteria, found)
	}
	return nil
}

// A sortCriterion is one key of SORT: a key of messages' headers, or a number that the state of the
// mailbox has.
type sortCriterion struct {
	reverse bool
	key     maildir.SortKey
	number  func(st *maildir.State, at int) (int64, error)
}

// sortCriteria are the keys of RFC 5256 3 and RFC 5957 3.
var sortCriteria = map[string]sortCriterion{
	"ARRIVAL": {number: func(st *maildir.State, at int) (int64, error) {
		t, err := st.InternalDate(at)
		return t.UnixNano(), err
	}},
	"SIZE":        {number: (*maildir.State).Size},
	"DATE":        {key: maildir.SortDate},
	"SUBJECT":     {key: maildir.SortSubject},
	"FROM":        {key: maildir.SortFrom},
	"TO":          {key: maildir.SortTo},
	"CC":          {key: maildir.SortCc},
	"DISPLAYFROM": {key: maildir.SortDisplayFrom},
	"DISPLAYTO":   {key: maildir.SortDisplayTo},
}

func readSortCriteria(r *request) []sortCriterion {
	var criteria []sortCriterion
	reverse := false
	r.List(func() {
		name := r.Word()
		if name == "REVERSE" && !reverse {
			reverse = true
			return
		}
		c, ok := sortCriteria[name]
		if !ok {
			r.Fail("no such sort criterion")
		}
		c.reverse = reverse
		reverse = false
		criteria = append(criteria, c)
	})
	if reverse || len(criteria) == 0 {
		r.Fail("expected a sort criterion")
	}
	return criteria
}

// readCharsetName reads the charset that SORT and THREAD always have.
func (p *searchReader) readCharsetName() error {
	name := p.r.AString()
	if p.r.Err() != nil {
		return p.r.Err()
	}
	if !message.KnownCharset(name) {
		return errBadCharset
	}
	p.charset = name
	return nil
}

// errBadCharset names what every client can fall back to (RFC 9051 7.1: BADCHARSET).
var errBadCharset = no("BADCHARSET (US-ASCII UTF-8)", "The charset is not known")

// sorted puts messages in the order that the criteria ask for; what is equal stays in order (RFC
// 5256 3: by sequence number in the end). The last criterion is applied first.
func (s *session) sorted(found []int, criteria []sortCriterion) ([]int, error) {
	for _, c := range slices.Backward(criteria) {
		if c.number == nil {
			places, err := s.view.box.Places(s.ctx, s.view.state, c.key)
			if err != nil {
				return nil, err
			}
			found = s.byPlace(found, places, c.reverse)
			continue
		}
		numbers, err := s.sortNumbers(found, c)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(numbers[a], numbers[b]) })
	}
	return found, nil
}

// sortNumbers are the numbers of messages by their index in the view, negative for a reverse order.
// A message that is gone meanwhile has 0.
func (s *session) sortNumbers(found []int, c sortCriterion) ([]int64, error) {
	numbers := make([]int64, s.view.len())
	for k, i := range found {
		if _, at := s.view.row(i); at >= 0 {
			n, err := c.number(s.view.state, at)
			if err != nil && !isGone(err) {
				return nil, err
			}
			if numbers[i] = n; c.reverse {
				numbers[i] = -n
			}
		}
		if k%fetchBatch == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
	}
	return numbers, nil
}

// byPlace puts messages in the order of their places. There are no more places than messages in the
// mailbox, so they are dealt out.
func (s *session) byPlace(found []int, places maildir.Places, reverse bool) []int {
	place := make([]uint32, len(found))
	starts := make([]int, len(places)+1)
	for k, i := range found {
		if _, at := s.view.row(i); at >= 0 { // a message that is gone meanwhile is in the first
			place[k] = places[at]
		}
		if reverse {
			place[k] = uint32(len(places)) - place[k]
		}
		starts[place[k]]++
	}
	next := 0
	for p, n := range starts {
		starts[p] = next
		next += n
	}
	order := make([]int, len(found))
	for k, i := range found {
		order[starts[place[k]]] = i
		starts[place[k]]++
	}
	return order
}
