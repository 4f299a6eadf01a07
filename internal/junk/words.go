package junk

import (
	"strconv"
	"strings"
	"unicode"
)

// Words of other lengths, in characters, say little but how long they are.
const (
	shortWord = 3
	longWord  = 20
)

// text takes the words of a text.
func (s *sampler) text(kind, text string) {
	var w wordCutter
	for i := 0; i < len(text); {
		if n := linkLength(text[i:]); n > 0 {
			w.end(s, kind)
			s.link(text[i : i+n])
			i += n
			continue
		}
		end := i + 1
		for end < len(text) && text[end]&0xC0 == 0x80 {
			end++
		}
		for _, r := range text[i:end] {
			w.next(s, kind, r)
		}
		i = end
	}
	w.end(s, kind)
}

// wordCutter cuts a text into words.
type wordCutter struct {
	word    []rune
	lastCJK rune // of a text without spaces: every two characters are a word
}

func (w *wordCutter) next(s *sampler, kind string, r rune) {
	switch {
	case invisible(r):
		s.add(kind, "invisible") // people do not write them inside of words
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai):
		last := w.lastCJK
		w.end(s, kind)
		if last != 0 {
			s.add(kind, string([]rune{last, r}))
		}
		w.lastCJK = r
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r), r == '$', r == '€', r == '£', r == '%', r == '!':
		w.lastCJK = 0
		if len(w.word) <= 200 {
			w.word = append(w.word, unicode.ToLower(r))
		}
	case (r == '\'' || r == '-' || r == '’' || r == '.' || r == ',' || r == '_') && len(w.word) > 0:
		w.word = append(w.word, r) // inside of a word; at its end it is cut off
	default:
		w.end(s, kind)
	}
}

// invisible tells what is put into words so that they are not recognised.
func invisible(r rune) bool {
	return r >= '\u200b' && r <= '\u200f' || r == '\u2060' || r == '\ufeff' || r == '\u00ad'
}

func (w *wordCutter) end(s *sampler, kind string) {
	w.lastCJK = 0
	if len(w.word) == 0 {
		return
	}
	word := strings.TrimRight(string(w.word), "'-’.,_")
	n := len(w.word)
	w.word = w.word[:0]
	switch {
	case word == "" || n < shortWord:
	case n <= longWord:
		s.add(kind, word)
	default:
		s.add(kind, "long "+strconv.Itoa(n/10))
	}
}

// linkLength is how much of text is a link; 0 when it does not begin with one.
func linkLength(text string) int {
	if text[0] != 'h' && text[0] != 'H' && text[0] != 'w' && text[0] != 'W' {
		return 0
	}
	start := 0
	for _, prefix := range []string{"https://", "http://", "www."} {
		if len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			start = len(prefix)
			break
		}
	}
	if start == 0 {
		return 0
	}
	if i := strings.IndexAny(text, " \t\r\n<>\"'`|{}[]()"); i >= 0 {
		return i
	}
	return len(text)
}

// link takes the host that a link leads to.
func (s *sampler) link(link string) {
	link = strings.ToLower(strings.TrimSpace(link))
	scheme, rest, ok := strings.Cut(link, ":")
	switch {
	case ok && (scheme == "http" || scheme == "https"):
		rest = strings.TrimLeft(rest, "/")
	case ok && scheme == "cid":
		s.add("link", "cid")
		return
	case strings.HasPrefix(link, "www."):
		rest = link
	default:
		return
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		s.add("link", "user")
		rest = rest[i+1:]
	}
	host, port, hasPort := strings.Cut(rest, ":")
	if hasPort {
		s.add("link port", port)
	}
	if host != "" && strings.Trim(host, "0123456789.") == "" {
		s.add("link", "number")
	}
	s.domain("link", host)
}
