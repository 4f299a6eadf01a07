package imapd

import "strings"

// A pattern is a mailbox name with wildcards (RFC 9051 6.3.9): "*" matches anything, "%" anything
// without "/".
type pattern string

// newPattern joins reference and pattern, as RFC 9051 6.3.9.1 has it, and folds what matches the
// same.
func newPattern(reference, mailbox string) pattern {
	p := reference + mailbox
	if rest, absolute := strings.CutPrefix(mailbox, "/"); absolute {
		p = rest
	}
	var b strings.Builder
	wild := byte(0)
	for i := range len(p) {
		c := p[i]
		if c != '*' && c != '%' {
			if wild != 0 {
				b.WriteByte(wild)
				wild = 0
			}
			b.WriteByte(c)
		} else if wild == 0 || c == '*' { // runs of wildcards are one: "*" if there is one among them
			wild = c
		}
	}
	if wild != 0 {
		b.WriteByte(wild)
	}
	return pattern(b.String())
}

// match runs in time proportional to the product of the lengths, whatever the pattern. INBOX is
// matched in any case (RFC 9051 5.1).
func (p pattern) match(name string) bool {
	switch {
	case name == "INBOX":
		p = pattern(strings.ToUpper(string(p)))
	case strings.HasPrefix(name, "INBOX/") && len(p) > 5 && strings.EqualFold(string(p[:5]), "INBOX"):
		p = "INBOX" + p[5:]
	}
	return glob(string(p), name)
}

func glob(p, name string) bool {
	// at[i]: the first i bytes of the pattern match what was read of the name.
	at := make([]bool, len(p)+1)
	at[0] = true
	skip := func() {
		for i := range len(p) {
			if at[i] && (p[i] == '*' || p[i] == '%') {
				at[i+1] = true
			}
		}
	}
	skip()
	for k := range len(name) {
		c := name[k]
		for i := len(p); i > 0; i-- {
			switch p[i-1] {
			case '*':
				at[i] = at[i] || at[i-1]
			case '%':
				at[i] = c != '/' && (at[i] || at[i-1])
			default:
				at[i] = at[i-1] && p[i-1] == c
			}
		}
		at[0] = false
		skip()
	}
	return at[len(p)]
}

// reachesOthers says whether the pattern can match the name of a mailbox of another account, or one
// above them.
func (p pattern) reachesOthers() bool {
	fixed, _, wild := strings.Cut(strings.ReplaceAll(string(p), "%", "*"), "*")
	return strings.HasPrefix(fixed, othersName) || wild && strings.HasPrefix(othersPrefix, fixed)
}
