// Package web answers on port 443: what other mail hosts and mail programs look
// for there, and nothing else. It hands connections that ask for IMAP by ALPN
// (RFC 7301) on to whoever serves that. It knows no mailbox and no password.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"buzon/internal/limit"
)

// Protocols are what a client may ask for by ALPN. Without it HTTP is meant.
const (
	protocolIMAP = "imap" // the registered name, as on port 993
	protocolHTTP = "http/1.1"
)

// Limits that nobody has had a reason to change: every page is small.
const (
	handshakeTime = 10 * time.Second
	requestTime   = 30 * time.Second
	keepAliveTime = time.Minute
	maxHeader     = 16 << 10
	maxBody       = 64 << 10
	grace         = 5 * time.Second
)

// Config is what a Server is made of.
type Config struct {
	TLS   *tls.Config // its protocols are replaced by ours
	Conns *limit.Conns
	IMAP  bool // hand connections for IMAP to the listener that IMAP returns
	Pages Pages
	Log   *slog.Logger
}

// Server answers on port 443.
type Server struct {
	cfg  Config
	tls  *tls.Config
	http *http.Server

	web, imap *handover

	mu       sync.Mutex
	releases map[net.Conn]func() // of connections that speak HTTP
}

// New returns a Server that waits for Serve.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, releases: make(map[net.Conn]func()), web: newHandover(), imap: newHandover()}
	s.tls = cfg.TLS.Clone()
	s.tls.NextProtos = []string{protocolHTTP}
	if cfg.IMAP {
		s.tls.NextProtos = []string{protocolIMAP, protocolHTTP}
	}
	s.http = &http.Server{
		Handler: cfg.Pages.handler(), ConnState: s.watch,
		ReadHeaderTimeout: handshakeTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: keepAliveTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// IMAP is the listener whose connections, under TLS already, want IMAP. It is
// closed when Serve ends.
func (s *Server) IMAP() net.Listener { return s.imap }

// Serve answers clients on ln until ctx ends, and returns nil once every request
// under way has its answer. It can be called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.imap.Close()
	s.web.addr, s.imap.addr = ln.Addr(), ln.Addr()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { _ = s.http.Serve(s.web) }) // ends with the handover
	defer s.shutdown()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			parts.Go(func() { s.admit(ctx, nc) })
		case ctx.Err() != nil:
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

func (s *Server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.web.Close()
}

// admit puts TLS over a connection and gives it to who serves the protocol.
func (s *Server) admit(ctx context.Context, nc net.Conn) {
	release, ok := s.cfg.Conns.Acquire(addressOf(nc))
	if !ok {
		nc.Close()
		return
	}
	shake, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	nc.SetDeadline(time.Now().Add(handshakeTime))
	tc := tls.Server(nc, s.tls)
	if err := tc.HandshakeContext(shake); err != nil {
		s.cfg.Log.Debug("TLS handshake failed", "ip", addressOf(nc), "err", err)
		nc.Close()
		release()
		return
	}
	nc.SetDeadline(time.Time{})
	if tc.ConnectionState().NegotiatedProtocol == protocolIMAP {
		release() // who serves IMAP counts for itself
		s.imap.give(ctx, tc)
		return
	}
	s.mu.Lock()
	s.releases[tc] = release
	s.mu.Unlock()
	if !s.web.give(ctx, tc) {
		s.watch(tc, http.StateClosed)
	}
}

// watch gives a place back when its connection ends.
func (s *Server) watch(nc net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	s.mu.Lock()
	release := s.releases[nc]
	delete(s.releases, nc)
	s.mu.Unlock()
	if release != nil {
		release()
	}
}

func addressOf(nc net.Conn) netip.Addr {
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// handover is a listener whose connections come from another one.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
	addr  net.Addr
}

func newHandover() *handover {
	h := &handover{conns: make(chan net.Conn), done: make(chan struct{}), addr: &net.TCPAddr{}}
	h.close = sync.OnceFunc(func() { close(h.done) })
	return h
}

// give hands a connection over, or closes it when nobody takes it any more.
func (h *handover) give(ctx context.Context, nc net.Conn) bool {
	select {
	case h.conns <- nc:
		return true
	case <-h.done:
	case <-ctx.Done():
	}
	nc.Close()
	return false
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error { h.close(); return nil }

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }
