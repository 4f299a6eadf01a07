package message

import (
	"strings"
	"testing"
	"testing/iotest"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

func TestContains(t *testing.T) {
	for _, c := range []struct {
		text, needle string
		want         bool
	}{
		{"Hello World", "WORLD", true},
		{"Hello World", "world!", false},
		{"café", "CAFÉ", true},
		{"cafe\u0301", "café", true},
		{"Ǆ", "ǆ", true},
		{"ﬁne", "fine", true},
		{"straße", "STRAßE", true},
		{"ΟΔΟΣ", "οδος", true},
		{"x", "", true},
		{"", "x", false},
		{"", "", true},
		{"Привет", "ПРИВЕТ", true},
	} {
		for _, r := range []*strings.Reader{strings.NewReader(c.text)} {
			if got, err := Contains(r, c.needle); got != c.want || err != nil {
				t.Errorf("Contains(%q, %q) = %t, %v", c.text, c.needle, got, err)
			}
		}
		if got, err := Contains(iotest.OneByteReader(strings.NewReader(c.text)), c.needle); got != c.want || err != nil {
			t.Errorf("Contains(%q, %q) = %t, %v byte by byte", c.text, c.needle, got, err)
		}
	}
	// A match over the end of what is read in one go, at every place.
	f := NewFinder("NEEDLÉX")
	for _, chunk := range []int{minFoldChunk, maxFoldChunk} {
		for n := chunk - 20; n < chunk+5; n++ {
			text := strings.Repeat("é", n/2) + "needlé" + strings.Repeat("x", 100)
			if got, err := f.In(strings.NewReader(text)); !got || err != nil {
				t.Errorf("not found at %d: %v", n, err)
			}
			if got, err := f.In(strings.NewReader("x" + text[:n])); got || err != nil {
				t.Errorf("found what the text before held: %v", err)
			}
		}
	}
}

// FuzzContains compares the search in a stream with that in a string.
func FuzzContains(f *testing.F) {
	f.Add("Hello café", "CAFÉ")
	f.Fuzz(func(t *testing.T, text, needle string) {
		text = strings.ToValidUTF8(text, "?")
		want := strings.Contains(Fold(text), Fold(needle))
		if got, err := Contains(strings.NewReader(text), needle); got != want || err != nil {
			t.Errorf("Contains(%q, %q) = %t, %v, want %t", text, needle, got, err, want)
		}
		if got, err := Contains(iotest.OneByteReader(strings.NewReader(text)), needle); got != want || err != nil {
			t.Errorf("Contains(%q, %q) = %t, %v byte by byte, want %t", text, needle, got, err, want)
		}
		if again := Fold(Fold(needle)); again != Fold(needle) {
			t.Errorf("Fold(%q) = %q, and of that %q", needle, Fold(needle), again)
		}
	})
}

// TestFoldAll folds every character there is twice.
func TestFoldAll(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		once := Fold(string(r))
		if twice := Fold(once); twice != once {
			t.Errorf("Fold(%U) = %+q, and of that %+q", r, once, twice)
		}
		if other := Fold(string(unicode.ToTitle(r))); other != once {
			t.Errorf("Fold(%U) = %+q, and of its title case %+q", r, once, other)
		}
	}
}

// FuzzFold compares folding by pieces with folding the whole.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"Hello café", "e\u0301\u0323 x\u0323\u0301", "ǅ ﬁ Å ΐ \u0344", "\xff\xc3", "日本語 ｶﾞ 각"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.Map(unicode.ToTitle, norm.NFKD.String(strings.ToValidUTF8(s, nulReplacement)))
		if got := Fold(s); got != want {
			t.Errorf("Fold(%q) = %q, want %q", s, got, want)
		}
	})
}
