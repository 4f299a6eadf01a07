package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"buzon/imapd/wire"
	"buzon/internal/account"
	"buzon/maildir"
)

// A session is one connection. One goroutine runs it; only kick may be called by others.
type session struct {
	srv    *Server
	log    *slog.Logger
	stream *stream
	ip     netip.Addr
	dec    *wire.Decoder
	enc    *wire.Encoder
	ctx    context.Context
	tls    bool

	preauth bool // it begins logged in, see ServeUser

	state    state
	account  account.Account
	user     *maildir.User
	view     *view                        // of the selected mailbox; nil in other states
	hosts    map[account.ID]*maildir.User // other accounts, whose mailboxes are used
	enabled  feature
	saved    wire.Ranges // UIDs of the last SEARCH RETURN (SAVE), RFC 9051 6.4.4.4
	contexts []*searchContext
	notifier *notifier // after NOTIFY SET
	started  time.Time
	deadline time.Time // for what is being read
	waits    waiting
	restAt   time.Time // when a session that waits may rest
	idling   *idling   // during IDLE
	inLine   bool      // within the line that ends it
	commands int
	unknown  int
	errors   int // in a row

	bell        bell
	notified    bool // by NOTIFY; under the registry's lock, as the next two
	renames     *renameNews
	annotations *annotationNews        // nil: not wanted
	kicked      atomic.Pointer[string] // why the session must end
}

// A feature is what a client has turned on by ENABLE, or by using it (RFC 7162 3.1).
type feature uint8

const (
	condstore feature = 1 << iota
	qresync
	rev2
	utf8Accept
	uidOnly
	metadata       // RFC 5464 4.4.2: unsolicited METADATA for mailboxes
	metadataServer // and for the server
)

func (s *session) has(f feature) bool { return s.enabled&f != 0 }

func newSession(srv *Server, nc net.Conn, ip netip.Addr) *session {
	s := &session{srv: srv, ip: ip, state: notAuthenticated, started: time.Now()}
	s.log = srv.cfg.Log.With("conn", srv.conns.Add(1), "ip", ip.String())
	s.stream = &stream{Conn: nc, base: nc, grace: s.writeTime, timedOut: s.timedOut}
	if tc, ok := nc.(*tls.Conn); ok { // TLS came before us, as on port 443
		s.stream.base, s.tls = tc.NetConn(), true
	}
	s.dec = wire.NewDecoder(s.stream, limitsBeforeLogin)
	s.enc = wire.NewEncoder(s.stream)
	s.dec.BeforeRead = s.beforeRead
	s.dec.Continue = func() error { return s.enc.Raw("+ OK\r\n").Flush() }
	s.dec.OnLiteral = func(size int64) {
		s.deadline = s.deadline.Add(time.Duration(size/minimumRate) * time.Second)
	}
	return s
}

// writeTime is shorter while the server stops.
func (s *session) writeTime() time.Duration {
	if s.ctx.Err() != nil {
		return min(writeTimeout, s.srv.cfg.Grace)
	}
	return writeTimeout
}

// serve runs the session from the greeting to the end.
func (s *session) serve(ctx context.Context, implicitTLS bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	defer s.end()
	defer context.AfterFunc(ctx, s.interrupt)()
	err := s.converse(implicitTLS)
	if ferr := s.enc.Flush(); err == nil {
		err = ferr
	}
	s.logEnd(err)
}

// interrupt wakes the session from waiting for its client.
func (s *session) interrupt() { s.stream.base.SetReadDeadline(time.Unix(1, 0)) }

// kick ends the session from another goroutine, as soon as it waits for its client.
func (s *session) kick(why string) {
	if s.kicked.CompareAndSwap(nil, &why) {
		s.interrupt()
	}
}

// leaving says why the session must end now, if it must.
func (s *session) leaving() (why string, leave bool) {
	if s.ctx.Err() != nil {
		return "the server is shutting down", true
	}
	if k := s.kicked.Load(); k != nil {
		return *k, true
	}
	return "", false
}

// converse runs the session on two goroutines in turn: the caller's waits while there is nothing to
// do, others work.
func (s *session) converse(implicitTLS bool) error {
	err := s.apart(func() error {
		if err := s.greet(implicitTLS); err != nil {
			return err
		}
		return s.work()
	})
	for errors.Is(err, errWoken) {
		s.rest()
		err = s.apart(s.work)
	}
	return err
}

// apart runs f on a goroutine of its own, whose stack is gone when f returns.
func (s *session) apart(f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("panic", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.enc.Raw("* BYE [SERVERBUG] Internal error\r\n")
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		err = f()
	}()
	<-done
	return err
}

func (s *session) greet(implicitTLS bool) error {
	if implicitTLS {
		if err := s.stream.startTLS(s.srv.cfg.TLS); err != nil {
			return fmt.Errorf("TLS handshake: %w", err)
		}
		s.tls = true
	}
	greeting := "* OK [CAPABILITY "
	if s.preauth {
		if err := s.enterPreauth(); err != nil {
			return fmt.Errorf("open mail of %s: %w", s.account.ID, err)
		}
		greeting = "* PREAUTH [CAPABILITY "
	}
	s.enc.Raw(greeting)
	s.writeCapabilities()
	s.enc.Raw("] ").Text(s.srv.cfg.Hostname + " Buzon is ready").CRLF()
	s.beginWait()
	return nil
}

// work runs commands until the session is over or has waited for long enough to rest (errWoken).
func (s *session) work() error {
	for s.state != loggedOut {
		if err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

// next waits for one command, or for the end of IDLE, and answers.
func (s *session) next() error {
	if err := s.await(); err != nil {
		return err
	}
	run := s.endIdle
	if s.idling == nil {
		s.commands++
		s.deadline = time.Now().Add(commandTimeout)
		s.dec.Begin()
		run = s.command
	}
	err := run()
	if fatal(err) && !errors.Is(err, errBye) {
		return s.bye(err)
	}
	s.beginWait()
	return err
}

// beginWait says how long the client may take to its next command.
func (s *session) beginWait() {
	if s.state == notAuthenticated {
		s.deadline = s.started.Add(s.srv.cfg.PreAuthTimeout)
	} else {
		s.deadline = time.Now().Add(s.srv.cfg.IdleTimeout)
	}
}

// bye tells the client why the connection ends, when the reason is ours.
func (s *session) bye(err error) error {
	why, leave := s.leaving()
	var big *wire.TooBigError
	switch {
	case leave:
	case errors.As(err, &big), errors.Is(err, wire.ErrDesync):
		why = "too much input"
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = "no command for too long"
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return err
	}
	s.enc.Raw("* BYE ").Text(why).CRLF()
	return fmt.Errorf("%w: %s", errBye, why)
}

// end gives everything back.
func (s *session) end() {
	s.stopIdle()
	s.stopNotify()
	s.closeView()
	s.leaveHosts()
	if s.user != nil {
		s.srv.sessions.remove(s)
		s.user.Release()
	}
	s.dec.Release()
	s.stream.Close()
	s.srv.tidier.calmed()
}

func (s *session) logEnd(err error) {
	attrs := []any{
		"user", string(s.account.ID), "tls", s.tls, "commands", s.commands,
		"in", s.stream.in, "out", s.stream.out, "dur", time.Since(s.started).Round(time.Millisecond),
	}
	if err != nil && !errors.Is(err, io.EOF) {
		attrs = append(attrs, "err", err)
	}
	s.log.Info("connection closed", attrs...)
}
