package certs

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a time that only the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func writePair(t *testing.T, dir, name string, now time.Time) (cert, key string) {
	t.Helper()
	certPEM, keyPEM, err := selfSign([]string{name}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, certPEM)
	write(t, key, keyPEM)
	return cert, key
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// served is the name in the certificate that a client is shown.
func served(t *testing.T, s *Store) string {
	t.Helper()
	state := handshake(t, s.TLSConfig(Options{}), &tls.Config{InsecureSkipVerify: true})
	return state.PeerCertificates[0].Subject.CommonName
}

func handshake(t *testing.T, server, client *tls.Config) tls.ConnectionState {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(a, server).Handshake(); _, _ = io.Copy(io.Discard, a) }()
	c := tls.Client(b, client)
	if err := c.Handshake(); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return c.ConnectionState()
}

func TestReplacedFilesAreServedWithinSeconds(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	cert, key := writePair(t, dir, "old.test", c.at)
	s, err := Open(Config{Cert: cert, Key: key, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if got := served(t, s); got != "old.test" {
		t.Fatalf("served %q", got)
	}
	writePair(t, dir, "new.test", c.at)
	c.at = c.at.Add(checkEvery)
	if got := served(t, s); got != "new.test" {
		t.Errorf("after the replacement: served %q, want new.test", got)
	}
}

func TestBadReplacementKeepsTheOldOneAndSaysSoOnce(t *testing.T) {
	now := time.Now()
	_, otherKey, err := selfSign([]string{"other.test"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(t *testing.T, cert, key string){
		"key of another certificate": func(t *testing.T, _, key string) { write(t, key, otherKey) },
		"empty certificate":          func(t *testing.T, cert, _ string) { write(t, cert, nil) },
		"half a certificate": func(t *testing.T, cert, _ string) {
			data, err := os.ReadFile(cert)
			if err != nil {
				t.Fatal(err)
			}
			write(t, cert, data[:len(data)/2])
		},
		"no key": func(t *testing.T, _, key string) {
			if err := os.Remove(key); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			c, log := &clock{now}, &bytes.Buffer{}
			cert, key := writePair(t, t.TempDir(), "good.test", now)
			s, err := Open(Config{Cert: cert, Key: key, Now: c.now, Log: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, cert, key)
			for range 3 {
				c.at = c.at.Add(checkEvery)
				if got := served(t, s); got != "good.test" {
					t.Fatalf("served %q, want the old one", got)
				}
			}
			if n := strings.Count(log.String(), "the old one stays"); n != 1 {
				t.Errorf("said %d times that the new one is bad, want once:\n%s", n, log)
			}
			if err := s.Reload(); err == nil {
				t.Error("Reload of bad files: no error")
			}
		})
	}
}

func TestSelfSignedIsMadeOnceAndAnnounced(t *testing.T) {
	log := &bytes.Buffer{}
	cfg := Config{Dir: filepath.Join(t.TempDir(), "tls"), Names: []string{"mail.buzon.test", "buzon.test"}, Log: slog.New(slog.NewTextHandler(log, nil))}
	first, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), first.Fingerprint()) {
		t.Errorf("the fingerprint is not announced: %s", log)
	}
	again, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint() != again.Fingerprint() {
		t.Error("a second start made another certificate")
	}
	st, err := os.Stat(filepath.Join(cfg.Dir, selfSignedKey))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, %v; want 0600", st.Mode(), err)
	}
	state := handshake(t, again.TLSConfig(Options{}), &tls.Config{InsecureSkipVerify: true})
	for _, name := range cfg.Names {
		if err := state.PeerCertificates[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestTLSBelowOneTwoIsRefusedAndTicketsCanBeOff(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Names: []string{"a.test"}})
	if err != nil {
		t.Fatal(err)
	}
	conf := s.TLSConfig(Options{NoTickets: true})
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(a, conf).Handshake(); a.Close() }()
	if err := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}).Handshake(); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if !conf.SessionTicketsDisabled {
		t.Error("tickets are on though they were to be off")
	}
}

func TestOpenRefusesWhatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a.test", time.Now())
	for what, cfg := range map[string]Config{
		"certificate without key": {Cert: cert},
		"key without certificate": {Key: key},
		"missing files":           {Cert: cert + "x", Key: key},
		"self-signed, no name":    {Dir: dir},
	} {
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestOpenKeyIsReported(t *testing.T) {
	log := &bytes.Buffer{}
	cert, key := writePair(t, t.TempDir(), "a.test", time.Now())
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Cert: cert, Key: key, Log: slog.New(slog.NewTextHandler(log, nil))}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("no warning about the key's mode: %s", log)
	}
}
