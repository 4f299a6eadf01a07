package imapd

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"buzon/imapd/wire"
	"buzon/internal/message"
	"buzon/maildir"
)

// A searchKey says of one message whether it matches. Keys that cost nothing are asked before those
// that open the message.
type searchKey struct {
	cost  int
	match func(*candidate) (bool, error)
	// within, if set, returns the only messages of a view that can match.
	within func(*view) spans
}

const (
	costIndex  = iota // what the mailbox's state has in memory
	costFile          // size and dates: normally in memory
	costHeader        // reads the header
	costBody          // reads everything
)

// A candidate is a message that a search looks at.
type candidate struct {
	s       *session
	i       int // index in the view
	st      *maildir.State
	at      int  // index in st, −1 if the message is gone
	kept    bool // another session has expunged it, and it can be read until this one is told
	m       maildir.Message
	content content
	reads   *textReading // nil: nothing is indexed
	reader  *maildir.TextReader
	// searches keep buffers, which are for one goroutine.
	searches map[*message.Needle]*message.TextSearch
}

// look moves on to the message with index i. Only what a key reads needs more than its flags.
func (c *candidate) look(i int, reads bool) {
	v := c.s.view
	c.i, c.st, c.kept = i, v.state, false
	c.m, c.at = v.row(i)
	if !reads {
		return
	}
	if c.at < 0 {
		if st, row, ok := v.box.Kept(c.m.UID); ok {
			c.st, c.at, c.kept = st, row, true
		}
	}
	c.content.at(c.m.UID)
}

// A searchReader reads the keys of one command (RFC 9051 6.4.4, section 9: search-key).
type searchReader struct {
	s       *session
	r       *request
	charset string
	modseq  bool // MODSEQ is among the keys
	numbers bool // message numbers are
}

// end is the end of the command.
func (p *searchReader) end() error {
	if err := p.r.End(); err != nil {
		return err
	}
	if p.numbers && p.s.has(uidOnly) {
		return errUIDRequired
	}
	return nil
}

// keys reads search keys to the end of the line or the list: all must match.
func (p *searchReader) keys() searchKey {
	var all []searchKey
	for {
		if !p.r.Item() {
			return searchKey{}
		}
		all = append(all, p.key())
		if p.r.Err() != nil || !p.r.Is(' ') {
			return allOf(all)
		}
	}
}

func allOf(keys []searchKey) searchKey {
	if len(keys) == 1 {
		return keys[0]
	}
	slices.SortStableFunc(keys, func(a, b searchKey) int { return a.cost - b.cost })
	all := searchKey{match: func(c *candidate) (bool, error) {
		for _, k := range keys {
			if ok, err := k.match(c); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}}
	for _, k := range keys {
		all.cost = max(all.cost, k.cost)
		if all.within == nil {
			all.within = k.within
		}
	}
	return all
}

func (p *searchReader) key() searchKey {
	r := p.r
	r.Open()
	defer r.Close()
	switch c := r.Peek(); {
	case c == '(':
		r.Expect('(')
		k := p.keys()
		r.Expect(')')
		return k
	case c >= '0' && c <= '9' || c == '*' || c == '$':
		set := r.Set()
		p.numbers = p.numbers || !set.Saved
		return p.setKey(set, false)
	}
	name := r.Name()
	if r.Err() != nil {
		return searchKey{}
	}
	if k, ok := flagKeys[name]; ok {
		return searchKey{cost: costIndex, match: k}
	}
	if k, ok := p.argumentKey(name); ok {
		return k
	}
	r.Fail("no such search key")
	return searchKey{}
}

func hasFlag(f maildir.Flags) func(*candidate) (bool, error) {
	return func(c *candidate) (bool, error) { return c.m.Flags&f != 0, nil }
}

func lacksFlag(f maildir.Flags) func(*candidate) (bool, error) {
	return func(c *candidate) (bool, error) { return c.m.Flags&f == 0, nil }
}

// flagKeys are the keys without arguments.
var flagKeys = map[string]func(*candidate) (bool, error){
	"ALL":        func(*candidate) (bool, error) { return true, nil },
	"ANSWERED":   hasFlag(maildir.FlagAnswered),
	"DELETED":    hasFlag(maildir.FlagDeleted),
	"DRAFT":      hasFlag(maildir.FlagDraft),
	"FLAGGED":    hasFlag(maildir.FlagFlagged),
	"SEEN":       hasFlag(maildir.FlagSeen),
	"UNANSWERED": lacksFlag(maildir.FlagAnswered),
	"UNDELETED":  lacksFlag(maildir.FlagDeleted),
	"UNDRAFT":    lacksFlag(maildir.FlagDraft),
	"UNFLAGGED":  lacksFlag(maildir.FlagFlagged),
	"UNSEEN":     lacksFlag(maildir.FlagSeen),
	"RECENT":     func(c *candidate) (bool, error) { return c.s.view.isRecent(c.m.UID), nil },
	"OLD":        func(c *candidate) (bool, error) { return !c.s.view.isRecent(c.m.UID), nil },
	"NEW": func(c *candidate) (bool, error) {
		return c.m.Flags&maildir.FlagSeen == 0 && c.s.view.isRecent(c.m.UID), nil
	},
	"SAVEDATESUPPORTED": func(*candidate) (bool, error) { return true, nil }, // RFC 8514 4.3
}

// argumentKey reads the key called name with its arguments; ok is false if there is none.
func (p *searchReader) argumentKey(name string) (k searchKey, ok bool) {
	switch name {
	case "NOT":
		return p.not(), true
	case "OR":
		return p.or(), true
	case "FUZZY": // RFC 6203: a match that is exact is also a fuzzy one
		return p.nested(), true
	case "UID":
		return p.setKey(p.r.SP().Set(), true), true
	case "KEYWORD":
		return p.keyword(true), true
	case "UNKEYWORD":
		return p.keyword(false), true
	case "LARGER":
		return p.size(func(size, n int64) bool { return size > n }), true
	case "SMALLER":
		return p.size(func(size, n int64) bool { return size < n }), true
	case "OLDER":
		return p.within(true), true
	case "YOUNGER":
		return p.within(false), true
	case "MODSEQ":
		return p.modSeq(), true
	case "EMAILID":
		return p.emailID(), true
	case "THREADID":
		return p.threadID(), true
	case "BCC", "CC", "FROM", "SUBJECT", "TO":
		p.r.SP()
		return p.header(name), true
	case "HEADER":
		field := p.r.SP().AString()
		p.r.SP()
		return p.header(field), true
	case "BODY":
		p.r.SP()
		return p.contains(false), true
	case "TEXT":
		p.r.SP()
		return p.contains(true), true
	}
	return p.dateKey(name)
}

// dateKey reads the keys that compare days.
func (p *searchReader) dateKey(name string) (k searchKey, ok bool) {
	cost, of := costFile, internalDate
	rest := name
	if after, ok := strings.CutPrefix(name, "SENT"); ok {
		rest, cost, of = after, costHeader, sentDate
	} else if after, ok := strings.CutPrefix(name, "SAVED"); ok { // RFC 8514
		rest, of = after, saveDate
	}
	switch rest {
	case "BEFORE":
		return p.date(cost, of, before), true
	case "ON":
		return p.date(cost, of, on), true
	case "SINCE":
		return p.date(cost, of, since), true
	}
	return searchKey{}, false
}

// setKey matches messages by their numbers. They are looked up in whichever view the search runs
// over, and again when that has grown.
func (p *searchReader) setKey(set wire.Set, uid bool) searchKey {
	saved := p.s.saved
	type found struct {
		of *view
		n  int
		ss spans
	}
	var last atomic.Pointer[found] // goroutines share the key
	in := func(v *view) spans {
		f := last.Load()
		if f == nil || v != f.of || v.len() != f.n {
			f = &found{v, v.len(), v.any(set, uid, saved)}
			last.Store(f)
		}
		return f.ss
	}
	return searchKey{cost: costIndex, within: in, match: func(c *candidate) (bool, error) {
		_, ok := slices.BinarySearchFunc(in(c.s.view), c.i, func(sp span, i int) int {
			switch {
			case sp.hi <= i:
				return -1
			case sp.lo > i:
				return 1
			}
			return 0
		})
		return ok, nil
	}}
}

func (p *searchReader) keyword(want bool) searchKey {
	name := p.r.SP().Flag()
	if strings.EqualFold(name, forwarded) {
		if want {
			return searchKey{cost: costIndex, match: hasFlag(maildir.FlagForwarded)}
		}
		return searchKey{cost: costIndex, match: lacksFlag(maildir.FlagForwarded)}
	}
	type found struct {
		of  *maildir.State
		bit maildir.KeywordSet
	}
	var last atomic.Pointer[found]
	return searchKey{cost: costIndex, match: func(c *candidate) (bool, error) {
		f := last.Load()
		if st := c.s.view.state; f == nil || st != f.of {
			f = &found{st, keywordBit(st, name)}
			last.Store(f)
		}
		return (c.m.Keywords&f.bit != 0) == want, nil
	}}
}

// keywordBit is the keyword's place in the sets of the state's messages; 0 if none of them has it.
func keywordBit(st *maildir.State, name string) maildir.KeywordSet {
	for i, k := range st.Keywords() {
		if k != "" && strings.EqualFold(k, name) {
			return 1 << i
		}
	}
	return 0
}

func (p *searchReader) size(match func(size, n int64) bool) searchKey {
	n := p.r.SP().Number64()
	return searchKey{cost: costFile, match: func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		size, err := c.st.Size(c.at)
		return err == nil && match(size, n), err
	}}
}

// A dateOf finds a date of a message.
type dateOf func(*candidate) (time.Time, bool, error)

func internalDate(c *candidate) (time.Time, bool, error) {
	if c.at < 0 {
		return time.Time{}, false, maildir.ErrExpunged
	}
	t, err := c.st.InternalDate(c.at)
	return t, err == nil, err
}

func saveDate(c *candidate) (time.Time, bool, error) {
	if c.at < 0 {
		return time.Time{}, false, maildir.ErrExpunged
	}
	t, err := c.st.SaveDate(c.at)
	return t, err == nil, err
}

// date compares days, whatever the time and the zone (RFC 9051 6.4.4).
func (p *searchReader) date(cost int, of dateOf, match func(day, limit time.Time) bool) searchKey {
	limit := p.r.SP().Date()
	return searchKey{cost: cost, match: func(c *candidate) (bool, error) {
		t, ok, err := of(c)
		if !ok || err != nil {
			return false, err
		}
		y, m, d := t.Date()
		return match(time.Date(y, m, d, 0, 0, 0, 0, time.UTC), limit), nil
	}}
}

func before(day, limit time.Time) bool { return day.Before(limit) }
func on(day, limit time.Time) bool     { return day.Equal(limit) }
func since(day, limit time.Time) bool  { return !day.Before(limit) }

// within is OLDER and YOUNGER (RFC 5032).
func (p *searchReader) within(older bool) searchKey {
	seconds := p.r.SP().NZNumber()
	limit := time.Now().Add(-time.Duration(seconds) * time.Second)
	return searchKey{cost: costFile, match: func(c *candidate) (bool, error) {
		t, ok, err := internalDate(c)
		return ok && t.After(limit) != older, err
	}}
}

// modSeq is MODSEQ (RFC 7162 3.1.5); MODSEQs of single flags are not kept, and need not be.
func (p *searchReader) modSeq() searchKey {
	p.r.SP()
	if p.r.Peek() == '"' {
		entry := p.r.String()
		if !strings.HasPrefix(strings.ToLower(entry), "/flags/") {
			p.r.Fail("no such entry")
		}
		switch p.r.SP().Word() {
		case "ALL", "PRIV", "SHARED":
		default:
			p.r.Fail("expected all, priv or shared")
		}
		p.r.SP()
	}
	least := maildir.ModSeq(p.r.Number64())
	p.modseq = true
	p.s.enableCondstore()
	return searchKey{cost: costIndex, match: func(c *candidate) (bool, error) { return c.m.ModSeq >= least, nil }}
}

func (p *searchReader) emailID() searchKey {
	want := p.r.SP().AString()
	return searchKey{cost: costFile, match: func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		return string(appendObjectID(nil, 'M', c.st.GUID(c.at))) == want, nil
	}}
}

func (p *searchReader) threadID() searchKey {
	want := p.r.SP().AString()
	return searchKey{cost: costHeader, match: func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		id, err := c.content.threadID()
		return err == nil && id != "" && string(appendObjectID(nil, 'T', id)) == want, err
	}}
}

func (p *searchReader) not() searchKey {
	k := p.nested()
	return searchKey{cost: k.cost, match: func(c *candidate) (bool, error) {
		ok, err := k.match(c)
		return !ok && err == nil, err
	}}
}

func (p *searchReader) or() searchKey {
	a, b := p.nested(), p.nested()
	if b.cost < a.cost {
		a, b = b, a
	}
	return searchKey{cost: b.cost, match: func(c *candidate) (bool, error) {
		if ok, err := a.match(c); ok || err != nil {
			return ok, err
		}
		return b.match(c)
	}}
}

func (p *searchReader) nested() searchKey {
	p.r.SP()
	p.r.Item()
	if p.r.Err() != nil {
		return searchKey{}
	}
	return p.key()
}
