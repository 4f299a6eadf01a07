package limit

import (
	"net/netip"
	"sync"
	"time"
)

// knownFor is how long good conduct is remembered.
const knownFor = 24 * time.Hour

// Known remembers addresses that have shown good conduct. The zero value is
// ready, uses time.Now, and is safe for concurrent use.
type Known struct {
	Now func() time.Time // default time.Now

	mu    sync.Mutex
	until map[netip.Prefix]time.Time
}

// Remember keeps addr for a day.
func (k *Known) Remember(addr netip.Addr) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.until == nil {
		k.until = map[netip.Prefix]time.Time{}
	}
	forget(k.until, func(t time.Time) bool { return t.Before(now) })
	k.until[Host(addr)] = now.Add(knownFor)
}

// Has reports whether addr was remembered within a day.
func (k *Known) Has(addr netip.Addr) bool {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.until[Host(addr)].After(now)
}

func (k *Known) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}
