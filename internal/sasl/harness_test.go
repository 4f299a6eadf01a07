package sasl

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"buzon/internal/account"
)

const (
	ana      = "ana@buzon.test"
	password = "correct horse"
)

// house is a Gatekeeper with the accounts ana and luis, of which luis is disabled.
type house struct {
	*Gatekeeper
	t    *testing.T
	dir  string
	log  *bytes.Buffer
	cert tls.Certificate
}

func newHouse(t *testing.T, adjust func(*Config)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	if err := os.CopyFS(h.dir, os.DirFS(accountFiles())); err != nil {
		t.Fatal(err)
	}
	d, err := openAccounts(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	h.cert = certificate(t, &x509.Certificate{DNSNames: []string{"mx.buzon.test"}}, nil)
	cfg := Config{Directory: d, Leaf: func(string) *x509.Certificate { return h.cert.Leaf }}
	if adjust != nil {
		adjust(&cfg)
	}
	h.Gatekeeper = New(cfg)
	return h
}

func openAccounts(dir string) (*account.Directory, error) {
	return account.Open(account.Config{
		Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", SCRAMIterations: 4096,
	})
}

// accountFiles is a directory with our accounts, made once: to hash a password
// takes long.
var accountFiles func() string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sasl-*")
	if err != nil {
		panic(err)
	}
	accountFiles = sync.OnceValue(func() string {
		if err := makeAccounts(dir); err != nil {
			panic(err)
		}
		return dir
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func makeAccounts(dir string) error {
	d, err := openAccounts(dir)
	if err != nil {
		return err
	}
	for _, id := range []account.ID{ana, "luis@buzon.test"} {
		if err := d.Add(context.Background(), id, password, 0); err != nil {
			return err
		}
	}
	return errors.Join(d.SetDisabled(context.Background(), "luis@buzon.test", true), d.Close())
}

// account writes the file of an account by hand.
func (h *house) account(id account.ID, text string) {
	h.t.Helper()
	name := filepath.Join(h.dir, "accounts", id.Domain(), id.User()+".toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := h.cfg.Directory.Reload(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) client(state *tls.ConnectionState) Client {
	return Client{IP: netip.MustParseAddr("192.0.2.1"), TLS: state, Trusted: true, Service: "test", Log: slog.New(slog.NewTextHandler(h.log, nil))}
}

// say runs an exchange: each message of the client, nil for none, and what is
// answered to the last one.
func (h *house) say(c Client, mechanism string, messages ...string) (challenge string, x *Exchange, err error) {
	h.t.Helper()
	x, err = h.Start(context.Background(), c, mechanism)
	if err != nil {
		return "", nil, err
	}
	var answer []byte
	for _, m := range messages {
		var done bool
		if answer, done, err = x.Next([]byte(m)); err != nil || done {
			return string(answer), x, err
		}
	}
	return string(answer), x, err
}

// connect makes a TLS connection and returns how both sides see it.
func (h *house) connect(version uint16, client *tls.Config, server *tls.Config) (ours, theirs *tls.ConnectionState) {
	h.t.Helper()
	if server == nil {
		server = &tls.Config{}
	}
	server.Certificates = []tls.Certificate{h.cert}
	client.InsecureSkipVerify, client.MinVersion, client.MaxVersion = true, version, version
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(2 * time.Minute)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // the tickets, too
		}
		done <- err
	}()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		h.t.Fatal(err)
	}
	if err := <-done; err != nil {
		h.t.Fatal(err)
	}
	mine, other := s.ConnectionState(), c.ConnectionState()
	return &mine, &other
}

// certificate makes one, signed by an authority or by itself.
func certificate(t *testing.T, template *x509.Certificate, authority *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
