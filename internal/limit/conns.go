package limit

import (
	"net/netip"
	"sync"
	"time"
)

// ConnsConfig bounds the connections of one service. Zero values mean the
// defaults, negative ones no limit.
type ConnsConfig struct {
	Total      int // open at once; default 500
	PerAddress int // open at once from one /32 or /64; default 50
	PerMinute  int // new ones from one /32 or /64; default 300

	// CountLoopback applies the limits of an address to this machine too. By
	// default only Total does: programs here can do worse than connect.
	CountLoopback bool
	Now           func() time.Time // default time.Now
}

const (
	defaultTotal      = 500 // a small host's memory: 500 sessions are some 30 MB
	defaultPerAddress = 50  // Postfix smtpd_client_connection_count_limit
	defaultPerMinute  = 300 // mox; a large provider opens a few each second
)

// Conns counts open connections. It is safe for concurrent use.
type Conns struct {
	cfg  ConnsConfig
	rate *Rate

	mu    sync.Mutex
	total int
	open  map[netip.Prefix]int
}

// NewConns returns a counter with nothing open.
func NewConns(cfg ConnsConfig) *Conns {
	defaults := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	defaults(&cfg.Total, defaultTotal)
	defaults(&cfg.PerAddress, defaultPerAddress)
	defaults(&cfg.PerMinute, defaultPerMinute)
	c := &Conns{cfg: cfg, open: map[netip.Prefix]int{}}
	if cfg.PerMinute > 0 {
		c.rate = NewRate(cfg.PerMinute, time.Minute, cfg.Now)
	}
	return c
}

// Acquire takes a place for a connection from addr. If ok, release gives the
// place back and must be called once; otherwise release is nil.
func (c *Conns) Acquire(addr netip.Addr) (release func(), ok bool) {
	who := Host(addr)
	exempt := addr.Unmap().IsLoopback() && !c.cfg.CountLoopback

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cfg.Total > 0 && c.total >= c.cfg.Total:
		return nil, false
	case exempt:
	case c.cfg.PerAddress > 0 && c.open[who] >= c.cfg.PerAddress:
		return nil, false
	case c.rate != nil:
		if ok, _ := c.rate.Take(who.String(), 1); !ok {
			return nil, false
		}
	}
	c.total++
	c.open[who]++
	return sync.OnceFunc(func() { c.release(who) }), true
}

func (c *Conns) release(who netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.open[who]--; c.open[who] == 0 {
		delete(c.open, who)
	}
}

// Busy reports whether four fifths of all places are taken, when those who
// only wait should wait less long.
func (c *Conns) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Total > 0 && c.total*5 >= c.cfg.Total*4
}
