package imapd

import (
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/message"
	"buzon/maildir"
)

// What SEARCH finds in the words of a message: decoded from its encodings and charsets, and
// compared under i;unicode-casemap (RFC 9051 6.4.4, RFC 5051).

// text reads the string of a key, in UTF-8.
func (p *searchReader) text() string {
	s := p.r.AString()
	if p.r.Err() != nil {
		return ""
	}
	s, ok := message.DecodeCharset(s, p.charset)
	if !ok {
		p.r.Fail("a string that is not in the charset")
	}
	return s
}

// A textKey is a text that is looked for, and what the store's text index says of it.
type textKey struct {
	query maildir.TextQuery
	mu    sync.Mutex
	hits  atomic.Pointer[textHits]
}

type textHits struct {
	*maildir.TextHits
	box      *maildir.Mailbox
	validity uint32
}

// ask has the index's answer for the mailbox that is searched: messages do not change, so it is
// right as long as the search runs, or is kept up to date.
func (k *textKey) ask(c *candidate) *maildir.TextHits {
	v := c.s.view
	if h := k.hits.Load(); h != nil && h.box == v.box && h.validity == v.state.UIDValidity() {
		return h.TextHits
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.hits.Load(); h != nil && h.box == v.box && h.validity == v.state.UIDValidity() {
		return h.TextHits
	}
	h := &textHits{v.box.FindTexts(v.state, k.query), v.box, v.state.UIDValidity()}
	k.hits.Store(h)
	return h.TextHits
}

// header matches a header field that contains the string; an empty string asks only whether there
// is the field.
func (p *searchReader) header(field string) searchKey {
	text := message.NewNeedle(p.text())
	cached := isCached(field)
	k := &textKey{query: maildir.TextQuery{Needle: text, Headers: true, Field: field}}
	indexed := maildir.SearchesField(field)
	return searchKey{cost: costHeader, match: func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		if indexed && !c.kept {
			h := k.ask(c)
			c.reads.wants(h, !cached)
			if h.Of(c.m.UID) == maildir.TextNo {
				return false, nil
			}
		}
		raw, err := c.content.someHeader(cached)
		if err != nil || text.Missing(raw) {
			return false, err
		}
		return text.InField(message.ParseHeader(raw), field), nil
	}}
}

// header is the message's header; of only those fields that the store keeps at hand, if cached is
// set.
func (c *candidate) header(cached bool) (*message.Header, error) {
	if c.at < 0 {
		return nil, maildir.ErrExpunged
	}
	raw, err := c.content.someHeader(cached)
	if err != nil {
		return nil, err
	}
	return message.ParseHeader(raw), nil
}

// sentDate is the Date field, in the sender's zone; a message without one matches no day.
func sentDate(c *candidate) (time.Time, bool, error) {
	h, err := c.header(true)
	if err != nil {
		return time.Time{}, false, err
	}
	t, ok := message.Date(h.Get("Date"))
	return t, ok, nil
}

// contains is BODY, or with headers TEXT.
func (p *searchReader) contains(headers bool) searchKey {
	text := message.NewNeedle(p.text())
	k := &textKey{query: maildir.TextQuery{Needle: text, Headers: headers, Body: true}}
	return searchKey{cost: costBody, match: func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		if text.Folded == "" {
			return true, nil
		}
		if c.kept { // the index is about those that are there
			return c.read(text, headers)
		}
		h := k.ask(c)
		switch h.Of(c.m.UID) {
		case maildir.TextNo:
			return false, nil
		case maildir.TextYes:
			return true, nil
		case maildir.TextUnknown:
			c.reads.wants(h, true)
			if may, err := c.gather(h); !may || err != nil {
				return false, err
			}
		}
		return c.read(text, headers)
	}}
}

// gather has a message indexed that must be read anyway, and says whether it may be a hit.
func (c *candidate) gather(h *maildir.TextHits) (may bool, err error) {
	if c.reader == nil {
		if c.reader = c.reads.reader(); c.reader == nil {
			return true, nil
		}
	}
	root, err := c.content.structure()
	if err != nil {
		return false, err
	}
	f, err := c.content.open()
	if err != nil {
		return false, err
	}
	return c.reader.May(h, c.m.UID, root, f)
}

// A textReading is what a search that has to read messages does for the next one.
type textReading struct {
	box   *maildir.Mailbox
	state *maildir.State
	keep  atomic.Bool // the index should know more

	once     sync.Once
	gatherer *maildir.TextGatherer
}

// wants notes that the index does not know what it should. nil does nothing.
func (t *textReading) wants(h *maildir.TextHits, reads bool) {
	if t != nil && reads && h.Unknown >= maildir.TextWorth && !t.keep.Load() {
		t.keep.Store(true)
	}
}

// reader returns a reader for a goroutine; nil where nothing should be indexed.
func (t *textReading) reader() *maildir.TextReader {
	if t == nil || !t.keep.Load() {
		return nil
	}
	t.once.Do(func() { t.gatherer = t.box.GatherTexts(t.state) })
	if t.gatherer == nil {
		return nil
	}
	return t.gatherer.Reader()
}

// end writes the index of what was read, and leaves the rest to the store.
func (t *textReading) end() {
	t.once.Do(func() {})
	if t.gatherer != nil {
		t.gatherer.Close()
	}
	if t.keep.Load() {
		t.box.KeepTexts()
	}
}

// read looks for the text in the message itself.
func (c *candidate) read(text *message.Needle, headers bool) (bool, error) {
	root, err := c.content.structure()
	if err != nil {
		return false, err
	}
	f, err := c.content.open()
	if err != nil {
		return false, err
	}
	return root.VisitTexts(f, headers, c.search(text))
}

func (c *candidate) search(text *message.Needle) *message.TextSearch {
	s := c.searches[text]
	if s == nil {
		s = message.NewTextSearch(text)
		if c.searches == nil {
			c.searches = map[*message.Needle]*message.TextSearch{}
		}
		c.searches[text] = s
	}
	return s
}
