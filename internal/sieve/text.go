package sieve

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text is a string of a script. Its variables are filled in when it is used.
type text struct {
	constant string
	parts    []textPart // nil where there are no variables
}

// textPart is a literal, a match variable or a named one.
type textPart struct {
	literal string
	name    string // "" for a literal and for match variables
	match   int    // -1 for a literal and for named variables
}

func (t text) fixed() bool { return t.parts == nil }

// value returns the text with its variables filled in.
func (t text) value(r *run) string {
	if t.fixed() {
		return t.constant
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.name != "":
			b.WriteString(r.variables[p.name])
		case p.match < 0:
			b.WriteString(p.literal)
		case p.match < len(r.matched):
			b.WriteString(r.matched[p.match])
		}
	}
	return b.String()
}

func values(r *run, texts []text) []string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = t.value(r)
	}
	return list
}

var (
	encodedChar = regexp.MustCompile(`(?i)\$\{(hex|unicode):[ \t\r\n]*([0-9a-f]+(?:[ \t\r\n]+[0-9a-f]+)*)[ \t\r\n]*\}`)
	variableRef = regexp.MustCompile(`(?i)\$\{(?:([0-9]+)|([a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*))\}`)
)

// text compiles a string: first what encoded-character means (RFC 5228
// 2.4.2.4), then variables (RFC 5229 3).
func (c *compiler) text(s string) (text, error) {
	if c.requires["encoded-character"] {
		var bad error
		s = encodedChar.ReplaceAllStringFunc(s, func(ref string) string {
			m := encodedChar.FindStringSubmatch(ref)
			decoded, ok, err := decodeChars(strings.EqualFold(m[1], "hex"), strings.Fields(m[2]))
			if err != nil {
				bad = fmt.Errorf("%s: %w", ref, err)
			}
			if !ok {
				return ref
			}
			return decoded
		})
		if bad != nil {
			return text{}, bad
		}
	}
	if !c.requires["variables"] {
		return text{constant: s}, nil
	}
	var parts []textPart
	from := 0
	for _, m := range variableRef.FindAllStringSubmatchIndex(s, -1) {
		p := textPart{match: -1}
		if m[2] >= 0 {
			n, err := strconv.Atoi(s[m[2]:m[3]])
			if err != nil || n > maxVariables {
				return text{}, fmt.Errorf("%s: there is no such match variable", s[m[0]:m[1]])
			}
			p.match = n
		} else {
			p.name = strings.ToLower(s[m[4]:m[5]])
			if strings.Contains(p.name, ".") {
				return text{}, fmt.Errorf("%s: no extension has such variables", s[m[0]:m[1]])
			}
		}
		parts = append(parts, textPart{literal: s[from:m[0]], match: -1}, p)
		from = m[1]
	}
	if parts == nil {
		return text{constant: s}, nil
	}
	return text{parts: append(parts, textPart{literal: s[from:], match: -1})}, nil
}

// decodeChars decodes octets or code points. ok is false where the words are
// not of the form that is replaced.
func decodeChars(octets bool, words []string) (decoded string, ok bool, err error) {
	var b strings.Builder
	for _, w := range words {
		n, err := strconv.ParseUint(w, 16, 32)
		switch {
		case octets && len(w) > 2:
			return "", false, nil
		case octets:
			b.WriteByte(byte(n))
		case err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)):
			return "", false, errors.New("there is no such character")
		default:
			b.WriteRune(rune(n))
		}
	}
	return b.String(), true, nil
}

// variableName checks the name of a variable that is to be set.
func variableName(t text) (string, error) {
	name := strings.ToLower(t.constant)
	switch {
	case !t.fixed():
		return "", errors.New("the name of a variable cannot hold variables")
	case len(name) > maxName:
		return "", fmt.Errorf("the name of a variable has at most %d characters", maxName)
	case strings.Contains(name, "."):
		return "", errors.New("no extension has variables that can be set")
	case name == "" || !isLetter(name[0]) || strings.ContainsFunc(name, func(c rune) bool { return c > 'z' || !isLetter(byte(c)) && !isDigit(byte(c)) }):
		return "", fmt.Errorf("%q cannot be the name of a variable", name)
	}
	return name, nil
}
