package mx

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// errDead is wrapped by the failure of an address that was not even tried.
var errDead = errors.New("dead host")

// maxDead bounds how many addresses are remembered as dead; more of them than
// that are found out anew each time.
const maxDead = 10_000

// deadHosts remembers the addresses that did not answer a moment ago. A host
// that takes the mail of a thousand domains is waited for once when it is
// down, and not a thousand times. It is safe for concurrent use.
type deadHosts struct {
	rest time.Duration // for which an address is left alone

	mu    sync.Mutex // guards hosts
	hosts map[netip.AddrPort]deadHost
}

type deadHost struct {
	since time.Time // when it was found dead last
	cause error
}

// check returns nil for an address that may be tried. Whoever is the first to
// ask after the rest may try for all.
func (d *deadHosts) check(a netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.hosts[a]
	if !ok {
		return nil
	}
	ago := time.Since(h.since)
	if ago >= d.rest {
		h.since = h.since.Add(ago)
		d.hosts[a] = h
		return nil
	}
	return fmt.Errorf("not tried, because of what happened %v ago: %w", ago.Round(time.Second), h.cause)
}

// failed notes that nobody answers at an address.
func (d *deadHosts) failed(a netip.AddrPort, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hosts == nil {
		d.hosts = make(map[netip.AddrPort]deadHost)
	}
	if len(d.hosts) >= maxDead {
		for other, h := range d.hosts {
			if time.Since(h.since) >= d.rest {
				delete(d.hosts, other)
			}
		}
	}
	if len(d.hosts) < maxDead {
		d.hosts[a] = deadHost{time.Now(), cause}
	}
}

// answered notes that somebody does.
func (d *deadHosts) answered(a netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.hosts, a)
}

// forget lets every address be tried again.
func (d *deadHosts) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.hosts)
}
