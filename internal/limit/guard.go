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

	// guardMemory is how long an address without failures is kept.
	guardMemory = 24 * time.Hour
)

// failureDelays slow down the next login after so many failures in a row.
var failureDelays = [...]time.Duration{0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// Guard slows down and then refuses those who guess passwords, by the address
// that they come from. It never looks at accounts: nobody can lock another
// one out of his own, but only himself. It is safe for concurrent use.
type Guard struct {
	now              func() time.Time
	minute, day      *budget // of a host
	siteMin, siteDay *budget
	seed             maphash.Seed // of credentials, so that none is kept

	mu    sync.Mutex
	hosts map[netip.Prefix]offender
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
		now:     cfg.Now,
		minute:  newBudget(cfg.PerMinute, time.Minute),
		day:     newBudget(cfg.PerDay, 24*time.Hour),
		siteMin: newBudget(siteFactor*cfg.PerMinute, time.Minute),
		siteDay: newBudget(siteFactor*cfg.PerDay, 24*time.Hour),
		seed:    maphash.MakeSeed(),
		hosts:   map[netip.Prefix]offender{},
	}
}

// Check is asked before a password is looked at. With refuse the login must
// be answered with a refusal, whatever the password; otherwise the answer
// must not be given before wait has passed.
func (g *Guard) Check(addr netip.Addr) (wait time.Duration, refuse bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if g.minute.spent(host(addr), now) || g.day.spent(host(addr), now) ||
		g.siteMin.spent(site(addr), now) || g.siteDay.spent(site(addr), now) {
		return 0, true
	}
	o := g.hosts[host(addr)]
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
	o := g.hosts[host(addr)]
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
		g.minute.spend(host(addr), now)
		g.day.spend(host(addr), now)
		g.siteMin.spend(site(addr), now)
		g.siteDay.spend(site(addr), now)
	}
	forget(g.hosts, func(o offender) bool { return now.Sub(o.last) > guardMemory })
	g.hosts[host(addr)] = o
}

// Succeeded ends the delays for addr. What it spent of its day stays spent:
// an account of one's own is no licence to guess at others.
func (g *Guard) Succeeded(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.hosts[host(addr)]; ok {
		o.inRow = 0
		g.hosts[host(addr)] = o
	}
}

// budget counts failures by network, given back evenly over per. Unlike a
// Rate it is asked without being charged. The caller holds the lock.
type budget struct {
	per, unit time.Duration
	free      map[netip.Prefix]time.Time // when nothing will be owed any more
}

func newBudget(n int, per time.Duration) *budget {
	return &budget{per: per, unit: per / time.Duration(n), free: map[netip.Prefix]time.Time{}}
}

func (b *budget) spent(p netip.Prefix, now time.Time) bool {
	return b.free[p].Sub(now) > b.per-b.unit
}

func (b *budget) spend(p netip.Prefix, now time.Time) {
	forget(b.free, func(t time.Time) bool { return !t.After(now) })
	t := b.free[p]
	if t.Before(now) {
		t = now
	}
	b.free[p] = t.Add(b.unit)
}
