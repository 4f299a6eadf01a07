package imapd

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A stream is the connection as the codec sees it: what is written has a deadline, and bytes are
// counted. TLS is put under it in the middle of the session, and COMPRESS over it.
type stream struct {
	net.Conn
	base    net.Conn // below TLS
	in, out int64
	deflate *deflation           // after COMPRESS
	grace   func() time.Duration // how long a write may take
	// timedOut decides what becomes of a read that has met its deadline: nil goes on with it.
	timedOut func() error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.deflate != nil {
		return s.deflate.in.Read(p)
	}
	return s.readRaw(p)
}

func (s *stream) Write(p []byte) (int, error) {
	if s.deflate != nil {
		return s.deflate.out.Write(p)
	}
	return s.writeRaw(p)
}

func (s *stream) readRaw(p []byte) (int, error) {
	for {
		n, err := s.Conn.Read(p)
		s.in += int64(n)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			if err = s.timedOut(); err == nil {
				continue
			}
		}
		return n, err
	}
}

func (s *stream) writeRaw(p []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(s.grace())); err != nil {
		return 0, err
	}
	n, err := s.Conn.Write(p)
	s.out += int64(n)
	return n, err
}

// gone says whether the client has closed the connection and left nothing to read: nobody waits for
// the result of its command then.
func (s *stream) gone() bool {
	sc, ok := s.base.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	closed := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = err == nil && n == 0 || errors.Is(err, unix.ECONNRESET)
		return true
	})
	return err == nil && closed
}

// tlsState is the TLS connection's, or nil without one.
func (s *stream) tlsState() *tls.ConnectionState {
	tc, ok := s.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	return &state
}

// startTLS puts TLS under the stream; the handshake has its own deadline.
func (s *stream) startTLS(cfg *tls.Config) error {
	deadline := time.Now().Add(handshakeTimeout)
	if err := s.SetDeadline(deadline); err != nil {
		return err
	}
	tc := tls.Server(s.Conn, cfg)
	if err := tc.Handshake(); err != nil {
		return err
	}
	s.Conn = tc
	return tc.SetDeadline(time.Time{})
}
