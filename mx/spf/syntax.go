package spf

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxRecord bounds the text of a policy that is looked at, in bytes: what is
// longer was written to be a burden.
const maxRecord = 16 << 10

// isRecord reports that a TXT record is a policy of this version (RFC 7208 4.5).
func isRecord(text string) bool {
	version, _, _ := strings.Cut(text, " ")
	return strings.EqualFold(version, "v=spf1")
}

// valid reports that a policy follows the grammar of RFC 7208 12.
func valid(text string) bool {
	if len(text) > maxRecord {
		return false
	}
	redirects, explanations := 0, 0
	for i, term := range strings.Split(text, " ") {
		if i == 0 || term == "" {
			continue
		}
		name, value, isModifier := cutModifier(term)
		switch {
		case isModifier && strings.EqualFold(name, "redirect"):
			redirects++
			if !domainSpec(value) {
				return false
			}
		case isModifier && strings.EqualFold(name, "exp"):
			explanations++
			if !domainSpec(value) {
				return false
			}
		case isModifier:
			if !macroString(value, false) {
				return false
			}
		default:
			if !directive(term) {
				return false
			}
		}
	}
	return redirects <= 1 && explanations <= 1 // RFC 7208 6
}

// cutModifier takes name "=" off a modifier.
func cutModifier(term string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(term, "=")
	if !ok || name == "" || !letter(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && !digit(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return name, value, true
}

// directive checks [ qualifier ] mechanism.
func directive(term string) bool {
	term = strings.TrimLeft(term[:1], "+-?~") + term[1:]
	name, arg := term, ""
	if i := strings.IndexAny(term, ":/"); i >= 0 {
		name, arg = term[:i], term[i:]
	}
	switch strings.ToLower(name) {
	case "all":
		return arg == ""
	case "include", "exists":
		return strings.HasPrefix(arg, ":") && domainSpec(arg[1:])
	case "a", "mx":
		arg, ok := cutCIDR(arg)
		return ok && (arg == "" || arg[0] == ':' && domainSpec(arg[1:]))
	case "ptr":
		return arg == "" || arg[0] == ':' && domainSpec(arg[1:])
	case "ip4", "ip6":
		return strings.HasPrefix(arg, ":") && network(arg[1:], strings.ToLower(name) == "ip6")
	}
	return false
}

// cutCIDR takes dual-cidr-length off the end of s: "/24", "//64" or "/24//64".
func cutCIDR(s string) (rest string, ok bool) {
	rest = s
	if i := strings.LastIndex(rest, "//"); i >= 0 {
		if !prefixLength(rest[i+2:], 128) {
			return "", false
		}
		rest = rest[:i]
	}
	// A slash within a macro is a delimiter, as in %{l1r/}.
	if i := strings.LastIndexByte(rest, '/'); i >= 0 && i > strings.LastIndexByte(rest, '}') {
		tail := rest[i+1:]
		switch {
		case prefixLength(tail, 32):
			rest = rest[:i]
		case strings.Trim(tail, "0123456789") == "":
			return "", false
		}
	}
	return rest, true
}

// prefixLength checks "0" or digits that do not begin with it.
func prefixLength(s string, limit int) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && int(n) <= limit && (s == "0" || s[0] != '0')
}

func network(s string, six bool) bool {
	bits := 32
	if six {
		bits = 128
	}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		if !prefixLength(s[i+1:], bits) {
			return false
		}
		s = s[:i]
	}
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == "" && ip.Is6() == six
}

// domainSpec checks a macro-string that ends in a top label or a macro.
func domainSpec(s string) bool {
	if s == "" || !macroString(s, true) {
		return false
	}
	s = strings.TrimSuffix(s, ".")
	if strings.HasSuffix(s, "}") {
		return true // domain-end as a macro-expand
	}
	for _, e := range []string{"%%", "%_", "%-"} {
		if strings.HasSuffix(s, e) {
			return true
		}
	}
	dot := strings.LastIndexByte(s, '.')
	return dot >= 0 && topLabel(s[dot+1:])
}

// topLabel wants letters, digits and inner hyphens, and not only digits.
func topLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	digits := true
	for i := range len(s) {
		switch {
		case letter(s[i]) || s[i] == '-':
			digits = false
		case !digit(s[i]):
			return false
		}
	}
	return !digits
}

// macroString checks the macros of s (RFC 7208 7.1) and that what is between
// them is printable. In a domain the letters c, r and t are not allowed.
func macroString(s string, domain bool) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
		if s[i] != '%' {
			continue
		}
		i++
		switch {
		case i == len(s):
			return false
		case strings.IndexByte("%_-", s[i]) >= 0:
			continue
		case s[i] != '{':
			return false
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 || !macro(s[i+1:i+end], domain) {
			return false
		}
		i += end
	}
	return true
}

// macro checks what stands between the braces.
func macro(s string, domain bool) bool {
	letters := "slodiphv"
	if !domain {
		letters += "crt"
	}
	if s == "" || strings.IndexByte(letters, s[0]|0x20) < 0 {
		return false
	}
	s = s[1:]
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	if n > 0 && (n > 3 || strings.Trim(s[:n], "0") == "") {
		return false
	}
	s = s[n:]
	if s != "" && s[0]|0x20 == 'r' {
		s = s[1:]
	}
	return strings.Trim(s, ".-+,/_=") == ""
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }
