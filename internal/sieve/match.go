package sieve

import (
	"fmt"
	"iter"
	"maps"
	"math/big"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"buzon/internal/message"
)

// matching are the tags of tests that compare strings: RFC 5228 2.7, the
// relational extension (RFC 5231), and regex.
var matching = map[string]tagRule{
	"comparator": {value: aString},
	"is":         {}, "contains": {}, "matches": {}, "regex": {extension: "regex"},
	"count": {aString, "relational"}, "value": {aString, "relational"},
}

// tagsOf joins tables of tags.
func tagsOf(tables ...map[string]tagRule) map[string]tagRule {
	all := map[string]tagRule{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}

// matcher compares strings of a message with the keys of a test.
type matcher struct {
	how      string // is, contains, matches, regex, count or value
	relation string // for count and value
	fold     func(string) string
	numeric  bool // i;ascii-numeric
	octets   bool // i;octet: a character is an octet
	keys     []text
	regexps  []*expression // of keys without variables
	quiet    bool          // match variables stay as they are (RFC 5173 6)
}

// matcher compiles the match of a test whose keys are argument i.
func (p *params) matcher(i int) *matcher {
	m := &matcher{how: p.only("is", "contains", "matches", "regex", "count", "value"), keys: p.list(i)}
	if m.how == "" {
		m.how = "is"
	}
	comparator := "i;ascii-casemap"
	if p.has("comparator") {
		comparator = p.tags["comparator"].strings[0]
	}
	switch comparator {
	case "i;ascii-casemap":
		m.fold = asciiLower
	case "i;octet":
		m.fold, m.octets = func(s string) string { return s }, true
	case "i;unicode-casemap", "i;ascii-numeric":
		if !p.c.requires["comparator-"+comparator] {
			p.fail(p.node.line, "the comparator %q needs require %q", comparator, "comparator-"+comparator)
		}
		m.fold, m.numeric = message.Fold, comparator == "i;ascii-numeric"
	default:
		p.fail(p.node.line, "there is no comparator %q", comparator)
	}
	if m.numeric && m.how != "is" && m.how != "count" && m.how != "value" {
		p.fail(p.node.line, "the comparator %q cannot be used with \":%s\"", comparator, m.how)
	}
	if m.how == "count" || m.how == "value" {
		m.relation = strings.ToLower(p.tags[m.how].strings[0])
		if _, ok := relations[m.relation]; !ok {
			p.fail(p.node.line, "there is no relation %q: gt, ge, lt, le, eq and ne are", m.relation)
		}
	}
	m.compileRegexps(p)
	return m
}

func (m *matcher) compileRegexps(p *params) {
	m.regexps = make([]*expression, len(m.keys))
	for i, k := range m.keys {
		if k.fixed() && (m.how == "regex" || m.how == "matches") && len(k.constant) > maxPattern {
			p.fail(p.node.line, "a pattern has at most %d bytes", maxPattern)
		}
		if k.fixed() && m.how == "regex" {
			var err error
			if m.regexps[i], err = m.regexp(k.constant); err != nil {
				p.fail(p.node.line, "%v", err)
			}
		}
	}
}

// expression is a compiled key of :regex. Go's take time in proportion to what
// they look at and to their states.
type expression struct {
	*regexp.Regexp
	states int
}

func (m *matcher) regexp(pattern string) (*expression, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%w: a pattern has more than %d bytes", ErrLimit, maxPattern)
	}
	flags := "(?sm)"
	if !m.octets {
		flags = "(?ism)"
	}
	re, err := regexp.Compile(flags + pattern)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression: %w", pattern, err)
	}
	tree, err := syntax.Parse(flags+pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	return &expression{re, len(prog.Inst)}, nil
}

// any reports whether one of the values matches one of the keys; for :count,
// whether their number does.
func (m *matcher) any(r *run, all iter.Seq[string]) (ok bool, err error) {
	n := 0
	for v := range all {
		if n++; m.how == "count" {
			continue
		}
		if ok, err = m.match(r, v); ok || err != nil {
			return ok, err
		}
	}
	if m.how != "count" {
		return false, nil
	}
	return m.relate(r, strconv.Itoa(n), true)
}

// match reports whether value matches one of the keys.
func (m *matcher) match(r *run, value string) (bool, error) {
	if m.how == "value" {
		return m.relate(r, value, m.numeric)
	}
	folded := ""
	if m.how == "is" || m.how == "contains" {
		folded = m.fold(value)
	}
	for i, k := range m.keys {
		key := k.value(r)
		if err := r.spend(len(value) + len(key)); err != nil {
			return false, err
		}
		var ok bool
		var err error
		switch m.how {
		case "is":
			ok = folded == m.fold(key)
			if m.numeric {
				ok = compareNumbers(value, key) == 0
			}
		case "contains":
			ok = strings.Contains(folded, m.fold(key))
		case "matches":
			ok, err = m.glob(r, key, value)
		case "regex":
			ok, err = m.matchRegexp(r, m.regexps[i], key, value)
		}
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (m *matcher) glob(r *run, pattern, value string) (bool, error) {
	if len(pattern) > maxPattern {
		return false, fmt.Errorf("%w: a pattern has more than %d bytes", ErrLimit, maxPattern)
	}
	g := compileGlob(pattern, m.octets, m.fold)
	matched, ok, err := g.match(r, value)
	if ok && !m.quiet {
		r.matched = matched
	}
	return ok, err
}

func (m *matcher) matchRegexp(r *run, re *expression, key, value string) (bool, error) {
	if re == nil {
		var err error
		if re, err = m.regexp(key); err != nil {
			return false, err
		}
	}
	if err := r.spend(len(value) * re.states); err != nil {
		return false, err
	}
	matched := re.FindStringSubmatch(value)
	if matched != nil && !m.quiet {
		r.matched = matched
	}
	return matched != nil, nil
}

// relations are those of RFC 5231 3, by the outcomes of a comparison that
// they allow.
var relations = map[string][]int{"gt": {1}, "ge": {0, 1}, "lt": {-1}, "le": {-1, 0}, "eq": {0}, "ne": {-1, 1}}

// relate compares value with every key.
func (m *matcher) relate(r *run, value string, numeric bool) (bool, error) {
	for _, k := range m.keys {
		key := k.value(r)
		if err := r.spend(len(value) + len(key)); err != nil {
			return false, err
		}
		c := 0
		if numeric {
			c = compareNumbers(value, key)
		} else {
			c = strings.Compare(m.fold(value), m.fold(key))
		}
		for _, allowed := range relations[m.relation] {
			if c == allowed {
				return true, nil
			}
		}
	}
	return false, nil
}

// compareNumbers compares under i;ascii-numeric (RFC 4790 9.1): the digits at
// the start count; what has none is larger than every number.
func compareNumbers(a, b string) int {
	x, y := leadingNumber(a), leadingNumber(b)
	switch {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return x.Cmp(y)
}

func leadingNumber(s string) *big.Int {
	n := 0
	for n < len(s) && n < 100 && isDigit(s[n]) {
		n++
	}
	if n == 0 {
		return nil
	}
	v, _ := new(big.Int).SetString(s[:n], 10)
	return v
}

func asciiLower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}
