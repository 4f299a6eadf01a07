package imapd

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	if err := r.End(); err != nil {
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
		s.keepUpdated(r, key, criteria, found)
	}
	return nil
}

// A sortCriterion is one key of SORT.
type sortCriterion struct {
	reverse bool
	text    func(*sortFacts) string // one of these
	number  func(*sortFacts) int64
	needs   sortNeed
}

type sortNeed uint8

const (
	needsState    sortNeed = iota // size and dates of the store
	needsEnvelope                 // the cached ENVELOPE
)

// sortFacts is what SORT and THREAD look at in one message.
type sortFacts struct {
	size     int64
	arrival  time.Time
	envelope envelope
}

// sortCriteria are the keys of RFC 5256 3 and RFC 5957 3.
var sortCriteria = map[string]sortCriterion{
	"ARRIVAL":     {number: func(f *sortFacts) int64 { return f.arrival.UnixNano() }},
	"SIZE":        {number: func(f *sortFacts) int64 { return f.size }},
	"DATE":        {number: func(f *sortFacts) int64 { return f.sent().UnixNano() }, needs: needsEnvelope},
	"SUBJECT":     {text: func(f *sortFacts) string { return f.subject() }, needs: needsEnvelope},
	"FROM":        {text: func(f *sortFacts) string { return mailboxKey(f.envelope.from) }, needs: needsEnvelope},
	"TO":          {text: func(f *sortFacts) string { return mailboxKey(f.envelope.to) }, needs: needsEnvelope},
	"CC":          {text: func(f *sortFacts) string { return mailboxKey(f.envelope.cc) }, needs: needsEnvelope},
	"DISPLAYFROM": {text: func(f *sortFacts) string { return displayKey(f.envelope.from) }, needs: needsEnvelope},
	"DISPLAYTO":   {text: func(f *sortFacts) string { return displayKey(f.envelope.to) }, needs: needsEnvelope},
}

// sent is the sent date of RFC 5256 2.2: the Date field, or where that is no date, the internal
// date.
func (f *sortFacts) sent() time.Time {
	if t, ok := message.Date(string(f.envelope.date)); ok {
		return t
	}
	return f.arrival
}

// subject is the base subject of RFC 5256 2.1.
func (f *sortFacts) subject() string {
	base, _ := message.BaseSubject(message.DecodeHeader(string(f.envelope.subject)))
	return message.Fold(base)
}

// mailboxKey is the local part of an address (RFC 5256 3).
func mailboxKey(a envelopeAddress) string { return message.Fold(string(a.mailbox)) }

// displayKey is what mail readers show of an address (RFC 5957 3).
func displayKey(a envelopeAddress) string {
	if len(a.name) > 0 {
		return message.Fold(message.DecodeHeader(string(a.name)))
	}
	return message.Fold(string(a.mailbox) + "@" + string(a.host))
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

// A sortRow is a message with its keys, one for each criterion: a text or a number.
type sortRow struct {
	i       int
	texts   []string
	numbers []int64
}

// sorted puts messages in the order that the criteria ask for; what is equal stays in order.
func (s *session) sorted(found []int, criteria []sortCriterion) ([]int, error) {
	var need sortNeed
	for _, c := range criteria {
		need = max(need, c.needs)
	}
	if need == needsEnvelope {
		s.parseAhead(found)
	}
	rows := make([]sortRow, 0, len(found))
	texts := make([]string, len(found)*len(criteria))
	numbers := make([]int64, len(found)*len(criteria))
	for k, i := range found {
		facts, err := s.sortFacts(i, need)
		if err != nil {
			return nil, err
		}
		row := sortRow{i, texts[:len(criteria):len(criteria)], numbers[:len(criteria):len(criteria)]}
		texts, numbers = texts[len(criteria):], numbers[len(criteria):]
		for j, c := range criteria {
			if c.text != nil {
				row.texts[j] = c.text(&facts)
			} else {
				row.numbers[j] = c.number(&facts)
			}
		}
		rows = append(rows, row)
		if k%fetchBatch == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
	}
	slices.SortFunc(rows, func(a, b sortRow) int {
		for j, c := range criteria {
			order := cmp.Compare(a.numbers[j], b.numbers[j])
			if c.text != nil {
				order = strings.Compare(a.texts[j], b.texts[j])
			}
			if c.reverse {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return a.i - b.i // RFC 5256 3: by sequence number in the end
	})
	order := make([]int, len(rows))
	for k, row := range rows {
		order[k] = row.i
	}
	return order, nil
}

// parseAhead has the store parse the messages that it does not know yet.
func (s *session) parseAhead(found []int) {
	uids := make([]maildir.UID, len(found))
	for k, i := range found {
		uids[k] = s.view.uids[i]
	}
	s.view.box.ParseAhead(s.ctx, uids)
}

// sortFacts collects what is needed of the message with index i. A message that is gone meanwhile
// sorts as an empty one.
func (s *session) sortFacts(i int, need sortNeed) (sortFacts, error) {
	var f sortFacts
	m, at := s.view.row(i)
	if at < 0 {
		return f, nil
	}
	var err error
	if f.size, err = s.view.state.Size(at); err == nil {
		f.arrival, err = s.view.state.InternalDate(at)
	}
	if err == nil && need == needsEnvelope {
		var p *maildir.Parsed
		if p, err = s.view.box.Parsed(s.ctx, m.UID); err == nil {
			f.envelope = readEnvelope(p.Envelope)
		}
	}
	if isGone(err) {
		return sortFacts{}, nil
	}
	return f, err
}
