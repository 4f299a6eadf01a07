package sieve

import (
	"fmt"
	"slices"
	"strings"
)

// splitFlags reads flags as scripts write them: several in one string,
// separated by spaces (RFC 5232 2). Names that no mailbox could have are left
// out; each stands once.
func splitFlags(list []string) (flags []string) {
	for _, s := range list {
		flags = addFlags(flags, strings.Fields(s))
	}
	return flags
}

func addFlags(flags, more []string) []string {
	flags = slices.Clone(flags)
	for _, f := range more {
		if validFlag(f) && !hasFlag(flags, f) {
			flags = append(flags, f)
		}
	}
	return flags
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// validFlag reports whether f is a flag that a client may set: an atom, or
// one of the system flags (RFC 9051 9, flag; \Recent is not the client's).
func validFlag(f string) bool {
	if f == "" || len(f) > 200 {
		return false
	}
	if f[0] == '\\' {
		return slices.ContainsFunc([]string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}, func(s string) bool { return strings.EqualFold(s, f) })
	}
	for i := range len(f) {
		if c := f[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// flagVariable returns the variable that holds flags: named by the first of
// two arguments, or the internal one ("").
func (p *params) flagVariable() (name string, rest int) {
	if len(p.args) < 2 {
		return "", 0
	}
	p.need("variables")
	name, err := variableName(p.text(0))
	if err != nil {
		p.fail(p.node.line, "%v", err)
	}
	return name, 1
}

// changeFlags compiles setflag, addflag and removeflag (RFC 5232 3).
func (c *compiler) changeFlags(n node) (step, error) {
	p := c.params(n, nil, 1, 2)
	p.need("imap4flags")
	variable, i := p.flagVariable()
	list := p.list(i)
	return func(r *run) error {
		given := splitFlags(values(r, list))
		flags := r.flagsIn(variable)
		switch n.name {
		case "setflag":
			flags = given
		case "addflag":
			flags = addFlags(flags, given)
		default:
			flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return hasFlag(given, f) })
		}
		if len(flags) > maxFlags {
			return fmt.Errorf("%w: more than %d flags", ErrLimit, maxFlags)
		}
		if variable == "" {
			r.flags = flags
			return nil
		}
		return r.setVariable(variable, strings.Join(flags, " "))
	}, p.err
}

func (r *run) flagsIn(variable string) []string {
	if variable == "" {
		return r.flags
	}
	return splitFlags([]string{r.variables[variable]})
}

// hasFlag compiles the test of RFC 5232 4: each flag is a string to match.
func (c *compiler) hasFlag(n node) (check, error) {
	p := c.params(n, matching, 1, 2)
	p.need("imap4flags")
	var variables []string
	if len(p.args) == 2 {
		p.need("variables")
		for _, t := range p.list(0) {
			name, err := variableName(t)
			if err != nil {
				p.fail(n.line, "%v", err)
			}
			variables = append(variables, name)
		}
	} else {
		variables = []string{""}
	}
	m := p.matcher(len(p.args) - 1)
	for i, k := range m.keys {
		if k.fixed() && m.how == "is" {
			// "a b" asks for either.
			for j, f := range strings.Fields(k.constant) {
				if j == 0 {
					m.keys[i] = text{constant: f}
				} else {
					m.keys, m.regexps = append(m.keys, text{constant: f}), append(m.regexps, nil)
				}
			}
		}
	}
	return func(r *run) (bool, error) {
		return m.any(r, func(yield func(string) bool) {
			for _, v := range variables {
				for _, f := range r.flagsIn(v) {
					if !yield(f) {
						return
					}
				}
			}
		})
	}, p.err
}
