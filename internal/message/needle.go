package message

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// A Needle is a text that SEARCH looks for: in decoded headers and bodies, compared under
// i;unicode-casemap (RFC 9051 6.4.4, RFC 5051). It may be used by several goroutines.
type Needle struct {
	Text   string // as it was asked for
	Folded string
	ascii  string // in lower case, if it is plain
	word   bool   // of letters and digits, which neither folding nor quoting can part
}

// NewNeedle returns the Needle for a text in UTF-8.
func NewNeedle(text string) *Needle {
	n := &Needle{Text: text, Folded: Fold(text)}
	if isPlain(text) {
		n.ascii = strings.ToLower(text)
		n.word = text != "" && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
	}
	return n
}

// isPlain says whether s is printable US-ASCII without encoded words.
func isPlain[S string | []byte](s S) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
	}
	return true
}

// In says whether the value of a header field holds the text. Most do not need decoding to tell.
func (n *Needle) In(value string) bool {
	if n.ascii != "" && isPlain(value) {
		return containsFold(value, n.ascii)
	}
	return strings.Contains(Fold(DecodeHeader(value)), n.Folded)
}

// Missing says of a whole header that no field of it can hold the text, where that is cheap to
// know: most headers of a mailbox need no closer look.
func (n *Needle) Missing(header []byte) bool {
	return n.word && bytes.IndexByte(header, '\\') < 0 && bytes.IndexByte(header, '(') < 0 &&
		!bytes.Contains(header, encodedWord) && asciiPrefix(header) == len(header) && !containsFold(header, n.ascii)
}

var encodedWord = []byte("=?")

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

// InHeader says whether a field of h, its name or its value, holds the text.
func (n *Needle) InHeader(h *Header) bool {
	for f := range h.Fields() {
		if n.In(f.Name + ": " + f.Value()) {
			return true
		}
	}
	return n.Folded == ""
}

// InField says whether a field of h called name (in any case) holds the text; the empty text asks
// only whether there is one.
func (n *Needle) InField(h *Header, name string) bool {
	addresses := isAddressField(name)
	for _, v := range h.Values(name) {
		if n.Folded == "" || n.In(v) || addresses && n.inAddresses(v) {
			return true
		}
	}
	return false
}

// addressKeys are those whose SEARCH keys speak of addresses.
var addressKeys = []string{"From", "To", "Cc", "Bcc"}

func isAddressField[T []byte | string](name T) bool {
	return slices.ContainsFunc(addressKeys, func(f string) bool { return sameName(name, f) })
}

func (n *Needle) inAddresses(value string) bool {
	return slices.ContainsFunc(foldedAddresses(value), func(a string) bool { return strings.Contains(a, n.Folded) })
}

// foldedAddresses are the addresses as ENVELOPE has them (RFC 3501 6.4.4: "in the envelope
// structure's FROM field"), where comments, quotes and spaces do not stand between their parts.
// Only with these do the addresses say anything that the field itself does not.
func foldedAddresses(value string) (list []string) {
	if !strings.ContainsAny(value, "(\"\\") {
		return nil
	}
	for _, a := range Addresses(value) {
		list = append(list, Fold(DecodeHeader(a.Name)+" <"+a.Mailbox+"@"+a.Host+">"))
	}
	return list
}

// EachFolded calls do for every folded text that a Needle is compared with in h: a text that a
// Needle is found in by InHeader or InField is part of one of them. A text is valid during the call
// only.
func (h *Header) EachFolded(do func(text []byte)) {
	var buf []byte
	for _, s := range h.fields {
		raw := h.raw[s.start:s.end]
		buf = append(append(buf[:0], raw[:s.name]...), ": "...)
		buf = appendUnfolded(buf, raw[s.value:])
		if isPlain(buf) {
			do(appendUpper(buf[:0], buf))
		} else {
			do([]byte(Fold(DecodeHeader(string(buf)))))
			// What stands before a value can change how it is decoded.
			do([]byte(Fold(string(buf[:s.name+len(": ")]))))
			do([]byte(Fold(DecodeHeader(string(buf[s.name+len(": "):])))))
		}
		if isAddressField(raw[:s.name]) {
			for _, a := range foldedAddresses(string(buf[s.name+len(": "):])) {
				do([]byte(a))
			}
		}
	}
}
