// Package message reads Internet messages as they are: RFC 5322 headers, the MIME
// structure of RFC 2045 and what IMAP tells about both (ENVELOPE, BODYSTRUCTURE,
// HEADER.FIELDS, base subject, preview). It also edits headers.
//
// Mail that is broken is still mail: nothing here fails on content. Every function is
// linear in the size of its input and holds to the limits of limits.go. The package
// has no policy and knows no mailbox, account or protocol connection.
package message

import "strings"

// Range is the half-open range [Start, End) of bytes in a message.
type Range struct{ Start, End int64 }

// Len returns the number of bytes in r.
func (r Range) Len() int64 { return r.End - r.Start }

// Param is a parameter of a Content-Type or Content-Disposition field.
type Param struct{ Name, Value string }

// Part is a node in the tree of a message: the message itself, a body part of a
// multipart, or the message inside a message/rfc822 part. Offsets count from the
// start of the whole message.
type Part struct {
	Header Range // with the empty line that ends it, if there is one
	Body   Range // without the line end before the next boundary
	Lines  int64 // line feeds in Body

	Type, Subtype     string // as the sender wrote them; text/plain where nothing was written
	Params            []Param
	ID                string // Content-ID
	Description       string // Content-Description, not decoded
	Encoding          string // Content-Transfer-Encoding; "" where missing, which means 7bit
	MD5               string
	Disposition       string
	DispositionParams []Param
	Language          []string
	Location          string

	// Envelope is set for the message and for each message inside a message/rfc822
	// part, nil for other parts.
	Envelope *Envelope

	// Children holds the body parts of a multipart, and exactly one part, the inner
	// message, for message/rfc822.
	Children []*Part

	kind    kind
	present partBits
}

// kind says what the body of a part is made of.
type kind uint8

const (
	single kind = iota
	multipart
	digest // a multipart whose parts are messages unless they say otherwise
	inner  // message/rfc822
)

// partBits says which fields a part has, even if empty.
type partBits uint8

const (
	hasMIME partBits = 1 << iota // MIME-Version, or Content-Type, or a part of a multipart
	hasType
	hasID
	hasDescription
	hasMD5
	hasDisposition
	hasLocation
)

func (p *Part) has(b partBits) bool { return p.present&b != 0 }

// IsMessage reports whether p is a message/rfc822 part, whose inner message is
// Children[0].
func (p *Part) IsMessage() bool { return p.kind == inner }

// IsMultipart reports whether p is a multipart. One without a usable boundary has no
// Children.
func (p *Part) IsMultipart() bool { return p.kind == multipart || p.kind == digest }

// Param returns the value of a Content-Type parameter; names compare without regard
// to case. The value is not decoded.
func (p *Part) Param(name string) string {
	for _, q := range p.Params {
		if strings.EqualFold(q.Name, name) {
			return q.Value
		}
	}
	return ""
}

// Charset returns the charset parameter of p, or "".
func (p *Part) Charset() string { return p.Param("charset") }

// Find returns the part with the given IMAP part number (RFC 9051 6.4.5.1), or nil
// where there is none. The empty path is p itself. A message that is not a
// multipart has one part, number 1: the message itself.
func (p *Part) Find(path []int) *Part {
	whole := true // p is a message, not yet a part of one
	for i, n := range path {
		if i > 0 && p.IsMessage() {
			p, whole = p.Children[0], true // 2.1 is part 1 of the message that is part 2
		}
		switch {
		case p.IsMultipart():
			if n < 1 || n > len(p.Children) {
				return nil
			}
			p = p.Children[n-1]
		case !whole || n != 1:
			return nil
		}
		whole = false
	}
	return p
}

// isRoot reports whether p is a message rather than a body part.
func (p *Part) isRoot() bool { return p.Envelope != nil }

// Specifier says what of a part is meant, as in BODY[1.2.HEADER].
type Specifier uint8

const (
	Whole Specifier = iota // BODY[], BODY[1.2]
	Head                   // BODY[HEADER], BODY[1.2.HEADER]: of a message/rfc822 part
	Text                   // BODY[TEXT], BODY[1.2.TEXT]: of a message/rfc822 part
	MIME                   // BODY[1.2.MIME]: the part's own header
)

// Section returns the bytes that BODY[path.what] means (RFC 9051 6.4.5.1), and whether
// there is such a section.
func (p *Part) Section(path []int, what Specifier) (Range, bool) {
	q := p.Find(path)
	if q == nil {
		return Range{}, false
	}
	switch what {
	case MIME:
		return q.Header, len(path) > 0
	case Head, Text:
		if len(path) > 0 {
			if !q.IsMessage() {
				return Range{}, false
			}
			q = q.Children[0]
		}
		if what == Head {
			return q.Header, true
		}
		return q.Body, true
	}
	if len(path) == 0 {
		return Range{q.Header.Start, q.Body.End}, true
	}
	return q.Body, true
}
