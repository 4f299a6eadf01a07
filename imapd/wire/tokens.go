package wire

import (
	"math"
	"strings"
	"unicode/utf8"
)

// What a byte may be part of (RFC 9051 section 9).
const (
	inAtom    = 1 << iota // ATOM-CHAR
	inAString             // ASTRING-CHAR: and "]"
	inList                // list-char: and the wildcards
	inTag                 // tag: ASTRING-CHAR without "+"
)

var class = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		switch c {
		case '(', ')', '{', '"', '\\':
		case '%', '*':
			t[c] = inList
		case ']':
			t[c] = inAString | inList | inTag
		case '+':
			t[c] = inAtom | inAString | inList
		default:
			t[c] = inAtom | inAString | inList | inTag
		}
	}
	return t
}()

// IsAtom says whether s can be sent as an atom.
func IsAtom(s string) bool {
	for i := range len(s) {
		if class[s[i]]&inAtom == 0 {
			return false
		}
	}
	return s != ""
}

// run reads a run of bytes of one class; "" and an error if there is none.
func (d *Decoder) run(in uint8, what string) string {
	return d.runFunc(func(c byte) bool { return class[c]&in != 0 }, what)
}

func (d *Decoder) runFunc(ok func(byte) bool, what string) string {
	var short [64]byte
	s := short[:0]
	for c := d.peek(); d.err == nil && ok(c); c = d.peek() {
		s = append(s, c)
		d.take()
	}
	if len(s) == 0 {
		d.Fail("expected " + what)
	}
	if d.err != nil {
		return ""
	}
	return string(s)
}

// Tag reads a command's tag.
func (d *Decoder) Tag() string { return d.run(inTag, "a tag") }

// Atom reads an atom.
func (d *Decoder) Atom() string { return d.run(inAtom, "an atom") }

// Word reads an atom and returns it in upper case.
func (d *Decoder) Word() string { return upper(d.Atom()) }

// Name reads letters, digits, "-", "." and "=" in upper case: a FETCH item or a SEARCH key, which
// may be followed by "[" or "<".
func (d *Decoder) Name() string {
	return upper(d.runFunc(func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '='
	}, "a name"))
}

func upper(s string) string { return strings.ToUpper(s) }

// AString reads an atom (in which "]" is allowed) or a string.
func (d *Decoder) AString() string {
	switch c := d.peek(); {
	case d.err != nil:
		return ""
	case c == '"' || c == '{' || c == '~':
		if c == '~' { // an ASTRING-CHAR, but also the start of a literal8
			return d.run(inAString, "a string")
		}
		return d.String()
	case c >= 0x80 && d.UTF8:
		d.Fail("UTF-8 outside of quotes")
		return ""
	default:
		return d.run(inAString, "a string")
	}
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	switch d.peek() {
	case '"':
		return d.quoted()
	case '{':
		return d.literalString()
	}
	d.Fail("expected a string")
	return ""
}

// NString reads a string, or NIL: then ok is false.
func (d *Decoder) NString() (s string, ok bool) {
	if c := d.peek(); c == '"' || c == '{' {
		return d.String(), d.err == nil
	}
	if d.Word() != "NIL" {
		d.Fail("expected a string or NIL")
	}
	return "", false
}

// quoted reads a quoted string. Bytes above 0x7f are let through for the clients that send raw
// UTF-8 everywhere, if they are UTF-8; RFC 9051 allows it once the client has enabled it.
func (d *Decoder) quoted() string {
	d.Expect('"')
	var short [128]byte
	s := short[:0]
	ascii := true
	for {
		c := d.peek()
		switch {
		case d.err != nil:
			return ""
		case c == '"':
			d.take()
			if !ascii && !utf8.Valid(s) {
				d.Fail("a quoted string that is not UTF-8")
				return ""
			}
			if d.err != nil {
				return ""
			}
			return string(s)
		case c == '\\':
			d.take()
			if c = d.peek(); c != '"' && c != '\\' {
				d.Fail("only \\ and \" can follow \\ in a quoted string")
				return ""
			}
		case c == '\r' || c == '\n' || c == 0:
			d.Fail("unterminated quoted string")
			return ""
		case c >= 0x80:
			ascii = false
		}
		if int64(len(s)) >= d.lim.Literal {
			d.fail(&TooBigError{"quoted string", d.lim.Literal})
			return ""
		}
		s = append(s, c)
		d.take()
	}
}

// Mailbox reads a mailbox name as UTF-8. INBOX is folded to upper case (RFC 9051 5.1).
func (d *Decoder) Mailbox() string {
	return d.mailboxName(d.AString())
}

func (d *Decoder) mailboxName(s string) string {
	if d.err != nil {
		return ""
	}
	name, err := s, error(nil)
	if !d.UTF8 {
		if name, err = DecodeUTF7(s); err != nil && isUTF8Name(s) {
			name, err = s, nil // a client that sends plain UTF-8 without having asked for it
		}
	} else if !utf8.ValidString(s) {
		err = errUTF7
	}
	if err != nil {
		d.Fail("the mailbox name is not well formed")
		return ""
	}
	return FoldInbox(name)
}

func isUTF8Name(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return utf8.ValidString(s) && !strings.Contains(s, "&")
		}
	}
	return false
}

// FoldInbox returns name with a first level of INBOX, in whatever case, in upper case.
func FoldInbox(name string) string {
	if len(name) >= 5 && strings.EqualFold(name[:5], "INBOX") && (len(name) == 5 || name[5] == '/') {
		return "INBOX" + name[5:]
	}
	return name
}

// ListMailbox reads a mailbox pattern with its wildcards, as UTF-8. A pattern that is not well
// formed matches nothing, and is returned as it stands.
func (d *Decoder) ListMailbox() string {
	var s string
	if c := d.peek(); c == '"' || c == '{' {
		s = d.String()
	} else {
		s = d.run(inList, "a mailbox pattern")
	}
	if d.err != nil || d.UTF8 {
		return s
	}
	if name, err := DecodeUTF7(s); err == nil {
		return name
	}
	return s
}

// Number reads a number of 32 bits.
func (d *Decoder) Number() uint32 {
	n := d.digits(math.MaxUint32)
	return uint32(n)
}

// NZNumber reads a number of 32 bits that is not zero.
func (d *Decoder) NZNumber() uint32 {
	n := d.Number()
	if n == 0 {
		d.Fail("expected a number above zero")
	}
	return n
}

// Number64 reads a number of 63 bits (RFC 9051: number64).
func (d *Decoder) Number64() int64 { return int64(d.digits(math.MaxInt64)) }

func (d *Decoder) digits(limit uint64) uint64 {
	var n uint64
	some := false
	for c := d.peek(); d.err == nil && c >= '0' && c <= '9'; c = d.peek() {
		digit := uint64(c - '0')
		if n > (limit-digit)/10 {
			d.Fail("number out of range")
			return 0
		}
		n, some = n*10+digit, true
		d.take()
	}
	if !some {
		d.Fail("expected a number")
	}
	if d.err != nil {
		return 0
	}
	return n
}

// List reads a parenthesised list; item reads one element. An empty list is allowed.
func (d *Decoder) List(item func()) {
	d.Expect('(').Open()
	defer d.Close()
	if d.Is(')') || d.err != nil {
		return
	}
	for {
		if !d.Item() {
			return
		}
		item()
		if d.err != nil || d.Is(')') {
			return
		}
		d.SP()
	}
}

// Open counts one level of nesting, Close takes it back.
func (d *Decoder) Open() {
	if d.depth++; d.depth > d.lim.Depth {
		d.fail(&TooBigError{"nesting", int64(d.lim.Depth)})
	}
}

// Close ends a level that Open began.
func (d *Decoder) Close() { d.depth-- }

// Item counts one element and says whether it may be read.
func (d *Decoder) Item() bool {
	if d.items++; d.items > d.lim.Items {
		d.fail(&TooBigError{"number of list elements", int64(d.lim.Items)})
	}
	return d.err == nil
}

// Flag reads a flag: \Name, or a keyword.
func (d *Decoder) Flag() string {
	if d.Is('\\') {
		return "\\" + d.Atom()
	}
	return d.Atom()
}

// Flags reads a parenthesised list of flags.
func (d *Decoder) Flags() []string {
	var flags []string
	d.List(func() { flags = append(flags, d.Flag()) })
	return flags
}

// HasWord consumes the atom word, in whatever case, if it comes next and ends there. word is in
// upper case and short.
func (d *Decoder) HasWord(word string) bool {
	for i := range len(word) {
		if c := d.PeekAt(i); d.err != nil || c&^0x20 != word[i] {
			return false
		}
	}
	if class[d.PeekAt(len(word))]&inAtom != 0 {
		return false
	}
	for range len(word) {
		d.take()
	}
	return d.err == nil
}
