package sieve

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	end        kind = iota
	identifier      // text is its name in lower case
	tag             // text is its name in lower case, without the colon
	number
	str
	punctuation // text is one of [ ] { } ( ) , ;
)

type token struct {
	kind   kind
	line   int
	text   string
	number uint64
}

func (t token) is(p string) bool { return t.kind == punctuation && t.text == p }

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end of the script"
	case number:
		return fmt.Sprintf("the number %d", t.number)
	case str:
		return "a string"
	case tag:
		return `":` + t.text + `"`
	}
	return `"` + t.text + `"`
}

func wrong(line int, format string, args ...any) *Error {
	return &Error{Line: line, Text: fmt.Sprintf(format, args...)}
}

// lexer splits a script into tokens (RFC 5228 8.1).
type lexer struct {
	src    []byte
	pos    int
	line   int
	tokens []token
}

func tokenize(src []byte) ([]token, error) {
	if len(src) > MaxScript {
		return nil, wrong(1, "the script is larger than %d bytes", MaxScript)
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	x := &lexer{src: src, line: 1}
	if !utf8.Valid(src) {
		good := 0
		for r, n := utf8.DecodeRune(src); r != utf8.RuneError || n > 1; r, n = utf8.DecodeRune(src[good:]) {
			good += n
		}
		return nil, wrong(1+bytes.Count(src[:good], []byte("\n")), "this is not UTF-8")
	}
	for {
		t, err := x.next()
		if err != nil {
			return nil, err
		}
		if len(x.tokens) == maxTokens {
			return nil, wrong(x.line, "the script is too long")
		}
		x.tokens = append(x.tokens, t)
		if t.kind == end {
			return x.tokens, nil
		}
	}
}

func (x *lexer) next() (token, error) {
	if err := x.space(); err != nil {
		return token{}, err
	}
	t := token{line: x.line}
	if x.pos == len(x.src) {
		return t, nil
	}
	switch c := x.src[x.pos]; {
	case c == '"':
		s, err := x.quoted()
		return token{kind: str, line: t.line, text: s}, err
	case c == ':':
		x.pos++
		t.kind, t.text = tag, strings.ToLower(x.word())
		if t.text == "" {
			return t, wrong(x.line, "a name must follow the colon")
		}
		return t, nil
	case isLetter(c):
		word := x.word()
		if strings.EqualFold(word, "text") && x.pos < len(x.src) && x.src[x.pos] == ':' {
			x.pos++
			s, err := x.multiline()
			return token{kind: str, line: t.line, text: s}, err
		}
		t.kind, t.text = identifier, strings.ToLower(word)
		return t, nil
	case isDigit(c):
		n, err := x.number()
		return token{kind: number, line: t.line, number: n}, err
	case strings.IndexByte("[]{}(),;", c) >= 0:
		x.pos++
		t.kind, t.text = punctuation, string(rune(c))
		return t, nil
	default:
		r, _ := utf8.DecodeRune(x.src[x.pos:])
		return t, wrong(x.line, "the character %q has no meaning here", r)
	}
}

// space passes over white space and comments.
func (x *lexer) space() error {
	for x.pos < len(x.src) {
		switch rest := x.src[x.pos:]; {
		case rest[0] == '\n':
			x.line++
			x.pos++
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r':
			x.pos++
		case rest[0] == '#':
			if n := bytes.IndexByte(rest, '\n'); n >= 0 {
				x.pos += n
			} else {
				x.pos = len(x.src)
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			n := bytes.Index(rest[2:], []byte("*/"))
			if n < 0 {
				return wrong(x.line, "this comment has no end")
			}
			x.line += bytes.Count(rest[:n+4], []byte("\n"))
			x.pos += n + 4
		default:
			return nil
		}
	}
	return nil
}

func (x *lexer) word() string {
	from := x.pos
	for x.pos < len(x.src) && (isLetter(x.src[x.pos]) || x.pos > from && isDigit(x.src[x.pos])) {
		x.pos++
	}
	return string(x.src[from:x.pos])
}

// number reads digits and a quantifier: K, M or G are powers of 1024.
func (x *lexer) number() (uint64, error) {
	var n uint64
	for ; x.pos < len(x.src) && isDigit(x.src[x.pos]); x.pos++ {
		if n = 10*n + uint64(x.src[x.pos]-'0'); n > math.MaxInt64/(1<<30) {
			return 0, wrong(x.line, "this number is too large")
		}
	}
	if x.pos < len(x.src) && isLetter(x.src[x.pos]) {
		shift := map[string]uint{"k": 10, "m": 20, "g": 30}[strings.ToLower(x.word())]
		if shift == 0 {
			return 0, wrong(x.line, "only K, M or G may follow a number")
		}
		n <<= shift
	}
	return n, nil
}

func (x *lexer) quoted() (string, error) {
	var b strings.Builder
	start := x.line
	for i := x.pos + 1; i < len(x.src); i++ {
		switch c := x.src[i]; c {
		case '"':
			x.pos = i + 1
			return b.String(), nil
		case '\\':
			if i++; i == len(x.src) {
				continue
			}
			c = x.src[i]
			fallthrough
		default:
			if c == 0 {
				return "", wrong(x.line, "a string cannot hold NUL")
			}
			if c == '\n' {
				x.line++
			}
			b.WriteByte(c)
		}
	}
	return "", wrong(start, "this string has no end")
}

// multiline reads what follows "text:" up to a line with a dot alone. Lines
// that begin with a dot have it doubled. Lines end with CRLF in the result.
func (x *lexer) multiline() (string, error) {
	start := x.line
	for x.pos < len(x.src) && (x.src[x.pos] == ' ' || x.src[x.pos] == '\t') {
		x.pos++
	}
	first, rest, ok := bytes.Cut(x.src[x.pos:], []byte("\n"))
	if first = bytes.TrimRight(first, "\r"); len(first) > 0 && first[0] != '#' {
		return "", wrong(start, `only a comment may follow "text:" on its line`)
	}
	var b strings.Builder
	for ok {
		x.line++
		var line []byte
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if string(line) == "." {
			// The line end stays, for the line count.
			x.pos = len(x.src) - len(rest)
			if ok {
				x.pos--
			}
			return b.String(), nil
		}
		if len(line) > 0 && line[0] == '.' {
			line = line[1:]
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return "", wrong(x.line, "a string cannot hold NUL")
		}
		b.Write(line)
		b.WriteString("\r\n")
	}
	return "", wrong(start, "this text has no end: a line with a dot alone is missing")
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
