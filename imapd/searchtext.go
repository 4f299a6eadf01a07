package imapd

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode"

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

// A needle is a text that is looked for.
type needle struct {
	folded string
	ascii  string // in lower case, if it is plain
	word   bool   // of letters and digits, which neither folding nor quoting can part
}

func newNeedle(text string) needle {
	n := needle{folded: message.Fold(text)}
	if isPlain(text) {
		n.ascii = strings.ToLower(text)
		n.word = text != "" && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
	}
	return n
}

// isPlain says whether s is printable US-ASCII without encoded words.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
	}
	return true
}

// in says whether the value of a header field holds the text. Most do not need decoding to tell.
func (n *needle) in(value string) bool {
	if n.ascii != "" && isPlain(value) {
		return containsFold(value, n.ascii)
	}
	return strings.Contains(message.Fold(message.DecodeHeader(value)), n.folded)
}

// missing says of a whole header that no field of it can hold the text, where that is cheap to
// know: most headers of a mailbox need no closer look.
func (n *needle) missing(header []byte) bool {
	return n.word && bytes.IndexByte(header, '\\') < 0 && bytes.IndexByte(header, '(') < 0 &&
		!bytes.Contains(header, encodedWord) && isASCII(header) && !containsFold(header, n.ascii)
}

var encodedWord = []byte("=?")

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// containsFold compares in any case; lower is in lower case and not empty, and neither is anything
// but US-ASCII.
func containsFold[S string | []byte](s S, lower string) bool {
	first := lower[0]
	for i := 0; i+len(lower) <= len(s); i++ {
		if asciiLower(s[i]) != first {
			continue
		}
		k := 1
		for k < len(lower) && asciiLower(s[i+k]) == lower[k] {
			k++
		}
		if k == len(lower) {
			return true
		}
	}
	return false
}

func asciiLower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// header matches a header field that contains the string; an empty string asks only whether there
// is the field.
func (p *searchReader) header(field string) searchKey {
	text := newNeedle(p.text())
	cached := isCached(field)
	addresses := slices.ContainsFunc(addressFields, func(f string) bool { return strings.EqualFold(f, field) })
	return searchKey{costHeader, func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		raw, err := c.content.someHeader(cached)
		if err != nil || text.missing(raw) {
			return false, err
		}
		h := message.ParseHeader(raw)
		for _, v := range h.Values(field) {
			if text.folded == "" || text.in(v) || addresses && addressContains(v, text.folded) {
				return true, nil
			}
		}
		return false, nil
	}}
}

// addressContains looks into the addresses as ENVELOPE has them (RFC 3501 6.4.4: "in the envelope
// structure's FROM field"), where comments, quotes and spaces do not stand between their parts.
// Only with these do the addresses say anything that the field itself does not.
func addressContains(value, folded string) bool {
	if !strings.ContainsAny(value, "(\"\\") {
		return false
	}
	for _, a := range message.Addresses(value) {
		if strings.Contains(message.Fold(message.DecodeHeader(a.Name)+" <"+a.Mailbox+"@"+a.Host+">"), folded) {
			return true
		}
	}
	return false
}

// addressFields are those whose SEARCH keys speak of addresses.
var addressFields = []string{"From", "To", "Cc", "Bcc"}

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

// body matches the text of the message's parts.
func (p *searchReader) body() searchKey {
	text := newBodyText(p.text())
	return searchKey{costBody, func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		if text.folded == "" {
			return true, nil
		}
		root, err := c.content.structure()
		if err != nil {
			return false, err
		}
		return c.partContains(root, text, false)
	}}
}

// anywhere is TEXT: the header, the headers of the parts, and the body.
func (p *searchReader) anywhere() searchKey {
	text := newBodyText(p.text())
	return searchKey{costBody, func(c *candidate) (bool, error) {
		h, err := c.header(false)
		if err != nil {
			return false, err
		}
		if headerContains(h, text) {
			return true, nil
		}
		root, err := c.content.structure()
		if err != nil {
			return false, err
		}
		return c.partContains(root, text, true)
	}}
}

// A bodyText is a text that is looked for in headers and in bodies.
type bodyText struct {
	needle
	text string
}

func newBodyText(text string) *bodyText { return &bodyText{newNeedle(text), text} }

func (c *candidate) finder(text *bodyText) *message.Finder {
	f := c.finders[text]
	if f == nil {
		f = message.NewFinder(text.text)
		if c.finders == nil {
			c.finders = map[*bodyText]*message.Finder{}
		}
		c.finders[text] = f
	}
	return f
}

func headerContains(h *message.Header, text *bodyText) bool {
	for f := range h.Fields() {
		if text.in(f.Name + ": " + f.Value()) {
			return true
		}
	}
	return text.folded == ""
}

// partContains looks in the text parts below p; in messages within the message their headers are
// text as well.
func (c *candidate) partContains(p *message.Part, text *bodyText, headers bool) (bool, error) {
	for _, child := range p.Children {
		if headers || p.IsMessage() {
			h, err := c.readHeader(child)
			if err != nil {
				return false, err
			}
			if headerContains(h, text) {
				return true, nil
			}
		}
		if ok, err := c.partContains(child, text, headers); ok || err != nil {
			return ok, err
		}
	}
	if len(p.Children) > 0 || !isText(p) {
		return false, nil
	}
	r, err := c.content.reader(p.Body)
	if err != nil {
		return false, err
	}
	return c.finder(text).In(message.DecodeText(r, p.Encoding, p.Charset()))
}

func isText(p *message.Part) bool {
	return strings.EqualFold(p.Type, "text") || strings.EqualFold(p.Type, "message") || p.IsMultipart()
}

func (c *candidate) readHeader(p *message.Part) (*message.Header, error) {
	f, err := c.content.open()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, p.Header.Len())
	if n, err := f.ReadAt(raw, p.Header.Start); n < len(raw) {
		return nil, noEOF(err)
	}
	return message.ParseHeader(raw), nil
}
