// Package certs keeps the server's TLS certificate: from files that another
// program renews, or a self-signed one that it makes itself.
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"
)

// checkEvery is how often a handshake looks whether the files have changed: a
// renewal is in force within seconds, and a thousand handshakes cost one look.
const checkEvery = 5 * time.Second

// Config says where the certificate comes from.
type Config struct {
	Cert, Key string   // PEM files: the chain and its private key; both empty for a self-signed one
	Dir       string   // where the self-signed pair is kept; made when absent
	Names     []string // host names that a self-signed certificate is for
	Log       *slog.Logger
	Now       func() time.Time // default time.Now
}

// Options are the differences between one listener and another.
type Options struct {
	// NoTickets switches session tickets off, which outlook.com's senders
	// need on port 25.
	NoTickets  bool
	NextProtos []string // ALPN
	// ClientCAs are the authorities of clients' certificates, which are then asked
	// for and may be left out; nil asks for none.
	ClientCAs *x509.CertPool
}

// Store holds the certificate in force. It is safe for concurrent use.
type Store struct {
	pair pair
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	inForce *tls.Certificate
	read    stamps    // of the files that inForce was read from
	refused stamps    // of the newest files that could not be used; said once
	checked time.Time // when the files were last looked at
}

// Open loads the certificate, or makes a self-signed one where none is
// configured. A configured pair that cannot be used is an error: a mail host
// must not start under a name that nobody can verify.
func Open(cfg Config) (*Store, error) {
	s := &Store{pair: pair{cfg.Cert, cfg.Key}, log: cfg.Log, now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Cert == "" && cfg.Key == "" {
		p, made, err := ensureSelfSigned(cfg.Dir, cfg.Names, s.now())
		if err != nil {
			return nil, err
		}
		s.pair = p
		defer s.announce(made)
	}
	at := s.pair.stamps()
	cert, err := s.pair.load()
	if err != nil {
		return nil, err
	}
	s.inForce, s.read, s.checked = cert, at, s.now()
	s.warn()
	return s, nil
}

// announce says that the certificate is our own, with what a person needs to
// compare it in a mail program.
func (s *Store) announce(made bool) {
	if s.inForce == nil {
		return
	}
	message := "using a self-signed certificate"
	if made {
		message = "made a self-signed certificate"
	}
	s.log.Warn(message, "file", s.pair.cert, "sha256", s.Fingerprint(), "expires", s.inForce.Leaf.NotAfter.Format(time.DateOnly))
}

// warn says what is not fatal and yet needs somebody's attention.
func (s *Store) warn() {
	if mode, open := s.pair.keyIsOpen(); open {
		s.log.Warn("the private key can be read by others: chmod 600 it", "file", s.pair.key, "mode", mode.String())
	}
	if left := s.inForce.Leaf.NotAfter.Sub(s.now()); left < 7*24*time.Hour {
		s.log.Warn("the certificate expires soon or has expired", "file", s.pair.cert, "expires", s.inForce.Leaf.NotAfter.Format(time.RFC3339))
	}
}

// Fingerprint is the SHA-256 of the certificate in force, in hexadecimal.
func (s *Store) Fingerprint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(s.inForce.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// Expires is the end of the certificate in force.
func (s *Store) Expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inForce.Leaf.NotAfter
}

// Reload looks at the files now. When they cannot be used the certificate in
// force stays, and the error says why.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload()
}

func (s *Store) reload() error {
	s.checked = s.now()
	at := s.pair.stamps()
	if at == s.read {
		return nil
	}
	cert, err := s.pair.load()
	if err != nil {
		return err
	}
	s.inForce, s.read, s.refused = cert, at, stamps{}
	s.log.Info("certificate replaced", "file", s.pair.cert, "expires", cert.Leaf.NotAfter.Format(time.RFC3339))
	s.warn()
	return nil
}

// certificate is asked at every handshake.
func (s *Store) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Sub(s.checked) >= checkEvery {
		if err := s.reload(); err != nil {
			if at := s.pair.stamps(); at != s.refused {
				s.refused = at
				s.log.Error("the new certificate cannot be used, the old one stays", "err", err)
			}
		}
	}
	return s.inForce, nil
}

// TLSConfig returns the configuration of a TLS server: at least TLS 1.2
// (RFC 8996, RFC 8997), the certificate looked up at every handshake.
func (s *Store) TLSConfig(opts Options) *tls.Config {
	cfg := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		GetCertificate:         s.certificate,
		SessionTicketsDisabled: opts.NoTickets,
		NextProtos:             opts.NextProtos,
	}
	if opts.ClientCAs != nil {
		cfg.ClientCAs, cfg.ClientAuth = opts.ClientCAs, tls.VerifyClientCertIfGiven
	}
	return cfg
}

// Leaf is the certificate in force for a client that named serverName in its
// handshake.
func (s *Store) Leaf(string) *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inForce.Leaf
}
