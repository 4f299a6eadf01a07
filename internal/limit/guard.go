package limit

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// GuardConfig bounds failed logins. Zero values mean the defaults.
type GuardConfig struct {
	PerMinute int              // failures from one /32 or /64 before it is refused; default 10
	PerDay    int              // the same in a day; default 50
	Now       func() time.Time // default time.Now
}

const (
	defaultFailuresPerMinute = 10
	defaultFailuresPerDay    = 50

	// siteFactor widens the limits for a /24 or /48, where more than one
	// party may live.
	siteFactor = 3

	// rememberedCredentials is how many different failed credentials an
	// address may repeat without it counting again (Dovecot's figure): a
	// telephone with an old password tries it for weeks.
	rememberedCredentials = 10

	day = 24 * time.Hour
	// guardMemory is how long an address without failures is kept.
	guardMemory = day
)

// failureDelays slow down the next login after so many failures in a row.
var failureDelays = [...]time.Duration{0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// Guard slows down and then refuses those who guess passwords, by the address
// that they come from. It never looks at accounts: nobody can lock another
// one out of his own, but only himself. It is safe for concurrent use.
type Guard struct {
	now     func() time.Time
	budgets []budget
	seed    maphash.Seed // of credentials, so that none is kept

	mu    sync.Mutex
	hosts map[netip.Prefix]offender
}

// budget is how often the networks of one size may fail.
type budget struct {
	of   func(netip.Addr) netip.Prefix
	rate *Rate
}

// offender is what is known of a host that failed.
type offender struct {
	inRow       int
	last        time.Time
	credentials []uint64 // newest last
}

// NewGuard returns a Guard that has seen no failure.
func NewGuard(cfg GuardConfig) *Guard {
	if cfg.PerMinute == 0 {
		cfg.PerMinute = defaultFailuresPerMinute
	}
	if cfg.PerDay == 0 {
		cfg.PerDay = defaultFailuresPerDay
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Guard{
		now: cfg.Now,
		budgets: []budget{
			{Host, NewRate(cfg.PerMinute, time.Minute, cfg.Now)},
			{Host, NewRate(cfg.PerDay, day, cfg.Now)},
			{site, NewRate(siteFactor*cfg.PerMinute, time.Minute, cfg.Now)},
			{site, NewRate(siteFactor*cfg.PerDay, day, cfg.Now)},
		},
		seed:  maphash.MakeSeed(),
		hosts: map[netip.Prefix]offender{},
	}
}

// Check is asked before a password is looked at. With refuse the login must
// be answered with a refusal, whatever the password; otherwise the answer
// must not be given before wait has passed.
func (g *Guard) Check(addr netip.Addr) (wait time.Duration, refuse bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	for _, b := range g.budgets {
		if b.rate.Spent(b.of(addr).String()) {
			return 0, true
		}
	}
	o := g.hosts[Host(addr)]
	if now.Sub(o.last) > guardMemory {
		return 0, false
	}
	return failureDelays[min(o.inRow, len(failureDelays)-1)], false
}

// Failed records a login that was refused. credential is the login with its
// password, or whatever was guessed; repeating one that failed lately from
// the same address does not count again.
func (g *Guard) Failed(addr netip.Addr, credential string) {
	sum := maphash.String(g.seed, credential)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	o := g.hosts[Host(addr)]
	if now.Sub(o.last) > guardMemory {
		o = offender{}
	}
	o.last = now
	if !slices.Contains(o.credentials, sum) {
		o.inRow++
		o.credentials = append(o.credentials, sum)
		if len(o.credentials) > rememberedCredentials {
			o.credentials = slices.Delete(o.credentials, 0, 1)
		}
		for _, b := range g.budgets {
			b.rate.Take(b.of(addr).String(), 1)
		}
	}
	forget(g.hosts, func(o offender) bool { return now.Sub(o.last) > guardMemory })
	g.hosts[Host(addr)] = o
}

// Succeeded ends the delays for addr. What it spent of its day stays spent:
// an account of one's own is no licence to guess at others.
func (g *Guard) Succeeded(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.hosts[Host(addr)]; ok {
		o.inRow = 0
		g.hosts[Host(addr)] = o
	}
}
