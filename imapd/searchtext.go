package imapd

import (
	"slices"
	"strings"
	"time"

	"buzon/internal/message"
	"buzon/maildir"
)

// What SEARCH finds in the words of a message: decoded from its encodings and charsets, and compared under i;unicode-casemap (RFC 9051 6.4.4, RFC 5051).

// text reads the string of a key, in UTF-8.
func (p *searchReader) text() string {
	s := p.r.AString()
	if p.r.Err() != nil {
		return ""
	}
	s, ok := p.charset.decode(s)
	if !ok {
		p.r.Fail("a string that is not in the charset")
	}
	return s
}

// header matches a header field that contains the string; an empty string asks only whether there is the field.
func (p *searchReader) header(field string) searchKey {
	needle := message.Fold(p.text())
	addresses := slices.ContainsFunc(addressFields, func(f string) bool { return strings.EqualFold(f, field) })
	return searchKey{costHeader, func(c *candidate) (bool, error) {
		h, err := c.header()
		if err != nil {
			return false, err
		}
		for _, v := range h.Values(field) {
			if needle == "" || strings.Contains(message.Fold(message.DecodeHeader(v)), needle) || addresses && addressContains(v, needle) {
				return true, nil
			}
		}
		return false, nil
	}}
}

// addressContains looks into the addresses as ENVELOPE has them (RFC 3501 6.4.4: "in the envelope structure's FROM field"), where comments,
// quotes and spaces do not stand between their parts. Only with these do the addresses say anything that the field itself does not.
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

func (c *candidate) header() (*message.Header, error) {
	if c.at < 0 {
		return nil, maildir.ErrExpunged
	}
	raw, err := c.content.rawHeader()
	if err != nil {
		return nil, err
	}
	return message.ParseHeader(raw), nil
}

// sentDate is the day of the Date field, in the sender's zone.
func sentDate(c *candidate) (time.Time, bool, error) {
	h, err := c.header()
	if err != nil {
		return time.Time{}, false, err
	}
	t, ok := message.Date(h.Get("Date"))
	if !ok { // RFC 5256 2.2 takes INTERNALDATE then
		return internalDate(c)
	}
	return t, true, nil
}

// body matches the text of the message's parts.
func (p *searchReader) body() searchKey {
	needle := p.text()
	return searchKey{costBody, func(c *candidate) (bool, error) {
		if c.at < 0 {
			return false, maildir.ErrExpunged
		}
		if needle == "" {
			return true, nil
		}
		root, err := c.content.structure()
		if err != nil {
			return false, err
		}
		return c.partContains(root, needle, false)
	}}
}

// anywhere is TEXT: the header, the headers of the parts, and the body.
func (p *searchReader) anywhere() searchKey {
	needle := p.text()
	folded := message.Fold(needle)
	return searchKey{costBody, func(c *candidate) (bool, error) {
		h, err := c.header()
		if err != nil {
			return false, err
		}
		if headerContains(h, folded) {
			return true, nil
		}
		root, err := c.content.structure()
		if err != nil {
			return false, err
		}
		return c.partContains(root, needle, true)
	}}
}

func headerContains(h *message.Header, folded string) bool {
	for f := range h.Fields() {
		if strings.Contains(message.Fold(f.Name+": "+message.DecodeHeader(f.Value())), folded) {
			return true
		}
	}
	return folded == ""
}

// partContains looks for the needle in the text parts below p; in messages within the message their headers are text as well.
func (c *candidate) partContains(p *message.Part, needle string, headers bool) (bool, error) {
	for _, child := range p.Children {
		if headers || p.IsMessage() {
			h, err := c.readHeader(child)
			if err != nil {
				return false, err
			}
			if headerContains(h, message.Fold(needle)) {
				return true, nil
			}
		}
		if ok, err := c.partContains(child, needle, headers); ok || err != nil {
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
	return message.Contains(message.DecodeText(r, p.Encoding, p.Charset()), needle)
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
