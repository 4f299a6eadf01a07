// Package smtpd receives mail by SMTP: from strangers on port 25, and from
// our users on the submission ports. It decides who may send what to whom,
// and hands the messages to local delivery and to the queue.
//
// The protocol's words are understood by go-smtp. Between it and the network
// stands a gate for each connection: it frames lines, chunks and messages,
// keeps time, ends TLS, and refuses what no honest client sends. Above it
// stands a session, which trusts nothing that go-smtp says it parsed. A
// message's way: client → gate → go-smtp → session → incoming or submission.
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"buzon/internal/account"
	"buzon/internal/greylist"
	"buzon/internal/limit"
	"buzon/internal/milter"
	"buzon/internal/sasl"
	"buzon/mx/dnsbl"
	"buzon/smtpd/lda"
)

// Config is what a Server is made of. Zero values mean the defaults.
type Config struct {
	Hostname    string      // our name in greetings and trace fields
	TLS         *tls.Config // nil offers none, and then nobody can log in
	ImplicitTLS bool        // TLS from the first byte (RFC 8314), as on port 465
	Dir         string      // where messages wait while they are received; its disk is watched
	Directory   *account.Directory
	Local       *lda.Local
	Spool       Spool            // of submission
	Logins      *sasl.Gatekeeper // of submission; default: the passwords of Directory
	Conns       *limit.Conns
	Judge       Judge   // of port 25; nil believes everybody
	Signing     Signing // of submission; nil does not ask
	Forward     Forward // of port 25, with Spool; nil forwards nothing
	Log         *slog.Logger

	Milters *milter.Chain // programs that are asked about each message; nil: nobody is
	Names   Names         // what filters are told of a client's name; nil: nothing

	Blocklists *dnsbl.Lists   // of port 25; nil asks none
	Greylist   *greylist.List // of port 25; nil: nobody has to come again
	Policy     SenderPolicy   // for Greylist; nil: senders are known by their networks only

	MaxSize       int64         // octets of a message; default 50 MiB
	MaxRecipients int           // of one message; default 100, for submission 200
	Rate          *limit.Rate   // of recipients in other domains, by account; shared by the submission ports; default 2000 an hour
	Recipients    *Recipients   // whom accounts write to, who need not come again; shared like Rate; nil: nobody watches
	GreetingPause time.Duration // that strangers must keep silent for; default 100 ms, negative for none
	Grace         time.Duration // for transactions in flight at the end; default 25 s
}

// Limits that nobody has had a reason to change.
const (
	defaultMaxSize           = 50 << 20 // what chasquid has; larger mail is refused by most peers anyway
	defaultMaxIncoming       = 100      // RFC 5321 4.5.3.1.8 wants at least 100
	defaultMaxSubmitted      = 200
	defaultRecipientsPerHour = 2000                   // a club's newsletter passes, a stolen password sends no million
	defaultGreetingPause     = 100 * time.Millisecond // a program that talks without listening has talked by then
	defaultGrace             = 25 * time.Second       // systemd and people wait for 30 s

	// knownPause is the greeting pause for a host that has sent mail today.
	knownPause = 2 * time.Millisecond

	handshakeTime = 10 * time.Second // for TLS, as Postfix under stress
)

// A Server answers the clients of one kind of port. Its methods are safe for
// concurrent use.
type Server struct {
	cfg   Config
	door  door
	disk  disk
	known limit.Known
	// unknown counts recipients that do not exist, by the client's network.
	unknown *limit.Rate

	mu      sync.Mutex
	clients map[*client]struct{}
	refused int       // connections since the last line about them
	told    time.Time // when that line was logged
}

// NewIncoming returns a Server for port 25, where strangers bring mail for
// our users.
func NewIncoming(cfg Config) *Server {
	if cfg.MaxRecipients == 0 {
		cfg.MaxRecipients = defaultMaxIncoming
	}
	if cfg.GreetingPause == 0 {
		cfg.GreetingPause = defaultGreetingPause
	}
	if cfg.TLS != nil {
		// A stranger's server comes back rarely, and tickets would let one
		// key open a day's sessions.
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.SessionTicketsDisabled = true
	}
	s := newServer(cfg)
	s.door = &incoming{s}
	return s
}

// NewSubmission returns a Server for the ports 587 and 465, where our users
// send their mail.
func NewSubmission(cfg Config) *Server {
	if cfg.MaxRecipients == 0 {
		cfg.MaxRecipients = defaultMaxSubmitted
	}
	if cfg.Rate == nil {
		cfg.Rate = limit.NewRate(defaultRecipientsPerHour, time.Hour, nil)
	}
	if cfg.Logins == nil {
		cfg.Logins = sasl.New(sasl.Config{Directory: cfg.Directory})
	}
	cfg.GreetingPause = -1
	s := newServer(cfg)
	s.door = &submission{s}
	return s
}

func newServer(cfg Config) *Server {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = defaultMaxSize
	}
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	return &Server{
		cfg:     cfg,
		unknown: limit.NewRate(unknownPerHour, time.Hour, nil),
		clients: map[*client]struct{}{},
	}
}

// submits reports whether the server is for our users.
func (s *Server) submits() bool {
	_, ok := s.door.(*submission)
	return ok
}

// Serve answers clients on ln until ctx ends. Then it closes ln, tells the
// idle ones 421, lets transactions in flight finish for the grace period, and
// returns nil when every connection is closed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	work, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	e := s.newEngines()
	defer e.close()
	var conns sync.WaitGroup
	defer conns.Wait()

	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			s.admit(work, e, &conns, nc)
		case ctx.Err() != nil:
			go s.drain(work, kill) // until every connection is closed
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // usually out of file descriptors: wait for some to be closed
			s.cfg.Log.Error("accept failed", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// admit starts a client on nc, or refuses it when there are too many. work
// ends when transactions must.
func (s *Server) admit(work context.Context, e *engines, conns *sync.WaitGroup, nc net.Conn) {
	release, ok := s.cfg.Conns.Acquire(hostOf(nc.RemoteAddr()))
	if !ok {
		s.turnAway(nc)
		return
	}
	conns.Add(1)
	c := newClient(work, s, nc, func() {
		release()
		conns.Done()
	})
	s.mu.Lock()
	s.clients[c] = struct{}{}
	s.mu.Unlock()
	go s.welcome(e, c)
}

// turnAway refuses a connection without spending more on it than a line. A
// flood of them is one line in the log for each minute.
func (s *Server) turnAway(nc net.Conn) {
	nc.SetDeadline(time.Now().Add(time.Second))
	if !s.cfg.ImplicitTLS {
		fmt.Fprintf(nc, "421 4.7.0 %s Too many connections, please try again later\r\n", s.cfg.Hostname)
	}
	nc.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	if now := time.Now(); now.Sub(s.told) > time.Minute {
		s.cfg.Log.Warn("connections refused, too many", "ip", hostOf(nc.RemoteAddr()), "refused", s.refused)
		s.told, s.refused = now, 0
	}
}

// welcome does what comes before the greeting and then gives the client to
// go-smtp.
func (s *Server) welcome(e *engines, c *client) {
	g := &gate{c: c, engines: e}
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("panic", "conn", c.id, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			c.close()
		}
	}()
	if s.cfg.ImplicitTLS {
		if err := c.handshake(); err != nil {
			c.close()
			return
		}
	} else if !c.silent() {
		c.close()
		return
	}
	e.serve(g)
}

// drain ends the idle clients now, and all the others after the grace period.
func (s *Server) drain(work context.Context, kill context.CancelFunc) {
	s.each(work, (*client).drain)
	select {
	case <-work.Done():
	case <-time.After(s.cfg.Grace):
		kill()
		s.each(work, (*client).abort)
	}
}

// each calls do for the clients that work is the context of.
func (s *Server) each(work context.Context, do func(*client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		if c.ctx == work {
			do(c)
		}
	}
}

func (s *Server) forget(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}

// engines are the two go-smtp servers behind one listener: one for
// connections without TLS, one for those with. Which extensions are offered
// and whether AUTH exists is thus fixed by the kind of connection, and
// STARTTLS begins with a state that knows nothing of before (RFC 3207 4.2).
type engines struct {
	plain, secure *engine
}

type engine struct {
	server *gosmtp.Server
	conns  chan net.Conn
	done   chan struct{}
}

func (s *Server) newEngines() *engines {
	e := &engines{plain: s.newEngine(s.cfg.TLS), secure: s.newEngine(nil)}
	e.secure.server.AllowInsecureAuth = true // the gate has ended TLS before go-smtp
	go e.plain.run()
	go e.secure.run()
	return e
}

func (s *Server) newEngine(offer *tls.Config) *engine {
	g := gosmtp.NewServer(gosmtp.BackendFunc(s.newSession))
	g.Domain = s.cfg.Hostname
	g.TLSConfig = offer // only advertised: the gate does STARTTLS
	g.MaxMessageBytes = s.cfg.MaxSize
	g.MaxLineLength = 0 // the gate counts
	g.EnableSMTPUTF8 = true
	g.ErrorLog = engineLog{s.cfg.Log}
	return &engine{server: g, conns: make(chan net.Conn), done: make(chan struct{})}
}

// serve gives a gate to the engine that fits its connection.
func (e *engines) serve(g *gate) {
	if g.c.tls != nil {
		e.secure.conns <- g
	} else {
		e.plain.conns <- g
	}
}

// close ends both engines, after the last client.
func (e *engines) close() {
	for _, e := range []*engine{e.plain, e.secure} {
		close(e.done)
		e.server.Shutdown(context.Background())
	}
}

// run serves what comes through conns; engine is a net.Listener for that.
func (e *engine) run() { e.server.Serve(e) }

func (e *engine) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

func (e *engine) Close() error   { return nil }
func (e *engine) Addr() net.Addr { return &net.TCPAddr{} }

// engineLog takes what go-smtp logs: panics of ours that it recovered, and
// the ends of connections, which we log ourselves.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, v ...any) {
	if strings.HasPrefix(format, "panic") {
		l.log.Error("panic", "err", fmt.Sprintf(format, v...))
	}
}

func (l engineLog) Println(v ...any) { l.log.Error("go-smtp", "err", fmt.Sprint(v...)) }

// hostOf returns the IP address in a, or the zero Addr.
func hostOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
