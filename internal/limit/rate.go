package limit

import (
	"sync"
	"time"
)

// Rate allows each key n units in any stretch of time, given back evenly: a
// token bucket that starts full. It is safe for concurrent use.
type Rate struct {
	per  time.Duration // to fill an empty bucket
	unit time.Duration // to gain one unit
	now  func() time.Time

	mu sync.Mutex
	// full holds when a key's bucket will be full again. What is missing in it
	// is the time until then, divided by unit.
	full map[string]time.Time
}

// NewRate returns a Rate of n units per key in the time per. now is the
// clock, nil for time.Now.
func NewRate(n int, per time.Duration, now func() time.Time) *Rate {
	if now == nil {
		now = time.Now
	}
	return &Rate{per: per, unit: per / time.Duration(n), now: now, full: map[string]time.Time{}}
}

// Take takes n units from key's bucket. When they are not there it takes
// none and returns how long until they are.
func (r *Rate) Take(key string, n int) (ok bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	full := r.full[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(time.Duration(n) * r.unit)
	if wait := full.Sub(now) - r.per; wait > 0 {
		return false, wait
	}
	forget(r.full, func(t time.Time) bool { return !t.After(now) })
	r.full[key] = full
	return true, 0
}

// Spent reports whether nothing is left in key's bucket.
func (r *Rate) Spent(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full[key].Sub(r.now()) > r.per-r.unit
}
