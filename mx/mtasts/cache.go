package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"buzon/internal/durable"
	"buzon/mx/dns"
)

const (
	maxDomains    = 20_000          // whose policies are kept
	retryFetch    = 5 * time.Minute // after a failure, RFC 8461 3.3
	refreshAge    = 24 * time.Hour  // RFC 8461 10.2: so that a policy is not lost by being blocked for a while
	refreshPeriod = time.Hour
	timeFormat    = time.RFC3339
)

// A Resolver knows the domain name system; *dns.Client is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Answer, error)
}

// Config is what a Cache needs. Dir and Resolver must be given.
type Config struct {
	Dir      string // holds a file for each domain; made where it does not exist
	Resolver Resolver
	// Allowed reports whether an address may be fetched from, nil: any. The
	// domain's owner chooses it.
	Allowed func(netip.Addr) bool
	RootCAs *x509.CertPool // vouch for policy hosts: the system's when nil
	// Dial connects to "address:port" over "tcp": net.Dialer's when nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nothing is logged when nil
}

// A Cache has the policies of domains, on the disk and in memory. It is safe
// for concurrent use.
type Cache struct {
	cfg     Config
	dir     durable.Dir
	flights singleflight.Group

	mu     sync.Mutex // guards what follows
	known  map[string]kept
	failed map[string]failure // by domain
}

// kept is a policy that was fetched.
type kept struct {
	id      string
	fetched time.Time
	policy  Policy
}

func (k kept) expires() time.Time { return k.fetched.Add(k.policy.MaxAge) }

// failure is a fetch that came to nothing.
type failure struct {
	id  string
	at  time.Time
	err error
}

// Open reads the policies that are kept at cfg.Dir. A file that is damaged is
// removed and logged: its policy is fetched again.
func Open(cfg Config) (*Cache, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make policy cache: %w", err)
	}
	dir, err := durable.OpenDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open policy cache: %w", err)
	}
	c := &Cache{cfg: cfg, dir: dir, known: make(map[string]kept), failed: make(map[string]failure)}
	if err := c.load(); err != nil {
		dir.Close()
		return nil, fmt.Errorf("read policy cache: %w", err)
	}
	return c, nil
}

// Close gives the directory back.
func (c *Cache) Close() error { return c.dir.Close() }

func (c *Cache) load() error {
	var names []string
	err := c.dir.Scan(func(e durable.Entry) error {
		names = append(names, string(e.Name))
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		k, err := c.read(name)
		switch {
		case err != nil:
			c.cfg.Log.Warn("kept policy is damaged, and removed", "domain", name, "err", err)
			fallthrough
		case c.cfg.Now().After(k.expires()):
			if err := c.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.cfg.Log.Warn("kept policy stays", "domain", name, "err", err)
			}
		default:
			c.known[name] = k
		}
	}
	return nil
}

// A policy is kept in a file with the domain's name:
//
//	buzon-mta-sts 1
//	id 20260101T000000
//	fetched 2026-11-22T03:17:18Z
//
//	version: STSv1
//	…
const magic = "buzon-mta-sts 1"

func (k kept) format() []byte {
	return fmt.Appendf(nil, "%s\nid %s\nfetched %s\n\n%s", magic, k.id, k.fetched.UTC().Format(timeFormat), k.policy)
}

func parseKept(text string) (k kept, err error) {
	head, policy, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) != 3 || lines[0] != magic {
		return k, fmt.Errorf("%w: not a policy file", ErrInvalid)
	}
	k.id = strings.TrimPrefix(lines[1], "id ")
	if k.fetched, err = time.Parse(timeFormat, strings.TrimPrefix(lines[2], "fetched ")); err != nil {
		return k, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	k.policy, err = Parse([]byte(policy))
	return k, err
}

func (c *Cache) read(name string) (kept, error) {
	if domain, err := dns.Name(name); err != nil || domain != name {
		return kept{}, fmt.Errorf("%w: file name", ErrInvalid)
	}
	f, err := c.dir.Open(name)
	if err != nil {
		return kept{}, err
	}
	defer f.Close()
	buf := make([]byte, maxPolicy+1024)
	n, err := f.ReadAt(buf, 0)
	if n == 0 {
		return kept{}, err
	}
	return parseKept(string(buf[:n]))
}

// Policy returns the policy of a domain, and fetches it where it is not known
// or the domain's record says that there is a new one. ok is false where there
// is none. err is trouble on the way to it, for a report; a policy that is
// known is in force until it expires, whatever somebody does to its record or
// its host (RFC 8461 5.1).
func (c *Cache) Policy(ctx context.Context, domain string) (p Policy, ok bool, err error) {
	domain, err = dns.Name(domain)
	if err != nil {
		return Policy{}, false, nil
	}
	k, have := c.keptFor(domain)
	texts, _, err := c.cfg.Resolver.TXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return k.policy, have, nil
	}
	id, found, err := parseRecord(texts)
	if !found || have && k.id == id {
		return k.policy, have, err
	}
	fresh, err := c.fetchOnce(ctx, domain, id)
	if err != nil {
		return k.policy, have, err
	}
	return fresh.policy, true, nil
}

func (c *Cache) keptFor(domain string) (kept, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[domain]
	if !ok || c.cfg.Now().After(k.expires()) {
		return kept{}, false
	}
	return k, true
}

// fetchOnce fetches a policy, once for all who ask at the same time, and not
// again soon after a failure.
func (c *Cache) fetchOnce(ctx context.Context, domain, id string) (kept, error) {
	c.mu.Lock()
	f, ok := c.failed[domain]
	c.mu.Unlock()
	if ok && f.id == id && c.cfg.Now().Sub(f.at) < retryFetch {
		return kept{}, f.err
	}
	flight := c.flights.DoChan(domain, func() (any, error) {
		k, err := c.fetch(domain, id)
		return k, err
	})
	select {
	case r := <-flight:
		return r.Val.(kept), r.Err
	case <-ctx.Done():
		return kept{}, fmt.Errorf("%w: %w", ErrFetch, context.Cause(ctx))
	}
}

// fetch gets a policy and keeps it.
func (c *Cache) fetch(domain, id string) (k kept, err error) {
	defer func() {
		if p := recover(); p != nil { // nobody else would see it
			err = fmt.Errorf("%w: panic: %v", ErrFetch, p)
		}
	}()
	policy, err := c.get(domain)
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.cfg.Log.Warn("policy not fetched", "domain", domain, "err", err)
		if len(c.failed) >= maxDomains {
			clear(c.failed)
		}
		c.failed[domain] = failure{id, now, err}
		return kept{}, err
	}
	delete(c.failed, domain)
	k = kept{id: id, fetched: now, policy: policy}
	if _, ok := c.known[domain]; !ok && len(c.known) >= maxDomains {
		return k, nil
	}
	c.known[domain] = k
	if err := durable.WriteFileIn(c.dir, domain, k.format(), 0o600); err != nil {
		c.cfg.Log.Error("policy not kept", "domain", domain, "err", err)
	}
	c.cfg.Log.Info("policy fetched", "domain", domain, "mode", string(policy.Mode), "max_age", policy.MaxAge)
	return k, nil
}

// Run refreshes policies in the background until ctx ends, so that one which
// is in use does not expire while its host is away for a moment.
func (c *Cache) Run(ctx context.Context) error {
	tick := time.NewTicker(refreshPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.refresh(ctx)
		}
	}
}

// refresh fetches what is old and forgets what has expired.
func (c *Cache) refresh(ctx context.Context) {
	now := c.cfg.Now()
	c.mu.Lock()
	due := make(map[string]bool)
	for domain, k := range c.known {
		switch {
		case now.After(k.expires()):
			delete(c.known, domain)
			if err := c.dir.Remove(domain); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.cfg.Log.Warn("kept policy stays", "domain", domain, "err", err)
			}
		case now.Sub(k.fetched) > min(refreshAge, k.policy.MaxAge/2):
			due[domain] = true
		}
	}
	c.mu.Unlock()
	for domain := range due {
		if ctx.Err() != nil {
			return
		}
		texts, _, err := c.cfg.Resolver.TXT(ctx, "_mta-sts."+domain)
		if err != nil {
			continue
		}
		id, found, _ := parseRecord(texts)
		if !found {
			continue // without a record a policy runs out, RFC 8461 3.3
		}
		_, _ = c.fetchOnce(ctx, domain, id) // logged there
	}
}
