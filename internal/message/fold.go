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

// Finder looks for one text in many under i;unicode-casemap. It keeps its buffers, so it
// is for one goroutine.
type Finder struct {
	want   []byte // folded
	in     []byte // what is read in one go
	folded []byte // what is searched; it keeps the end of what was searched before
	out    []byte
}

// The least and the most that a Finder reads in one go: most texts are short.
const (
	minFinderChunk = 4 << 10
	maxFinderChunk = 32 << 10
)

// NewFinder returns a Finder for needle.
func NewFinder(needle string) *Finder { return &Finder{want: []byte(Fold(needle))} }

// In reports whether the UTF-8 text r holds the needle. It reads little further than the
// first match, and holds little more than the needle in memory.
func (f *Finder) In(r io.Reader) (bool, error) {
	if len(f.want) == 0 {
		return true, nil
	}
	if f.in == nil {
		f.in = make([]byte, minFinderChunk)
	}
	f.folded = f.folded[:0]
	have := 0 // bytes of in that are filled
	for {
		n, err := io.ReadAtLeast(r, f.in[have:], 1)
		have += n
		cut := have
		if err == nil {
			cut = lastStart(f.in[:have])
		}
		f.out = appendFold(f.out[:0], f.in[:cut])
		full := have == len(f.in)
		have = copy(f.in, f.in[cut:have])
		f.folded = append(f.folded, f.out...)
		if bytes.Contains(f.folded, f.want) {
			return true, nil
		}
		if keep := len(f.want) - 1; len(f.folded) > keep {
			f.folded = f.folded[:copy(f.folded, f.folded[len(f.folded)-keep:])]
		}
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		case full && len(f.in) < maxFinderChunk:
			f.in = append(f.in, make([]byte, len(f.in))...)
		}
	}
}

// Contains is NewFinder(needle).In(r).
func Contains(r io.Reader, needle string) (bool, error) { return NewFinder(needle).In(r) }

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
