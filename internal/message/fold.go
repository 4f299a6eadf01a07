package message

import (
	"bytes"
	"encoding/binary"
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
			return string(appendFold(nil, []byte(s)))
		}
	}
	return strings.ToUpper(s)
}

// appendFold appends the folded b. US-ASCII neither decomposes nor combines, so what
// stands between two such characters is folded by itself.
func appendFold(dst, b []byte) []byte {
	for len(b) > 0 {
		n := asciiPrefix(b)
		dst = appendUpper(dst, b[:n])
		b = b[n:]
		n = 0
		for n < len(b) && b[n] >= utf8.RuneSelf {
			n++
		}
		dst = appendFoldWide(dst, b[:n])
		b = b[n:]
	}
	return dst
}

// appendUpper appends the US-ASCII text b in upper case, eight bytes at a time.
func appendUpper(dst, b []byte) []byte {
	const each = 0x0101010101010101
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		// The upper bit of a byte: it is at least "a", and not above "z".
		small := (x + (0x80-'a')*each) &^ (x + (0x80-'z'-1)*each) & (0x80 * each)
		dst = binary.LittleEndian.AppendUint64(dst, x-small>>2)
	}
	for _, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendFoldWide folds a run without US-ASCII. Most are a letter or two of a European
// alphabet, which the table has.
func appendFoldWide(dst, run []byte) []byte {
	start := len(dst)
	for i := 0; i < len(run); {
		r, size := utf8.DecodeRune(run[i:])
		if r >= foldedEnd || foldedLetters[r] == "" {
			return append(dst[:start], foldAny(run)...)
		}
		dst = append(dst, foldedLetters[r]...)
		i += size
	}
	return dst
}

func foldAny(run []byte) string {
	return strings.Map(unicode.ToTitle, norm.NFKD.String(strings.ToValidUTF8(string(run), nulReplacement)))
}

// foldedEnd is behind the Cyrillic letters.
const foldedEnd = 0x530

// foldedLetters has what characters become that do not change the order of marks
// around them; of others, "".
var foldedLetters = func() (t [foldedEnd]string) {
	for r := rune(utf8.RuneSelf); r < foldedEnd; r++ {
		if p := norm.NFKD.PropertiesString(string(r)); p.CCC() == 0 && p.LeadCCC() == 0 {
			t[r] = foldAny([]byte(string(r)))
		}
	}
	return t
}()

// The least and the most that a FoldReader reads in one go: most texts are short.
const (
	minFoldChunk = 4 << 10
	maxFoldChunk = 32 << 10
)

// FoldReader folds texts piece by piece. It keeps its buffers from text to text, so it is
// for one goroutine.
type FoldReader struct {
	r    io.Reader
	in   []byte
	have int // bytes of in that are not folded yet
	out  []byte
	err  error
}

// Reset begins with the UTF-8 text r.
func (f *FoldReader) Reset(r io.Reader) {
	if f.in == nil {
		f.in = make([]byte, minFoldChunk)
	}
	f.r, f.have, f.err = r, 0, nil
}

// Next returns the next piece; all pieces together are Fold of the text. A piece is valid
// until the next call and may be empty. The error is io.EOF with nothing at the end,
// or the reader's.
func (f *FoldReader) Next() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	full := f.have == len(f.in)
	if full && len(f.in) < maxFoldChunk {
		f.in = append(f.in, make([]byte, len(f.in))...)
		full = false
	}
	if !full {
		var n int
		n, f.err = io.ReadAtLeast(f.r, f.in[f.have:], 1)
		f.have += n
	}
	if f.err != nil && f.err != io.EOF {
		return nil, f.err
	}
	cut := f.have
	if f.err == nil {
		cut = foldsAlone(f.in[:f.have])
		if cut == 0 && full {
			cut = lastStart(f.in[:f.have]) // marks without end
		}
	}
	if cut == 0 && f.err != nil {
		return nil, f.err
	}
	f.out = appendFold(f.out[:0], f.in[:cut])
	f.have = copy(f.in, f.in[cut:f.have])
	return f.out, nil
}

// foldsAlone returns how much of b folds as it does whatever follows b: all but the last
// character and its marks, or but the last US-ASCII one, which is quick to find.
func foldsAlone(b []byte) int {
	const near = 64
	for i := len(b) - 1; i >= max(0, len(b)-near); i-- {
		if b[i] < utf8.RuneSelf {
			return i
		}
	}
	return max(norm.NFKD.LastBoundary(b), 0)
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

// Finder looks for one text in many under i;unicode-casemap. It keeps its buffers, so it
// is for one goroutine.
type Finder struct {
	want   []byte // folded
	pieces FoldReader
	folded []byte // what is searched; it keeps the end of what was searched before
}

// NewFinder returns a Finder for needle.
func NewFinder(needle string) *Finder { return &Finder{want: []byte(Fold(needle))} }

// In reports whether the UTF-8 text r holds the needle. It reads little further than the
// first match, and holds little more than the needle in memory.
func (f *Finder) In(r io.Reader) (bool, error) {
	if len(f.want) == 0 {
		return true, nil
	}
	f.folded = f.folded[:0]
	f.pieces.Reset(r)
	for {
		piece, err := f.pieces.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		f.folded = append(f.folded, piece...)
		if bytes.Contains(f.folded, f.want) {
			return true, nil
		}
		if keep := len(f.want) - 1; len(f.folded) > keep {
			f.folded = f.folded[:copy(f.folded, f.folded[len(f.folded)-keep:])]
		}
	}
}

// Contains is NewFinder(needle).In(r).
func Contains(r io.Reader, needle string) (bool, error) { return NewFinder(needle).In(r) }
