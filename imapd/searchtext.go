package imapd

import (
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

// header matches a header field that contains the string; an empty string asks only whether there
// is the field.
func (p *searchReader) header(field string) searchKey {
	text := message.NewNeedle(p.text())
	cached := isCached(field)
	return searchKey{costHeader, func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
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
	return searchKey{costBody, func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		if text.Folded == "" {
			return true, nil
		}
		return c.read(text, headers)
	}}
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
