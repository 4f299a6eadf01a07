package managesieve

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/sasl"
	"buzon/internal/sieve"
)

// maxBad is how many commands that make no sense end a session.
const maxBad = 10

// session is the conversation with one client.
type session struct {
	srv     *Server
	ctx     context.Context
	nc      net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	tls     *tls.ConnectionState
	ip      netip.Addr
	log     *slog.Logger
	account account.Account // ID is "" before a login
	begun   time.Time
	bad     int
	over    bool
}

func newSession(s *Server, nc net.Conn, ip netip.Addr) *session {
	c := &session{srv: s, ip: ip, begun: time.Now(), log: s.cfg.Log.With("service", "managesieve", "conn", s.numbers.Add(1), "ip", ip.String())}
	c.use(nc)
	return c
}

func (c *session) use(nc net.Conn) {
	c.nc = nc
	c.r, c.w = bufio.NewReaderSize(nc, 4096), bufio.NewWriterSize(nc, 4096)
}

// answer is how a command ends when it is not "OK". It is written as it is.
type answer struct {
	code string // in parentheses, or ""
	text string
}

func (a *answer) Error() string { return a.text }

func no(code, text string) error { return &answer{code, text} }

var errBye = errors.New("bye") // the session ends; why was said

// run talks until one side has enough.
func (c *session) run(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		c.nc.Close()
		c.log.Info("connection closed", "user", string(c.account.ID), "dur", time.Since(c.begun))
	}()
	// A server that stops lets a command finish, and cuts off who only waits.
	c.ctx = ctx
	tcp := c.nc
	defer context.AfterFunc(ctx, func() { tcp.SetReadDeadline(time.Now()) })()
	c.capabilities()
	c.status("OK", "", "Buzon is ready")
	for !c.over {
		if err := c.flush(); err != nil {
			return
		}
		c.await()
		name, args, err := readCommand(c.r, c.account.ID == "")
		if err != nil {
			c.end(err)
			return
		}
		c.nc.SetReadDeadline(time.Now().Add(c.srv.cfg.Grace))
		if err := c.command(name, args); err != nil {
			return
		}
	}
	c.flush()
}

func (c *session) await() {
	wait := idleTimeout
	if c.account.ID == "" {
		wait = max(0, strangerTimeout-time.Since(c.begun))
	}
	c.nc.SetReadDeadline(time.Now().Add(wait))
	if c.ctx.Err() != nil {
		c.nc.SetReadDeadline(time.Now())
	}
}

// end says why no further command is read.
func (c *session) end(err error) {
	switch {
	case c.ctx.Err() != nil:
		c.status("BYE", "TRYLATER", "The server is going down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.status("BYE", "", "You were silent for too long")
	case errors.Is(err, errLine):
		c.status("BYE", "", "This is not ManageSieve")
	}
	c.flush()
}

func (c *session) flush() error {
	c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.w.Flush()
}

func (c *session) status(word, code, text string) {
	if code != "" {
		word += " (" + code + ")"
	}
	c.w.WriteString(word + " " + quote(text) + "\r\n")
}

// capabilities are what we can do now (RFC 5804 1.7).
func (c *session) capabilities() {
	line := func(name string, value ...string) {
		c.w.WriteString(quote(name))
		for _, v := range value {
			c.w.WriteString(" " + quote(v))
		}
		c.w.WriteString("\r\n")
	}
	line("IMPLEMENTATION", "Buzon")
	line("SIEVE", strings.Join(sieve.Extensions(), " "))
	line("SASL", strings.Join(c.srv.cfg.Logins.Mechanisms(c.client()), " "))
	if c.tls == nil && c.srv.cfg.TLS != nil {
		line("STARTTLS")
	}
	line("MAXREDIRECTS", fmt.Sprint(sieve.MaxRedirects))
	if c.account.ID != "" {
		line("OWNER", string(c.account.ID))
	}
	line("UNAUTHENTICATE")
	line("VERSION", "1.0")
}

func (c *session) client() sasl.Client {
	return sasl.Client{IP: c.ip, TLS: c.tls, Service: "managesieve", Log: c.log}
}
