package sieve

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// modifiers change a value that is set (RFC 5229 4.1), in the order in which
// they apply. Of each row only one may be given.
var modifiers = [][]string{{"lower", "upper"}, {"lowerfirst", "upperfirst"}, {"quotewildcard", "quoteregex"}, {"length"}}

// set compiles the action of RFC 5229 4.
func (c *compiler) set(n node) (step, error) {
	rules := map[string]tagRule{}
	for _, row := range modifiers {
		for _, m := range row {
			rules[m] = tagRule{}
		}
	}
	rules["quoteregex"] = tagRule{extension: "regex"}
	p := c.params(n, rules, 2, 2)
	p.need("variables")
	name, err := variableName(p.text(0))
	if err != nil {
		p.fail(n.line, "%v", err)
	}
	var apply []string
	for _, row := range modifiers {
		if m := p.only(row...); m != "" {
			apply = append(apply, m)
		}
	}
	value := p.text(1)
	return func(r *run) error {
		v := value.value(r)
		for _, m := range apply {
			v = modify(m, v)
		}
		return r.setVariable(name, v)
	}, p.err
}

func modify(modifier, s string) string {
	switch modifier {
	case "lower":
		return strings.ToLower(s)
	case "upper":
		return strings.ToUpper(s)
	case "lowerfirst", "upperfirst":
		_, n := utf8.DecodeRuneInString(s)
		if modifier == "lowerfirst" {
			return strings.ToLower(s[:n]) + s[n:]
		}
		return strings.ToUpper(s[:n]) + s[n:]
	case "quotewildcard":
		return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `\`, `\\`).Replace(s)
	case "quoteregex":
		return regexp.QuoteMeta(s)
	}
	return strconv.Itoa(utf8.RuneCountInString(s))
}

// setVariable keeps what a variable can hold of value; RFC 5229 6 wants it
// cut where a character ends.
func (r *run) setVariable(name, value string) error {
	if _, known := r.variables[name]; !known && len(r.variables) == maxVariables {
		return fmt.Errorf("%w: more than %d variables", ErrLimit, maxVariables)
	}
	if len(value) > maxValue {
		n := maxValue
		for n > 0 && !utf8.RuneStart(value[n]) {
			n--
		}
		value = value[:n]
	}
	r.variables[name] = value
	return r.spend(len(value))
}

// stringTest compiles the test of RFC 5229 5. :count counts the strings that
// are not empty.
func (c *compiler) stringTest(n node) (check, error) {
	p := c.params(n, matching, 2, 2)
	p.need("variables")
	sources, m := p.list(0), p.matcher(1)
	return func(r *run) (bool, error) {
		all := values(r, sources)
		if m.how == "count" {
			all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
		}
		return m.any(r, slices.Values(all))
	}, p.err
}
