// Package limit keeps strangers within bounds: connections, rates, and
// guesses at passwords. It knows addresses and keys, nothing of protocols.
//
// Whoever is limited is named by the network he speaks from, for an IPv6 host
// has 2^64 addresses of its own. Every table has a bound, so that a flood of
// addresses costs memory only up to it.
package limit

import "net/netip"

// maxKeys bounds each table. An entry is some 100 bytes: 65 536 of them are
// less than a handful of messages in flight.
const maxKeys = 1 << 16

// Host is the network that one party is taken to speak from: /32 and /64.
func Host(a netip.Addr) netip.Prefix { return network(a, 32, 64) }

// site is the network that one organisation is taken to have: /24 and /48.
func site(a netip.Addr) netip.Prefix { return network(a, 24, 48) }

func network(a netip.Addr, v4, v6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := v6
	if a.Is4() {
		bits = v4
	}
	p, _ := a.Prefix(bits) // fails for the zero Addr only, whose Prefix is zero too
	return p
}

// forget makes room in a table that is full: first what expired, then
// whatever the map yields, for losing a stranger's count is better than
// refusing all others or growing without end.
func forget[K comparable, V any](m map[K]V, expired func(V) bool) {
	if len(m) < maxKeys {
		return
	}
	for k, v := range m {
		if expired(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < maxKeys*9/10 {
			return
		}
		delete(m, k)
	}
}
