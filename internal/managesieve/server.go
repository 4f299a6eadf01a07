// Package managesieve lets users manage their filters from their mail program:
// ManageSieve (RFC 5804) over the scripts that sieve.Library keeps.
package managesieve

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
	"buzon/internal/sieve"
)

// Config is what a Server is made of.
type Config struct {
	Scripts   *sieve.Library
	Directory *account.Directory
	Logins    *sasl.Gatekeeper
	Conns     *limit.Conns // nil for no limit
	TLS       *tls.Config  // for STARTTLS, without which nobody can log in
	Log       *slog.Logger
	Grace     time.Duration // for a command in progress when the server stops; default 10 s
}

// Time-outs. RFC 5804 1.2 wants at least 30 minutes for users.
const (
	strangerTimeout = time.Minute      // from the greeting to a login
	idleTimeout     = 30 * time.Minute // without a command
	writeTimeout    = 30 * time.Second
)

// Server answers ManageSieve clients.
type Server struct {
	cfg     Config
	numbers atomic.Uint64 // of connections, in the log
}

// New returns a server that waits for Serve.
func New(cfg Config) *Server {
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	return &Server{cfg: cfg}
}

// Serve answers clients on ln until ctx ends. Then commands in progress
// finish within the grace period, and it returns nil.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			conns.Go(func() { s.serve(ctx, nc) })
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

func (s *Server) serve(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	ip := remoteAddr(nc)
	if s.cfg.Conns != nil {
		release, ok := s.cfg.Conns.Acquire(ip)
		if !ok {
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			nc.Write([]byte("BYE (TRYLATER) \"Too many connections, try again later\"\r\n"))
			return
		}
		defer release()
	}
	newSession(s, nc, ip).run(ctx)
}

func remoteAddr(nc net.Conn) netip.Addr {
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
