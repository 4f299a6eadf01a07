package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
)

// Codes are answers of a list, from one to another.
type Codes struct{ from, to netip.Addr }

// ParseCodes reads "127.0.0.2" or "127.0.0.4-127.0.0.11".
func ParseCodes(s string) (Codes, error) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	from, errFrom := netip.ParseAddr(strings.TrimSpace(a))
	to, errTo := netip.ParseAddr(strings.TrimSpace(b))
	switch {
	case errFrom != nil || errTo != nil || !loopback.Contains(from) || !loopback.Contains(to) || to.Less(from):
		return Codes{}, fmt.Errorf("%q is no answer of a list: write it like \"127.0.0.2\" or \"127.0.0.4-127.0.0.11\"", s)
	case refusal.Contains(from) || refusal.Contains(to):
		return Codes{}, fmt.Errorf("%q means that the list refuses to answer, and never counts", s)
	}
	return Codes{from, to}, nil
}

func (c Codes) has(a netip.Addr) bool { return !a.Less(c.from) && !c.to.Less(a) }
