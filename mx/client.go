// Package mx hands a message to the rest of the world: it finds the hosts of a
// domain (route.go), connects to them and speaks SMTP (session.go,
// transaction.go), once (attempt.go). It keeps nothing and never retries: that
// is the queue's work.
package mx

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
	"buzon/mx/tlsrpt"
)

// Config says who we are and which ways mail may take. Hostname and Resolver
// are needed; the zero value of all else is the documented default.
type Config struct {
	// Hostname is our name in EHLO and, in MX records, a sign of a loop.
	Hostname string
	// Names are others of our names in MX records.
	Names []string
	// Addresses are ours besides those of this machine's interfaces: the public
	// ones behind a NAT.
	Addresses []netip.Addr

	Resolver Resolver
	// STS has the MTA-STS policies of domains; nil: they are not asked for.
	STS *mtasts.Cache
	// NoDANE switches DANE off, which counts only where the Resolver says that
	// its answers are authentic.
	NoDANE bool
	// Reports is told how TLS went, for TLSRPT; nil: nobody is.
	Reports *tlsrpt.Collector
	// LevelsFile keeps the best TLS that each domain has shown, so that less is
	// noticed; "": it is kept in memory alone.
	LevelsFile string
	// Port of MX hosts: 25 when zero.
	Port uint16
	// AllowPrivate lets DNS lead us to loopback and private addresses: for
	// tests, and for networks whose DNS is as trusted as the configuration.
	AllowPrivate bool

	// Smarthost takes the mail of every domain that is not in Routes; nil: the
	// domain's own MX hosts do.
	Smarthost *Smarthost
	// Routes are the smarthosts of single domains; a nil one means the domain's
	// own MX hosts.
	Routes map[string]*Smarthost
	// Senders are the smarthosts of single senders, by "address" or, for all of
	// a domain's, "@domain"; a nil one means the recipients' own hosts. A route
	// of the recipients' domain goes before them, Smarthost after.
	Senders map[string]*Smarthost
	// RootCAs vouch for smarthosts: the system's when nil.
	RootCAs *x509.CertPool

	// AssumeEightBit sends 8-bit messages to hosts that do not say 8BITMIME.
	// By default they are returned (5.6.3), as RFC 6152 3 demands of who does
	// not convert: a conversion would break the signatures of the message.
	AssumeEightBit bool

	// Sources are the addresses that we connect from, one of each family; where
	// a family has none the system chooses.
	Sources []netip.Addr
	// DeadTime is how long an address that did not answer is left alone: 1 min
	// when zero. Keep it shorter than the pauses between attempts.
	DeadTime time.Duration

	Timeouts Timeouts
	// Dial connects to "address:port" over "tcp": from Sources when nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger // nothing is logged when nil
}

// A Client makes attempts. It is safe for concurrent use.
type Client struct {
	hostname       string
	router         router
	rootCAs        *x509.CertPool
	assumeEightBit bool
	times          Timeouts
	dial           func(ctx context.Context, network, address string) (net.Conn, error)
	log            *slog.Logger
	pool           pool
	dead           deadHosts
	reports        *tlsrpt.Collector
	levels         *levels
	farewells      sync.WaitGroup // sessions that wait for the answer to QUIT
}

// New returns a Client, or what is wrong with its configuration.
func New(cfg Config) (*Client, error) {
	hostname, err := dns.Name(cfg.Hostname)
	if err != nil {
		return nil, fmt.Errorf("host name %q: %w", cfg.Hostname, err)
	}
	if cfg.Resolver == nil {
		return nil, errors.New("no resolver")
	}
	c := &Client{
		hostname: hostname, rootCAs: cfg.RootCAs, assumeEightBit: cfg.AssumeEightBit,
		times: cfg.Timeouts.withDefaults(), dial: cfg.Dial, log: cfg.Log,
		router: router{
			resolver: cfg.Resolver, sts: cfg.STS, dane: !cfg.NoDANE, names: []string{hostname}, port: cfg.Port, allowPrivate: cfg.AllowPrivate,
			ownAddrs: func() []netip.Addr { return append(interfaceAddrs(), cfg.Addresses...) },
			routes:   make(map[string]*Smarthost),
			senders:  make(map[string]*Smarthost),
		},
	}
	if c.router.port == 0 {
		c.router.port = 25
	}
	if c.dial == nil {
		c.dial = dialer(cfg.Sources)
	}
	if c.dead.rest = cfg.DeadTime; c.dead.rest == 0 {
		c.dead.rest = time.Minute
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.reports = cfg.Reports
	if c.levels, err = openLevels(cfg.LevelsFile); err != nil {
		return nil, fmt.Errorf("read TLS levels: %w", err)
	}
	return c, c.router.configure(cfg)
}

// Send makes one attempt to hand msg, of size bytes with CRLF line ends, to
// the recipients of env, who must all be of one domain. It returns a Result
// for each, in their order, and always with a Reply: the host's own where Err
// is nil, otherwise our words for the cause in Err. A message that may have
// been taken, because the connection broke after its last byte, counts as a
// temporary failure: better twice than never.
//
// The end of ctx ends the attempt at once.
func (c *Client) Send(ctx context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result {
	ctx, cancel := context.WithTimeout(ctx, c.times.Attempt)
	defer cancel()
	a := newAttempt(c, env, msg, size)
	a.run(ctx)
	return a.results
}

// Close ends the sessions that wait for another message, and waits for those
// that are taking leave: two seconds at most. Send must have returned.
func (c *Client) Close() {
	c.pool.close(c.dismiss)
	c.farewells.Wait()
	c.levels.close()
}

// Revive lets hosts be tried that did not answer a moment ago.
func (c *Client) Revive() { c.dead.forget() }

// DialPublic connects to "host:port" as net.Dialer does, but only to addresses
// that a stranger may name: for what is fetched or posted because his records
// say so.
func (c *Client) DialPublic(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, _, err := c.router.resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no public address", host)
	for _, addr := range addrs[:min(len(addrs), maxAddresses)] {
		if !c.router.allowPrivate && !public(addr) {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, c.times.Connect)
		var conn net.Conn
		conn, err = c.dial(limited, network, net.JoinHostPort(addr.Unmap().String(), port))
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// keep lets a session wait for the next message to the same place, or ends it.
func (c *Client) keep(at place, s *session) {
	if !c.pool.put(at, s, c.dismiss) {
		c.dismiss(s)
	}
}

// dismiss ends a session without letting its caller wait: what was delivered
// shall be on record as soon as it is.
func (c *Client) dismiss(s *session) {
	s.unbind()
	c.farewells.Go(s.quit)
}

// since is a duration for the log.
func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }
