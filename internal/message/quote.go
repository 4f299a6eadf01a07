package message

import (
	"strconv"
	"strings"
)

// The functions of this file write IMAP strings (RFC 9051 4.3). They produce a quoted
// string where its grammar allows the text, and a literal otherwise, so that
// no text from a message can leave its place in a response.

// maxEscapes is how many quoted-specials a quoted string may hold before a literal,
// which nobody needs to unescape, is the shorter and the cheaper form.
const maxEscapes = 4

// appendString appends s as it is, but for NUL, which no IMAP string can hold.
func appendString(dst []byte, s string) []byte {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", nulReplacement)
	}
	escapes := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			escapes++
		case c == '\r' || c == '\n' || c >= 0x80:
			return appendLiteral(dst, s)
		}
	}
	if escapes == 0 {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	if escapes > maxEscapes {
		return appendLiteral(dst, s)
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// nulReplacement is U+FFFD.
const nulReplacement = "\uFFFD"

func appendLiteral(dst []byte, s string) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "}\r\n"...)
	return append(dst, s...)
}

// appendLine appends s as a line: a stray CR becomes a space.
func appendLine(dst []byte, s string) []byte {
	if strings.IndexByte(s, '\r') >= 0 {
		s = strings.ReplaceAll(s, "\r", " ")
	}
	return appendString(dst, s)
}

// appendText appends a text for people: each run of white space as one space, and none
// at the ends.
func appendText(dst []byte, s string) []byte {
	if isPlainText(s) {
		return appendString(dst, s)
	}
	return appendString(dst, strings.Join(strings.FieldsFunc(s, isSpace), " "))
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// isPlainText reports whether appendText has nothing to change in s.
func isPlainText(s string) bool {
	space := true // no space may come next
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			if space {
				return false
			}
			space = true
		case '\t', '\r', '\n':
			return false
		default:
			space = false
		}
	}
	return !space || s == ""
}

// appendNString appends NIL where there is no value.
func appendNString(dst []byte, s string, set bool) []byte {
	if !set {
		return append(dst, "NIL"...)
	}
	return appendLine(dst, s)
}
