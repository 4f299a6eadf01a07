package imapd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/internal/account"
	"buzon/maildir"
)

const (
	ana      = "ana@buzon.test"
	luis     = "luis@buzon.test"
	eva      = "eva@buzon.test"
	password = "open sesame"
)

// A host is a server on a loopback port over a Maildir of its own.
type host struct {
	addr  string
	mail  string // the directory of all Maildirs
	store *maildir.Store
	dir   *account.Directory
}

// newHost starts a server, which ends with the test. adjust may change its configuration.
func newHost(t testing.TB, adjust func(*imapd.Config)) *host {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	mail := t.TempDir()
	store, err := maildir.Open(maildir.Config{Mail: mail, State: t.TempDir(), Host: "buzon.test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := imapd.Config{Store: store, Directory: directory(t), Hostname: "buzon.test", Log: log, PlaintextFromLoopback: true, TLS: newTLS(t)}
	if adjust != nil {
		adjust(&cfg)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- imapd.New(cfg).Serve(ctx, ln, false) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * time.Minute):
			t.Error("the server does not stop")
		}
	})
	return &host{addr: ln.Addr().String(), mail: mail, store: store, dir: cfg.Directory}
}

func (h *host) dial(t testing.TB) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// deliver brings a message of testdata/mail as from outside.
func (h *host) deliver(t testing.TB, mail, mailbox string) {
	t.Helper()
	user, err := h.store.User(t.Context(), ana)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Release()
	staged, err := user.Stage(t.Context(), bytes.NewReader(mailFile(t, mail)))
	if err == nil {
		_, err = user.Deliver(t.Context(), staged, mailbox, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func newTLS(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"buzon.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// accounts is one directory for all tests: a password costs 20 ms to hash.
var accounts = sync.OnceValues(func() (*account.Directory, error) {
	dir, err := os.MkdirTemp("", "imapd-accounts")
	if err != nil {
		return nil, err
	}
	d, err := account.Open(account.Config{Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "buzon.test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	for _, id := range []account.ID{ana, luis, eva} {
		if err := d.Add(context.Background(), id, password, 0); err != nil {
			return nil, err
		}
	}
	return d, nil
})

func directory(t testing.TB) *account.Directory {
	t.Helper()
	d, err := accounts()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
