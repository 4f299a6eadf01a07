package message

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold maps s to a form in which equal means equal under i;unicode-casemap (RFC 5051 2):
// decomposed and title-cased. What a ligature decomposes to is title-cased too, so that
// "fine" is found where it is set with one. Invalid UTF-8 becomes U+FFFD.
func Fold(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.Map(unicode.ToTitle, norm.NFKD.String(strings.ToValidUTF8(s, nulReplacement)))
		}
	}
	return strings.ToUpper(s)
}

// foldChunk is how much text Contains looks at in one go.
const foldChunk = 32 << 10

// Contains reports whether the UTF-8 text r holds needle under i;unicode-casemap. It reads
// no further than the first match, and holds little more than the needle in memory.
func Contains(r io.Reader, needle string) (bool, error) {
	want := []byte(Fold(needle))
	if len(want) == 0 {
		return true, nil
	}
	in := make([]byte, foldChunk)
	var have int           // bytes of in that are filled
	var folded, out []byte // folded keeps the end of what was searched
	for {
		n, err := io.ReadAtLeast(r, in[have:], 1)
		have += n
		cut := have
		if err == nil {
			cut = lastStart(in[:have])
		}
		out = appendFold(out[:0], in[:cut])
		have = copy(in, in[cut:have])
		folded = append(folded, out...)
		if bytes.Contains(folded, want) {
			return true, nil
		}
		if keep := len(want) - 1; len(folded) > keep {
			folded = folded[:copy(folded, folded[len(folded)-keep:])]
		}
		switch err {
		case nil:
		case io.EOF:
			return false, nil
		default:
			return false, err
		}
	}
}

// lastStart returns where the last character of b begins that may go on behind b, or
// len(b).
func lastStart(b []byte) int {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

func appendFold(dst, b []byte) []byte {
	start := len(dst)
	dst = append(dst, b...)
	for i := start; i < len(dst); i++ {
		switch c := dst[i]; {
		case c >= utf8.RuneSelf:
			return append(dst[:start], Fold(string(b))...)
		case 'a' <= c && c <= 'z':
			dst[i] = c - ('a' - 'A')
		}
	}
	return dst
}
