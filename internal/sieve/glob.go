package sieve

import (
	"strings"
	"unicode/utf8"
)

// glob is a pattern of :matches (RFC 5228 2.7.1): the runs of characters
// between its asterisks.
type glob struct {
	runs   [][]globChar
	octets bool
	fold   func(string) string
}

// globChar is a character, folded, or "?".
type globChar struct {
	char string
	any  bool
}

func compileGlob(pattern string, octets bool, fold func(string) string) glob {
	g := glob{runs: [][]globChar{nil}, octets: octets, fold: fold}
	for pattern != "" {
		c := g.first(pattern)
		pattern = pattern[len(c):]
		last := len(g.runs) - 1
		switch {
		case c == "*":
			g.runs = append(g.runs, nil)
			continue
		case c == "?":
			g.runs[last] = append(g.runs[last], globChar{any: true})
			continue
		case c == `\` && pattern != "":
			c = g.first(pattern)
			pattern = pattern[len(c):]
		}
		g.runs[last] = append(g.runs[last], globChar{char: fold(c)})
	}
	return g
}

// first is the first character of s.
func (g glob) first(s string) string {
	if g.octets || s == "" {
		return s[:min(1, len(s))]
	}
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// match matches the whole of s and returns the match variables: the whole, and
// what each wildcard stands for. An asterisk stands for as little as it can,
// those on the left first (RFC 5229 3.2).
func (g glob) match(r *run, s string) (matched []string, ok bool, err error) {
	chars := make([]string, 0, len(s))
	for rest := s; rest != ""; {
		c := g.first(rest)
		chars = append(chars, c)
		rest = rest[len(c):]
	}
	folded := make([]string, len(chars))
	for i, c := range chars {
		folded[i] = g.fold(c)
	}
	if err := r.spend(16 * len(chars)); err != nil {
		return nil, false, err
	}
	matched = []string{s}
	at := 0 // in chars
	for i, run := range g.runs {
		from := at
		last := len(chars) - len(run) // where the run can begin at the latest
		switch {
		case i == 0:
			last = min(last, 0)
		case i == len(g.runs)-1:
			at = max(at, last) // it must end where s ends
		}
		found := false
		for ; at <= last; at++ {
			if err := r.spend(1); err != nil {
				return nil, false, err
			}
			n := common(folded[at:], run)
			if err := r.spend(n); err != nil {
				return nil, false, err
			}
			if n == len(run) {
				found = true
				break
			}
		}
		if !found || len(g.runs) == 1 && len(chars) != len(run) {
			return nil, false, nil
		}
		if i > 0 {
			matched = append(matched, strings.Join(chars[from:at], ""))
		}
		for j, c := range run {
			if c.any {
				matched = append(matched, chars[at+j])
			}
		}
		at += len(run)
	}
	return matched, true, nil
}

// common is how many characters at the start of s the run matches.
func common(s []string, run []globChar) int {
	for i, c := range run {
		if !c.any && c.char != s[i] {
			return i
		}
	}
	return len(run)
}
