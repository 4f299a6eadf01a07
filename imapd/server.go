// Package imapd speaks IMAP over a Maildir store: IMAP4rev1 (RFC 3501), IMAP4rev2 (RFC 9051) and
// the extensions listed in docs/protocols.md, one file for each command. The grammar is in
// imapd/wire; mailboxes, flags and UIDs are maildir's. What is here is the conversation: which
// command may come when (commands.go), what each session has been told of its mailbox (view.go),
// and the answers.
package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/account"
	"buzon/internal/limit"
	"buzon/internal/sasl"
	"buzon/maildir"
)

// Config is what a Server is made of.
type Config struct {
	Store     *maildir.Store
	Directory *account.Directory
	Logins    *sasl.Gatekeeper // who may log in, and how; default: by the passwords of Directory
	Conns     *limit.Conns     // connections in total and per address; nil for no limit
	TLS       *tls.Config      // for STARTTLS and for listeners that begin with TLS; nil for neither
	Hostname  string
	Version   string // shown by ID; may be empty
	Log       *slog.Logger

	// PlaintextFromLoopback allows LOGIN and AUTHENTICATE without TLS to clients on this machine: a
	// webmail, a benchmark.
	PlaintextFromLoopback bool

	MessageSize       int64         // largest message that APPEND takes; default 50 MiB
	SessionsPerUser   int           // default 30
	SessionsPerUserIP int           // default 15
	Grace             time.Duration // for commands in progress when the server stops; default 30 s
	PreAuthTimeout    time.Duration // from the greeting to a login; default 1 min
	IdleTimeout       time.Duration // without a command; default 31 min (RFC 9051 5.4 asks for 30)
	KeepAlive         time.Duration // between signs of life during IDLE; default 2 min
}

func (c *Config) setDefaults() {
	setDefault(&c.MessageSize, 50<<20)
	setDefault(&c.SessionsPerUser, 30)
	setDefault(&c.SessionsPerUserIP, 15)
	setDefault(&c.Grace, 30*time.Second)
	setDefault(&c.PreAuthTimeout, time.Minute)
	setDefault(&c.IdleTimeout, 31*time.Minute)
	setDefault(&c.KeepAlive, 2*time.Minute)
	setDefault(&c.Hostname, "localhost")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Logins == nil {
		c.Logins = sasl.New(sasl.Config{Directory: c.Directory})
	}
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// A Server answers IMAP clients. It may serve several listeners at once.
type Server struct {
	cfg      Config
	sessions registry
	conns    atomic.Uint64 // numbers the connections in the log
	tidier   tidier
}

// New returns a server that waits for Serve.
func New(cfg Config) *Server {
	cfg.setDefaults()
	return &Server{cfg: cfg}
}

// Serve answers clients on ln until ctx ends; with implicitTLS, TLS comes first (RFC 8314). A
// connection that is a *tls.Conn has it already. Then it
// takes no more connections, lets commands in progress finish within the grace period, says BYE,
// and returns nil once every connection is closed.
func (s *Server) Serve(ctx context.Context, ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.cfg.TLS == nil {
		return errors.New("TLS listener without a certificate")
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	done := make(chan struct{})
	defer close(done)
	conns.Go(func() { s.sweep(sweep.C, done) })
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			conns.Go(func() { s.serve(ctx, nc, implicitTLS) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // usually out of file descriptors: wait for some to close
			s.cfg.Log.Error("accept failed", "err", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// sweep ends the sessions of accounts that were removed, disabled or given a new password.
func (s *Server) sweep(tick <-chan time.Time, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-tick:
			s.sessions.each(func(c *session) {
				if s.cfg.Directory.Generation(c.account.ID) != c.account.Generation {
					c.kick("the account has changed, log in again")
				}
			})
		}
	}
}

func (s *Server) serve(ctx context.Context, nc net.Conn, implicitTLS bool) {
	defer nc.Close()
	ip := remoteAddr(nc)
	if s.cfg.Conns != nil {
		release, ok := s.cfg.Conns.Acquire(ip)
		if !ok {
			s.refuse(nc, implicitTLS)
			return
		}
		defer release()
	}
	newSession(s, nc, ip).serve(ctx, implicitTLS)
}

// refuse says why there is no session, where that costs no handshake.
func (s *Server) refuse(nc net.Conn, implicitTLS bool) {
	if !implicitTLS {
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write([]byte("* BYE [LIMIT] Too many connections, try again later\r\n"))
	}
	s.cfg.Log.Debug("connection refused", "ip", remoteAddr(nc))
}

func remoteAddr(nc net.Conn) netip.Addr {
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// registry knows the sessions that are logged in, and counts them per user.
type registry struct {
	mu    sync.Mutex
	users map[account.ID]map[*session]struct{}
	// strangers want to hear of the mailboxes of other accounts as well.
	strangers map[*session]struct{}
}

// add enters c, unless its user has too many sessions, in all or from the same address.
func (r *registry) add(c *session, perUser, perIP int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.users[c.account.ID]
	same := 0
	for other := range of {
		if other.ip == c.ip {
			same++
		}
	}
	if len(of) >= perUser || same >= perIP {
		return false
	}
	if of == nil {
		of = make(map[*session]struct{})
		if r.users == nil {
			r.users = make(map[account.ID]map[*session]struct{})
		}
		r.users[c.account.ID] = of
	}
	of[c] = struct{}{}
	return true
}

func (r *registry) remove(c *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.users[c.account.ID]
	delete(of, c)
	if len(of) == 0 {
		delete(r.users, c.account.ID)
	}
}

// setWake says where a session wants to hear of other sessions' changes to the mailboxes of its
// user, and with others of other accounts.
func (r *registry) setWake(c *session, n *notifier, others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.notified, c.renames = false, nil
	if n != nil {
		c.notified, c.renames = true, n.renames
	}
	delete(r.strangers, c)
	if others {
		if r.strangers == nil {
			r.strangers = make(map[*session]struct{})
		}
		r.strangers[c] = struct{}{}
	}
}

// poke tells the user's sessions that the list of mailboxes has changed, and those of others that
// look at it.
func (r *registry) poke(id account.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.users[id] {
		if c.notified {
			c.bell.ring()
		}
	}
	for c := range r.strangers {
		c.bell.ring()
	}
}

func (r *registry) each(f func(*session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range r.users {
		for c := range of {
			f(c)
		}
	}
}
