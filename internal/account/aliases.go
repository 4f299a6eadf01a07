package account

import (
	"fmt"
	"slices"
	"strings"

	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
)

// An alias is another name for one or more addresses. Members in domains that
// are not ours are kept as they are written; the others are folded.
type alias struct {
	members []key
	at      tomlfile.Problem // the alias' place in its file
}

// problem is text with the alias' place in front.
func (a alias) problem(format string, args ...any) string {
	a.at.Text = fmt.Sprintf(format, args...)
	return a.at.Error()
}

// Limits of aliases: more than people need, little enough that one address
// cannot make a hundred thousand copies.
const (
	maxDepth   = 10
	maxMembers = 1000
)

// parseAliases reads the file of a domain's aliases. A domain that is not
// configured has none.
func parseAliases(path, domain string, data []byte, doms domains) (map[key]alias, error) {
	if _, ours := doms[domain]; !ours {
		return nil, nil
	}
	var lists map[string][]string
	file, err := tomlfile.Decode(path, data, &lists)
	if err != nil {
		return nil, err
	}
	aliases := make(map[key]alias, len(lists))
	for written, list := range lists {
		at := []string{written}
		name := fold(written)
		if err := checkAlias(name); err != nil {
			file.Problem(at, "%v", err)
			continue
		}
		k := key(name + "@" + domain)
		if _, twice := aliases[k]; twice {
			file.Problem(at, "the alias is there twice, in capital and small letters")
			continue
		}
		members, err := parseMembers(list, domain, doms)
		if err != nil {
			file.Problem(at, "%v", err)
			continue
		}
		aliases[k] = alias{members, file.At(at, "")}
	}
	return aliases, file.Err()
}

// parseMembers reads the members of an alias; a name without a domain is one
// of the alias' own domain.
func parseMembers(list []string, domain string, doms domains) ([]key, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("an alias needs at least one member; to refuse mail for it remove it")
	}
	if len(list) > maxMembers {
		return nil, fmt.Errorf("%d members are more than the %d that an alias may have", len(list), maxMembers)
	}
	var members []key
	for _, m := range list {
		full := m
		if !strings.Contains(m, "@") {
			full += "@" + domain
		}
		a, err := smtp.ParseAddress(full)
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", m, err)
		}
		k := keyOf(a)
		if _, ours := doms[a.Domain]; !ours {
			if k = key(a.Local + "@" + a.Domain); a.String() != string(k) || strings.HasPrefix(a.Domain, "[") {
				return nil, fmt.Errorf("member %q: mail is forwarded to plain addresses in domains only", m)
			}
		}
		if !slices.Contains(members, k) {
			members = append(members, k)
		}
	}
	return members, nil
}

// checkAlias is checkName, with the plus sign: an alias may stand for one
// sub-address.
func checkAlias(name string) error {
	if err := checkName(strings.ReplaceAll(name, "+", "-")); err != nil {
		return checkName(name)
	}
	return nil
}

// A climb goes down from aliases to accounts and looks at each alias once.
type climb struct {
	s       *snapshot
	heights map[key]int // aliases on top of each other, this one included
	way     []key       // from the first alias to the one looked at
}

// loop returns the way on which an alias comes back to a name that is no
// account, or on which it goes too deep; nil when it does neither.
func (c *climb) loop(member key) []key {
	name := member
	a, ok := c.s.aliases[name]
	if !ok {
		name, _ = c.s.split(member, member.local())
		if a, ok = c.s.aliases[name]; !ok {
			return nil
		}
	}
	if c.heights[name] > 0 {
		if len(c.way)+c.heights[name] > maxDepth {
			return append(slices.Clip(c.way), name)
		}
		return nil
	}
	again := slices.Contains(c.way, name)
	c.way = append(c.way, name)
	if again || len(c.way) > maxDepth {
		if _, account := c.s.accounts[ID(name)]; account && again {
			c.way = c.way[:len(c.way)-1]
			return nil // an alias beside an account of the same name may lead to it
		}
		return c.way
	}
	height := 1
	for _, m := range a.members {
		if m == name {
			continue // the account of the same name is meant
		}
		if way := c.loop(m); way != nil {
			return way
		}
		base, _ := c.s.split(m, m.local())
		height = max(height, 1+c.heights[m], 1+c.heights[base])
	}
	c.heights[name] = height
	c.way = c.way[:len(c.way)-1]
	return nil
}

// arrows writes a way for people.
func arrows(way []key) string {
	var b strings.Builder
	for i, k := range way {
		if i > 0 {
			b.WriteString(" → ")
		}
		b.WriteString(string(k))
	}
	return b.String()
}
