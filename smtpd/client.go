package smtpd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"buzon/internal/smtp"
)

// How long a client may take. RFC 5321 4.5.3.2.7 wants five minutes for a
// command; for the rest it names only the client's patience.
const (
	commandTime  = 5 * time.Minute
	hurriedTime  = time.Minute // for a command, when places are scarce
	messageTime  = 30 * time.Minute
	sessionTime  = time.Hour
	writeTime    = time.Minute
	minimumSpeed = 500 // octets a second, beyond the time for a command (Postfix smtpd_min_data_rate)

	lingerTime  = time.Second // for a refused client to read why
	lingerBytes = 1 << 20
)

// errOver is what reads return once a connection has come to its end.
var errOver = errors.New("connection is over")

// Replies that end a connection.
var (
	replyTimeout  = smtp.NewReply(421, [3]int{4, 4, 2}, "Time-out, closing the connection")
	replyTooLong  = smtp.NewReply(421, [3]int{4, 7, 0}, "The session has lasted long enough, please come again")
	replyShutdown = smtp.NewReply(421, [3]int{4, 3, 2}, "Shutting down, please try again later")
	replyEager    = smtp.NewReply(554, [3]int{5, 5, 0}, "Protocol error: you must wait for the answer")
)

// client is one connection, from accept to close and across STARTTLS. All of
// it but drain and abort belongs to the goroutine that serves the connection.
type client struct {
	srv     *Server
	ctx     context.Context // ends when transactions must
	id      string
	ip      netip.Addr
	local   netip.Addr // ours
	started time.Time
	release func()

	in    input
	out   []byte // replies not sent yet
	tls   *tls.ConnectionState
	ended bool  // nothing more is read, and what is written is dropped
	cause error // why it ended, for the log; nil for QUIT and the like

	extended bool       // the last greeting was EHLO
	user     string     // who has logged in
	names    *[2]string // verified and claimed; nil: nobody has looked yet
	messages int        // accepted
	errors   int        // negative replies since the last message
	unknown  int        // recipients that do not exist
	linger   bool       // input may be unread
	closed   bool

	mu       sync.Mutex
	nc       net.Conn // TCP, or TLS over it
	idle     bool     // waiting for a command outside a transaction
	draining bool
}

func newClient(ctx context.Context, s *Server, nc net.Conn, release func()) *client {
	return &client{
		srv: s, ctx: ctx, nc: nc, release: release,
		id: rand.Text()[:10], ip: hostOf(nc.RemoteAddr()), local: hostOf(nc.LocalAddr()), started: time.Now(),
	}
}

func (c *client) log() *slog.Logger {
	return c.srv.cfg.Log.With("conn", c.id, "ip", c.address())
}

// address is the client's, or "" at a Unix socket.
func (c *client) address() string {
	if !c.ip.IsValid() {
		return ""
	}
	return c.ip.String()
}

// silent waits for the greeting pause, and reports whether the client kept
// silent in it (Postfix postscreen's pregreet test): one that does not listen
// for the greeting will not listen for refusals either.
func (c *client) silent() bool {
	pause := c.srv.cfg.GreetingPause
	switch {
	case pause < 0:
		return true
	case c.srv.known.Has(c.ip):
		pause = min(pause, knownPause)
	}
	c.in.grow(commandBuffer)
	c.nc.SetReadDeadline(time.Now().Add(pause))
	n, err := c.nc.Read(c.in.space())
	c.in.added(n)
	switch {
	case n > 0 && c.in.foreign():
		c.over(errForeign)
		return false
	case n > 0:
		c.end(replyEager, errors.New("talked before the greeting"))
		return false
	case !isTimeout(err):
		c.over(nil)
		return false
	}
	return true
}

// handshake puts TLS over the connection.
func (c *client) handshake() error {
	tc := tls.Server(c.nc, c.srv.cfg.TLS)
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTime)
	defer cancel()
	c.nc.SetDeadline(time.Now().Add(handshakeTime))
	if err := tc.HandshakeContext(ctx); err != nil {
		c.over(fmt.Errorf("TLS handshake: %w", err))
		return err
	}
	state := tc.ConnectionState()
	c.tls = &state
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = tc
	return nil
}

// fill reads some more into c.in.
func (c *client) fill() error {
	n, err := c.read(c.in.space())
	c.in.added(n)
	return err
}

// read reads at least one octet into p, after sending what is owed: whoever
// waits for a client must have answered him. An error ends the connection
// for good, so that after a time-out in a message nothing of it can be taken
// for a command.
func (c *client) read(p []byte) (int, error) {
	if c.ended {
		return 0, errOver
	}
	if c.flush(); c.ended {
		return 0, errOver
	}
	c.arm()
	n, err := c.nc.Read(p)
	c.in.pace.got += int64(n)
	switch {
	case n > 0:
		return n, nil
	case isTimeout(err) && c.stopping():
		c.end(replyShutdown, nil)
	case isTimeout(err):
		c.end(replyTimeout, errors.New("time-out"))
	case errors.Is(err, io.EOF):
		c.over(nil)
	default:
		c.over(err)
	}
	return 0, errOver
}

// arm sets the deadline of the next read.
func (c *client) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := c.in.pace.deadline()
	if c.idle && c.draining || c.ctx.Err() != nil {
		deadline = time.Unix(1, 0)
	}
	c.nc.SetReadDeadline(deadline)
}

// setIdle says whether the client may be sent away at once when we stop.
func (c *client) setIdle(idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = idle
}

func (c *client) stopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// drain asks the client to go as soon as no transaction is under way.
func (c *client) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.idle {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// abort cuts the connection, whatever it is doing. c.ctx must have ended.
func (c *client) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc.SetReadDeadline(time.Unix(1, 0))
	c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
}

// send queues a reply; it leaves with the next read or at the end.
func (c *client) send(reply []byte) {
	if !c.ended {
		c.out = append(c.out, reply...)
	}
}

func (c *client) flush() {
	if c.ended || len(c.out) == 0 {
		return
	}
	patience := writeTime
	if c.ctx.Err() != nil {
		patience = lingerTime
	}
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.over(err)
	}
}

// end answers r and ends the connection.
func (c *client) end(r *smtp.Reply, cause error) {
	c.linger = c.linger || cause != nil
	c.send(appendReply(nil, r))
	c.flush()
	c.over(cause)
}

// over ends the connection without a word.
func (c *client) over(cause error) {
	if !c.ended {
		c.ended, c.cause = true, cause
	}
}

// accepted records that a message was taken from the client.
func (c *client) accepted() {
	c.messages++
	c.errors = 0
	c.srv.known.Remember(c.ip)
}

// close sends what is owed, closes the connection and logs its end.
func (c *client) close() {
	if c.closed {
		return
	}
	c.closed = true
	c.flush()
	c.over(nil)
	if c.linger {
		c.waitForReader()
	}
	c.nc.Close()
	c.in.release()
	c.srv.forget(c)
	attrs := []any{"messages", c.messages, "dur", time.Since(c.started)}
	if c.user != "" {
		attrs = append(attrs, "user", c.user)
	}
	if c.tls != nil {
		attrs = append(attrs, "tls", tls.VersionName(c.tls.Version))
	}
	if c.cause != nil {
		attrs = append(attrs, "err", c.cause)
	}
	c.log().Info("connection closed", attrs...)
	c.release()
}

// waitForReader lets the client read our last words: closing a TCP
// connection with input unread would reset it and take them back.
func (c *client) waitForReader() {
	c.nc.SetDeadline(time.Now().Add(lingerTime))
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	io.CopyN(io.Discard, c.nc, lingerBytes)
}

// catch keeps a bug in the reading of one connection from ending the others.
func (c *client) catch(err *error) {
	if p := recover(); p != nil {
		c.log().Error("panic", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		c.over(fmt.Errorf("panic: %v", p))
		*err = io.EOF
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
