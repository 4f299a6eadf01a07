package dns

import (
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // characters without the final dot, RFC 1035 2.3.4
	maxLabel = 63  // RFC 1035 2.3.4
)

// lookupProfile maps what people write to what is registered (RFC 5891 5,
// UTS #46). Underscores are legal in what mail asks for: _dmarc, _25._tcp.
var lookupProfile = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckJoiners(true),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// Name returns the form of a domain name that is asked for and compared: lower
// case, A-labels, no final dot. The error is ErrBadName. The result holds only
// letters, digits, hyphens, underscores and dots.
func Name(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 4*maxName { // U-labels are never this much longer; do not feed IDNA with a megabyte
		return "", ErrBadName
	}
	if !isASCII(s) {
		var err error
		if s, err = lookupProfile.ToASCII(s); err != nil {
			return "", ErrBadName
		}
		s = strings.TrimSuffix(s, ".")
	}
	s = strings.ToLower(s)
	if !sane(s) {
		return "", ErrBadName
	}
	return s, nil
}

// answerName cleans a name out of an answer. Names are foreign bytes: one with
// a space, a NUL, a line break or a dot within a label (the library escapes
// them with a backslash) is not a host of anybody's mail.
func answerName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	return s, sane(s)
}

func sane(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// reverseName is the name whose PTR records name addr, RFC 1035 3.5, RFC 3596 2.5.
func reverseName(addr netip.Addr) (string, error) {
	name, err := mdns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return "", ErrBadName
	}
	return strings.TrimSuffix(name, "."), nil
}
