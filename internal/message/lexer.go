package message

// lexer reads the tokens of RFC 5322 3.2 and RFC 2045 5.1 from the value of a
// header field. It forgives: tokens may hold 8-bit bytes, white space and comments
// may stand almost everywhere. Every method moves forward only, so that
// reading a value is linear whatever it holds, and comments nest without recursion.
type lexer struct {
	s       []byte
	i       int
	comment []byte // text of the last comment passed, without its quoting
}

// state is what is left of the value after a token.
type state int8

const (
	broken state = -1 // the token was not there, or was not ended
	atEnd  state = 0
	more   state = 1
)

// Classes of characters, as bits of charClass.
const (
	atext = 1 << iota // RFC 5322 3.2.3, and all 8-bit bytes
	token             // RFC 2045 5.1, and all 8-bit bytes; includes the dot
)

var charClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 0x80, 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			t[c] = atext | token
		}
	}
	for _, c := range "!#$%&'*+-^_`{|}~" {
		t[c] = atext | token
	}
	for _, c := range "/=?" {
		t[c] = atext
	}
	t['.'] = token
	return t
}()

func (x *lexer) rest() state {
	if x.i < len(x.s) {
		return more
	}
	return atEnd
}

// is reports whether the next byte is c.
func (x *lexer) is(c byte) bool { return x.i < len(x.s) && x.s[x.i] == c }

func (x *lexer) isAtext() bool { return x.i < len(x.s) && charClass[x.s[x.i]]&atext != 0 }

// skip passes white space and comments (CFWS).
func (x *lexer) skip() state {
	for x.i < len(x.s) {
		switch x.s[x.i] {
		case ' ', '\t', '\r', '\n':
			x.i++
		case '(':
			if x.skipComment() == broken {
				return broken
			}
		default:
			return more
		}
	}
	return atEnd
}

// skipComment passes a comment with those inside it. Of one that is not ended, the text
// up to the last backslash counts, as in quoted.
func (x *lexer) skipComment() state {
	x.comment = x.comment[:0]
	depth, sure := 0, 0
	for ; x.i < len(x.s); x.i++ {
		switch x.s[x.i] {
		case '(':
			if depth++; depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				x.i++
				return x.rest()
			}
		case '\\':
			if x.i++; x.i == len(x.s) {
				x.comment = x.comment[:sure]
				return broken
			}
			sure = len(x.comment)
		}
		x.comment = append(x.comment, x.s[x.i])
	}
	x.comment = x.comment[:sure]
	return broken
}

// run appends the bytes of a class that come next, and the white space behind them.
func (x *lexer) run(dst []byte, class uint8) ([]byte, state) {
	start := x.i
	for x.i < len(x.s) && charClass[x.s[x.i]]&class != 0 {
		x.i++
	}
	return append(dst, x.s[start:x.i]...), x.skip()
}

// atom reads one atom.
func (x *lexer) atom(dst []byte) ([]byte, state) {
	if !x.isAtext() {
		return dst, broken
	}
	return x.run(dst, atext)
}

// token reads a MIME token, which may be empty.
func (x *lexer) token(dst []byte) ([]byte, state) { return x.run(dst, token) }

// dotAtom reads atoms joined by dots; white space around the dots is left out
// (RFC 5322 4.4).
func (x *lexer) dotAtom(dst []byte) ([]byte, state) {
	if !x.isAtext() {
		return dst, broken
	}
	for {
		var st state
		if dst, st = x.run(dst, atext); st != more || !x.is('.') {
			return dst, st
		}
		x.i++
		dst = append(dst, '.')
		if x.skip() != more || !x.isAtext() {
			return dst, broken
		}
	}
}

// looseDotAtom reads what mail programs write before an "@": atoms and dots in any
// order, without white space behind a dot.
func (x *lexer) looseDotAtom(dst []byte) ([]byte, state) {
	st := broken
	for {
		for x.is('.') {
			x.i++
			dst = append(dst, '.')
			if st = x.rest(); st == atEnd {
				return dst, atEnd
			}
		}
		if x.is('@') {
			return dst, st
		}
		if dst, st = x.atom(dst); st != more || !x.is('.') {
			return dst, st
		}
	}
}

// quoted reads a quoted string and appends its content. Of one that is not ended, the
// content up to the last backslash counts: a lone quote must not swallow what
// follows.
func (x *lexer) quoted(dst []byte) ([]byte, state) {
	sure := len(dst)
	for x.i++; x.i < len(x.s); x.i++ {
		c := x.s[x.i]
		if c == '"' {
			x.i++
			return dst, x.skip()
		}
		if c == '\\' {
			if x.i++; x.i == len(x.s) {
				break
			}
			sure = len(dst)
			c = x.s[x.i]
		}
		dst = append(dst, c)
	}
	return dst[:sure], broken
}

// phrase reads words; white space between them becomes one space.
func (x *lexer) phrase(dst []byte) ([]byte, state) {
	if x.i == len(x.s) {
		return dst, atEnd
	}
	if x.is('.') {
		return dst, broken
	}
	for {
		var st state
		if x.is('"') {
			dst, st = x.quoted(dst)
		} else {
			dst, st = x.run(dst, atext|token)
		}
		if st != more {
			return dst, st
		}
		if !x.isAtext() && !x.is('"') && !x.is('.') {
			return dst, x.skip()
		}
		dst = append(dst, ' ')
	}
}

// domain reads "@" and what follows: a dot-atom or a domain literal.
func (x *lexer) domain(dst []byte) ([]byte, state) {
	x.i++
	if x.skip() != more {
		return dst, broken
	}
	if !x.is('[') {
		return x.dotAtom(dst)
	}
	for start := x.i; x.i < len(x.s); x.i++ {
		switch x.s[x.i] {
		case '\\':
			if x.i+1 < len(x.s) {
				x.i++
			}
		case ']':
			x.i++
			return append(dst, x.s[start:x.i]...), x.skip()
		}
	}
	return dst, broken
}
