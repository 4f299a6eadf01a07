// Package dns asks the domain name system what mail needs to know: MX, address,
// TXT, PTR, CNAME and TLSA records, through a recursive resolver. It knows
// nothing of SMTP, and hides the DNS library that it is made of.
//
// The difference that matters to its callers is between an answer and none:
// only "no such domain" and "no such record" are final (NotFound), everything
// else is trouble that passes.
package dns

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// Config says whom to ask. The zero Config asks the system's resolvers.
type Config struct {
	// Servers are recursive resolvers as "address" or "address:port", asked in
	// this order. None: those of ResolvConf, which is read again when it changes.
	Servers []string
	// ResolvConf is /etc/resolv.conf when empty.
	ResolvConf string
	// Trusted says that the way to Servers is safe, so that their AD bit may be
	// believed. Resolvers on a loopback address are trusted in any case.
	Trusted bool
	// Timeout is the wait for one server's answer, 3 s when zero. Every server
	// is tried twice, within at most five such times in all.
	Timeout time.Duration
	// CacheEntries bounds the number of cached answers: 10 000 when zero, no
	// cache when negative.
	CacheEntries int

	Now func() time.Time // time.Now when nil
	Log *slog.Logger     // nothing is logged when nil
}

// A Client asks and remembers. It is safe for concurrent use; questions that
// are asked at once by many go out once.
type Client struct {
	servers  *servers
	exchange exchanger // the network, or a test's script
	timeout  time.Duration
	first    atomic.Uint32 // index of the server that answered last
	cache    *cache
	flights  singleflight.Group
	now      func() time.Time
	log      *slog.Logger
}

// New returns a Client. It opens no connection; the error is about a server's
// address that cannot be one.
func New(cfg Config) (*Client, error) {
	c := &Client{timeout: cfg.Timeout, now: cfg.Now, log: cfg.Log, exchange: exchangeNetwork}
	if c.timeout <= 0 {
		c.timeout = 3 * time.Second
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if cfg.CacheEntries == 0 {
		cfg.CacheEntries = 10_000
	}
	c.cache = newCache(cfg.CacheEntries, c.now)
	var err error
	c.servers, err = newServers(cfg, c.now, c.log)
	return c, err
}

// Answer says what is known about an answer besides its records. It is also
// filled in with a final error: that a name has no TLSA records can be signed.
type Answer struct {
	// Authentic is the AD bit of a trusted resolver: DNSSEC vouches for every
	// name and record on the way, or for their absence. RFC 4035 4.9.3.
	Authentic bool
	// TTL is how much longer the answer may be kept.
	TTL time.Duration
	// Canonical is the name at the end of the CNAME chain: the name asked for
	// when there is none.
	Canonical string
}

// lookup is one question through the cache. The records are all of the type
// asked for and stand at the end of the CNAME chain; they are shared with the
// cache and must not be changed.
func (c *Client) lookup(ctx context.Context, name string, qtype uint16) ([]mdns.RR, Answer, error) {
	ascii, err := Name(name)
	if err != nil {
		return nil, Answer{}, &Error{Name: fmt.Sprintf("%.80q", name), Type: mdns.TypeToString[qtype], Err: err}
	}
	q := question{name: ascii, qtype: qtype}
	out, ok := c.cache.get(q)
	switch {
	case ok:
	case onlyMemory(ctx):
		return nil, Answer{}, q.fail(errNotInMemory)
	default:
		flight := c.flights.DoChan(q.String(), func() (any, error) { return c.resolve(q), nil })
		select {
		case r := <-flight:
			out = r.Val.(*outcome)
		case <-ctx.Done(): // the flight goes on for the others, and for the cache
			return nil, Answer{}, q.fail(context.Cause(ctx))
		}
	}
	a := Answer{Authentic: out.authentic, Canonical: out.canonical, TTL: max(0, out.expires.Sub(c.now()))}
	if out.err != nil {
		return nil, a, q.fail(out.err)
	}
	return out.records, a, nil
}

// question is what the cache and the flights are keyed by.
type question struct {
	name  string // as Name returns it
	qtype uint16
}

func (q question) String() string       { return mdns.TypeToString[q.qtype] + " " + q.name }
func (q question) fail(err error) error { return &Error{q.name, mdns.TypeToString[q.qtype], err} }
