package mx

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// session is one connection to a host, ready for transactions. It belongs to
// one goroutine.
type session struct {
	conn     net.Conn
	remote   netip.AddrPort
	ctx      context.Context // its end ends every wait
	unbind   func() bool     // detaches the connection from ctx
	r        *bufio.Reader
	w        *bufio.Writer
	times    Timeouts
	ext      extensions
	tlsState *tls.ConnectionState // nil in plain text
	triedTLS bool                 // before, in vain: this is the attempt without
	verified bool                 // the certificate is good for the host's name
	began    time.Time
	messages int   // transactions so far
	reused   bool  // another attempt has begun it
	waited   bool  // for this transaction: the host may be gone
	welcome  bool  // the host took the latest MAIL
	broken   bool  // no further command makes sense
	dirty    bool  // RSET is due before the next transaction
	writeErr error // of the connection, the first
}

// connect dials one address of a host.
func (c *Client) connect(ctx context.Context, h hop, addr netip.Addr) (net.Conn, *failure) {
	remote := netip.AddrPortFrom(addr, h.port)
	if err := c.dead.check(remote); err != nil {
		return nil, temporary(4, 1, "No connection to the mail host", fmt.Errorf("%w: %w", errDead, err))
	}
	limited, cancel := context.WithTimeout(ctx, c.times.Connect)
	defer cancel()
	conn, err := c.dial(limited, "tcp", remote.String())
	if err != nil {
		if ctx.Err() == nil { // else it had no chance
			c.dead.failed(remote, err)
		}
		return nil, temporary(4, 1, "No connection to the mail host", err)
	}
	return conn, nil
}

// open makes a session of a connection: greeting, EHLO, TLS, login. plain says
// that TLS was tried before and failed, and may be left out.
func (c *Client) open(ctx context.Context, conn net.Conn, h hop, remote netip.AddrPort, plain bool) (*session, *failure) {
	s := &session{times: c.times, began: time.Now(), remote: remote, triedTLS: plain}
	s.use(conn)
	s.bind(ctx)
	if f := c.greet(s, h, plain); f != nil {
		c.dismiss(s)
		return nil, f
	}
	return s, nil
}

// bind makes the end of ctx the end of every wait.
func (s *session) bind(ctx context.Context) {
	conn := s.conn // TLS hands deadlines through
	s.ctx = ctx
	s.unbind = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// use makes conn what the session reads and writes.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.r = bufio.NewReaderSize(conn, max(4096, maxReplyLine+1))
	s.w = bufio.NewWriterSize(blocks{s}, blockSize)
}

func (c *Client) greet(s *session, h hop, plain bool) *failure {
	if h.smarthost != nil && h.smarthost.TLS == ImplicitTLS {
		if f := c.startHandshake(s, h); f != nil {
			return f
		}
	}
	greeting, err := s.read(s.times.Greeting)
	if err != nil {
		return s.lost("the greeting", err)
	}
	c.dead.answered(s.remote)
	if greeting.code != 220 { // RFC 5321 3.1
		return refused(greeting.reply(), "the greeting")
	}
	if f := c.hello(s, h); f != nil {
		return f
	}
	if f := c.secure(s, h, plain); f != nil {
		return f
	}
	if h.smarthost != nil && h.smarthost.Username != "" {
		return s.login(h.smarthost.Username, h.smarthost.Password)
	}
	return nil
}

// hello says EHLO, or HELO to a host that does not know it (RFC 5321 3.2).
func (c *Client) hello(s *session, h hop) *failure {
	reply, err := s.exchange(s.times.Greeting, "EHLO "+c.hostname)
	if err != nil {
		return s.lost("EHLO", err)
	}
	domain, ext := parseExtensions(reply.lines)
	if reply.code/100 == 5 && reply.code != 521 && reply.code != 554 {
		if reply, err = s.exchange(s.times.Greeting, "HELO "+c.hostname); err != nil {
			return s.lost("HELO", err)
		}
		domain, ext = parseExtensions(reply.lines[:1])
	}
	if reply.code != 250 {
		return refused(reply.reply(), "EHLO")
	}
	if slices.Contains(c.router.names, strings.ToLower(domain)) {
		f := loop(fmt.Errorf("%s has our name", h.host))
		if h.smarthost != nil { // our own mistake, and the message need not pay for it
			f = temporary(4, 6, "The smarthost is this host itself", f.cause)
			f.ours, f.stop = true, true
		}
		return f
	}
	s.ext = ext
	return nil
}

// blocks writes to the connection with one Block time-out for each write.
type blocks struct{ s *session }

func (b blocks) Write(p []byte) (int, error) {
	b.s.conn.SetWriteDeadline(time.Now().Add(b.s.times.Block))
	err := b.s.ctx.Err() // in this order, or ctx's deadline could be lost
	n := 0
	if err == nil {
		n, err = b.s.conn.Write(p)
	}
	if err != nil && b.s.writeErr == nil {
		b.s.writeErr = err
	}
	return n, err
}

// read takes one whole reply within wait. A host that sends a byte a minute
// has the same time as all others.
func (s *session) read(wait time.Duration) (rawReply, error) {
	s.conn.SetReadDeadline(time.Now().Add(wait))
	if err := s.ctx.Err(); err != nil {
		return rawReply{}, err
	}
	reply, err := readReply(s.r)
	if err != nil || reply.code == 421 { // RFC 5321 3.8: the host closes now
		s.broken = true
	}
	return reply, err
}

// put buffers one command. A line that would be two is a bug in whoever made
// its parts, and must not become an injected command.
func (s *session) put(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return fmt.Errorf("line break in command %.80q", line)
	}
	s.w.WriteString(line) // the error is Flush's, too
	_, err := s.w.WriteString("\r\n")
	return err
}

// flush sends what was put. Whatever a host has said before it is asked is an
// answer to nothing, and would be taken for the answer to what comes next.
func (s *session) flush() error {
	if n := s.r.Buffered(); n > 0 {
		unasked, err := readReply(s.r)
		s.broken = true
		if err == nil && unasked.code/100 > 3 { // 421, most often: the host's last word
			return unasked.reply()
		}
		return fmt.Errorf("%w: %d bytes before they were asked for", errProtocol, n)
	}
	return s.w.Flush()
}

// exchange sends one command and reads its reply.
func (s *session) exchange(wait time.Duration, line string) (rawReply, error) {
	if err := s.put(line); err != nil {
		return rawReply{}, err
	}
	if err := s.flush(); err != nil {
		return rawReply{}, err
	}
	return s.read(wait)
}

func (s *session) command(wait time.Duration, line string) (*smtp.Reply, error) {
	raw, err := s.exchange(wait, line)
	if err != nil {
		return nil, err
	}
	return raw.reply(), nil
}

// lost is the failure of a session in which no reply could be had.
func (s *session) lost(phase string, err error) *failure {
	s.broken = true
	if reply, ok := errors.AsType[*smtp.Reply](err); ok {
		return refused(reply, phase)
	}
	cause := fmt.Errorf("%s: %w", phase, err)
	if ended := s.ctx.Err(); ended != nil { // the time-out that we see is that of the whole
		cause = fmt.Errorf("%s: %w", phase, context.Cause(s.ctx))
	}
	if errors.Is(err, errProtocol) {
		return temporary(5, 0, "Protocol error of the mail host", cause)
	}
	return temporary(4, 2, "The connection to the mail host was lost", cause)
}

// quit ends the session, politely where the host still listens. It waits for
// the host's good-bye for a moment only.
func (s *session) quit() {
	defer s.conn.Close()
	if s.broken {
		return
	}
	s.conn.SetDeadline(time.Now().Add(quitWait))
	if _, err := s.conn.Write([]byte("QUIT\r\n")); err == nil {
		readReply(s.r)
	}
}
