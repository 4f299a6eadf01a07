package mx

import (
	"math/rand/v2"
	"net"
	"net/netip"
)

// Networks that no mail host of a stranger is in, besides those that netip has
// a word for. Whoever controls a domain's DNS chooses where we connect to: he
// must not reach what only we can reach (RFC 6890).
var unreachable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this network
	netip.MustParsePrefix("100.64.0.0/10"),  // carrier-grade NAT, RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),   // protocol assignments
	netip.MustParsePrefix("198.18.0.0/15"),  // benchmarks, RFC 2544
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved, and broadcast
	netip.MustParsePrefix("::/96"),          // IPv4-compatible, RFC 4291 2.5.5.1
	netip.MustParsePrefix("64:ff9b:1::/48"), // local NAT64, RFC 8215
	netip.MustParsePrefix("100::/64"),       // discard, RFC 6666
	netip.MustParsePrefix("fec0::/10"),      // site-local, RFC 3879
}

// Networks whose addresses hold an IPv4 address, and where in it.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
}

// Public reports whether addr may be dialled because a stranger's DNS says so.
func Public(addr netip.Addr) bool { return public(addr) }

// public is Public.
func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsPrivate() || addr.IsMulticast() ||
		addr.IsLinkLocalUnicast() || addr.IsInterfaceLocalMulticast() {
		return false
	}
	for _, p := range unreachable {
		if p.Contains(addr) {
			return false
		}
	}
	for _, e := range embedding {
		if e.prefix.Contains(addr) {
			raw := addr.As16()
			return public(netip.AddrFrom4([4]byte(raw[e.at : e.at+4])))
		}
	}
	return true
}

// interleave puts addresses into the order in which they are tried: in turn of
// each family, IPv6 first, so that a family that leads nowhere costs one
// time-out and not five; within a family at random, to spread the load.
func interleave(addrs []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	for _, family := range [][]netip.Addr{v4, v6} {
		rand.Shuffle(len(family), func(i, j int) { family[i], family[j] = family[j], family[i] })
	}
	var order []netip.Addr
	for len(v4) > 0 || len(v6) > 0 {
		if len(v6) > 0 {
			order, v6 = append(order, v6[0]), v6[1:]
		}
		if len(v4) > 0 {
			order, v4 = append(order, v4[0]), v4[1:]
		}
	}
	return order
}

// interfaceAddrs are this machine's addresses, loopback apart.
func interfaceAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then only names tell a loop
	}
	var addrs []netip.Addr
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLoopback() {
			addrs = append(addrs, prefix.Addr().Unmap().WithZone(""))
		}
	}
	return addrs
}
