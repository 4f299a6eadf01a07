package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 4.5.3.1.1 to 4.5.3.1.3, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 256 + maxDomain + 2 // a source route may stand before the mailbox
	maxLabel  = 63                  // RFC 1035 2.3.4
)

// ErrAddress is wrapped by every error of ParseAddress and ParsePath.
var ErrAddress = errors.New("malformed address")

// Address is a mailbox address as RFC 5321 4.1.2 and RFC 6531 3.3 mean it.
// Local is unquoted. Domain is lower case and, where it is a name, in its
// A-label form (RFC 5891), or it is an address literal with its brackets.
// The zero Address is the null reverse-path; an Address with a Local and no
// Domain is the domain-less postmaster of RFC 5321 4.5.1.
type Address struct{ Local, Domain string }

// ParseAddress reads a mailbox without angle brackets: `a@b`, `"a b"@c`,
// `a@[192.0.2.1]`. It is strict: no comments, no control characters, no
// octets that are not UTF-8, and the limits of RFC 5321 hold.
func ParseAddress(s string) (Address, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, err
	}
	domain, ok := strings.CutPrefix(rest, "@")
	if !ok {
		return Address{}, fmt.Errorf("%w: no domain", ErrAddress)
	}
	if len(local) > maxLocal {
		return Address{}, fmt.Errorf("%w: local part longer than %d octets", ErrAddress, maxLocal)
	}
	if domain, err = ParseDomain(domain); err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: domain}, nil
}

// ParsePath reads a forward-path or reverse-path with its angle brackets:
// `<a@b>`, `<>`, `<postmaster>`, and `<@relay:a@b>`, whose route is checked
// and dropped (RFC 5321 appendix C).
func ParsePath(s string) (Address, error) {
	inner, ok := strings.CutPrefix(s, "<")
	if ok {
		inner, ok = strings.CutSuffix(inner, ">")
	}
	switch {
	case !ok:
		return Address{}, fmt.Errorf("%w: no angle brackets", ErrAddress)
	case len(s) > maxPath:
		return Address{}, fmt.Errorf("%w: path longer than %d octets", ErrAddress, maxPath)
	case inner == "":
		return Address{}, nil
	case strings.EqualFold(inner, "postmaster"): // RFC 5321 4.1.1.3
		return Address{Local: "postmaster"}, nil
	case inner[0] == '@':
		route, mailbox, found := strings.Cut(inner, ":")
		if !found {
			return Address{}, fmt.Errorf("%w: source route without a colon", ErrAddress)
		}
		for hop := range strings.SplitSeq(route, ",") {
			host, at := strings.CutPrefix(hop, "@")
			if !at {
				return Address{}, fmt.Errorf("%w: source route", ErrAddress)
			}
			if _, err := ParseDomain(host); err != nil {
				return Address{}, err
			}
		}
		inner = mailbox
	}
	return ParseAddress(inner)
}

// String returns the address as it may stand on the wire, quoted where it
// must be, without angle brackets. The null address is "".
func (a Address) String() string {
	local := a.Local
	if !isDotString(local) && a != (Address{}) {
		local = quote(local)
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// Path returns the address in angle brackets, as MAIL and RCPT want it.
func (a Address) Path() string { return "<" + a.String() + ">" }

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// NeedsUTF8 reports whether a can only travel with SMTPUTF8 (RFC 6531): the
// domain is always ASCII here, so the local part decides.
func (a Address) NeedsUTF8() bool {
	return strings.ContainsFunc(a.Local, func(r rune) bool { return r >= utf8.RuneSelf })
}

// Equal compares two addresses: the local part exactly, for only its own
// host may fold it (RFC 5321 2.4), the domain without regard to case.
func (a Address) Equal(b Address) bool {
	return a.Local == b.Local && strings.EqualFold(a.Domain, b.Domain)
}

// cutLocal takes the local part off the front of s and unquotes it.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s[1:])
	}
	at := strings.IndexByte(s, '@')
	if at < 0 {
		return "", "", fmt.Errorf("%w: no @", ErrAddress)
	}
	if !isDotString(s[:at]) {
		return "", "", fmt.Errorf("%w: local part", ErrAddress)
	}
	return s[:at], s[at:], nil
}

// cutQuoted reads a Quoted-string of RFC 5321 4.1.2 after its first quote.
func cutQuoted(s string) (content, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '"' {
			return b.String(), s[i+1:], nil
		}
		if s[i] == '\\' {
			i++ // quoted-pairSMTP: any printable ASCII character may follow
			if i == len(s) || s[i] >= utf8.RuneSelf {
				return "", "", fmt.Errorf("%w: quoted pair", ErrAddress)
			}
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isText(r, n) {
			return "", "", fmt.Errorf("%w: character in the quoted local part", ErrAddress)
		}
		b.WriteString(s[i : i+n])
		i += n
	}
	return "", "", fmt.Errorf("%w: quoted local part without an end", ErrAddress)
}

// isText tells whether a decoded rune may stand in a local part at all. C1
// controls and the line separators would break lines in logs and headers.
func isText(r rune, size int) bool {
	return !(r == utf8.RuneError && size <= 1) && !unicode.IsControl(r) && r != '\u2028' && r != '\u2029'
}

// isDotString reports whether s needs no quotes (RFC 5321 4.1.2 Dot-string,
// RFC 6531 3.3 for what is beyond ASCII).
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i, r := range atom {
			if r < utf8.RuneSelf {
				if !isAtext(byte(r)) {
					return false
				}
				continue
			}
			if _, n := utf8.DecodeRuneInString(atom[i:]); !isText(r, n) {
				return false
			}
		}
	}
	return true
}

func isAtext(c byte) bool {
	return isLetterDigit(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isLetterDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// ParseDomain reads a domain name or an address literal and returns it in
// the form that Address.Domain has.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if !utf8.ValidString(s) || len(s) > 4*maxDomain {
			return "", fmt.Errorf("%w: domain", ErrAddress)
		}
		a, err := newIDNA().ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("%w: domain: %w", ErrAddress, err)
		}
		s = a
	}
	if len(s) > maxDomain {
		return "", fmt.Errorf("%w: domain longer than %d octets", ErrAddress, maxDomain)
	}
	s = strings.ToLower(s)
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%w: domain", ErrAddress)
		}
	}
	return s, nil
}

// newIDNA returns the conversion to A-labels that a look-up wants (RFC 5891
// 5): mapped to lower case, with the bidirectional rule.
func newIDNA() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true))
}

// isLabel follows RFC 5321 4.1.2 sub-domain, and allows the underscore,
// which host names of real senders have.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLetterDigit(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return true
}

// parseLiteral reads an address literal (RFC 5321 4.1.3). General literals
// are refused: no tag but IPv6 was ever registered.
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", fmt.Errorf("%w: address literal", ErrAddress)
	}
	const tag = "ipv6:"
	v6 := len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag)
	if v6 {
		inner = inner[len(tag):]
	}
	ip, err := netip.ParseAddr(inner)
	switch {
	case err != nil || ip.Zone() != "" || v6 == ip.Is4():
		return "", fmt.Errorf("%w: address literal", ErrAddress)
	case v6:
		return "[IPv6:" + ip.String() + "]", nil
	default:
		return "[" + ip.String() + "]", nil
	}
}

// LiteralIP returns the address that a's domain is a literal of.
func (a Address) LiteralIP() (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(a.Domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	inner = strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "IPv6:")
	ip, err := netip.ParseAddr(inner)
	return ip.Unmap(), err == nil
}
