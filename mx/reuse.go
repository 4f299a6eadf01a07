package mx

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// errStale is the failure of a session that has waited for too long: nothing
// that its host said, or did not say, is about the message.
var errStale = temporary(4, 2, "The connection was closed in the meantime", errors.New("stale session"))

// reuse delivers in a session that an earlier attempt has left. stale says
// that the host wanted no more of it, and that nothing has happened.
func (a *attempt) reuse(s *session, h hop, addr netip.Addr) (f *failure, stale bool) {
	start := time.Now()
	s.reused, s.waited = true, true
	f = a.deliver(s, h, addr)
	if f == errStale {
		a.c.dismiss(s)
		return nil, true
	}
	a.addresses++
	a.sessions++
	a.release(s, h, addr, f)
	return a.ended(h, addr, s, f, start), false
}

// release ends a session, or keeps it for the next message.
func (a *attempt) release(s *session, h hop, addr netip.Addr, f *failure) {
	if f != nil || !s.welcome {
		a.c.dismiss(s)
		return
	}
	a.c.keep(h.place(addr), s)
}

// warmFirst puts hosts that a session waits for in front of others that are
// preferred as much.
func (a *attempt) warmFirst(hops []hop) []hop {
	for first := 0; first < len(hops); {
		end := first + 1
		for end < len(hops) && hops[end].preference == hops[first].preference {
			end++
		}
		slices.SortStableFunc(hops[first:end], func(x, y hop) int { return a.c.pool.warmth(y.host) - a.c.pool.warmth(x.host) })
		first = end
	}
	return hops
}

// warmAddressFirst does the same for the addresses of a host.
func (a *attempt) warmAddressFirst(h hop, addrs []netip.Addr) []netip.Addr {
	warmth := func(addr netip.Addr) int {
		if a.c.pool.has(h.place(addr)) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(addrs, func(x, y netip.Addr) int { return warmth(y) - warmth(x) })
	return addrs
}
