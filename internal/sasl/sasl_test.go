package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/limit"
)

func TestMechanisms(t *testing.T) {
	h := newHouse(t, nil)
	ours, _ := h.connect(tls.VersionTLS13, &tls.Config{}, nil)
	away := h.client(nil)
	away.Trusted = false
	for _, test := range []struct {
		what string
		g    *Gatekeeper
		c    Client
		want string
	}{
		{"without TLS", h.Gatekeeper, away, ""},
		{"on this machine", h.Gatekeeper, h.client(nil), "SCRAM-SHA-256 PLAIN LOGIN"},
		{"under TLS", h.Gatekeeper, h.client(ours), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"},
		{"no SCRAM", New(Config{Directory: h.cfg.Directory, NoSCRAM: true}), h.client(ours), "PLAIN LOGIN"},
		{"tokens", New(Config{Directory: h.cfg.Directory, NoSCRAM: true, Tokens: NewIssuer(IssuerConfig{})}), h.client(ours), "PLAIN LOGIN OAUTHBEARER XOAUTH2"},
	} {
		if got := strings.Join(test.g.Mechanisms(test.c), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.what, got, test.want)
		}
		for _, m := range mechanisms() {
			_, err := test.g.Start(t.Context(), test.c, m.name)
			if offered := slices.Contains(strings.Fields(test.want), m.name); offered != (err == nil) {
				t.Errorf("%s: offered %v, and Start: %v", m.name, offered, err)
			}
		}
	}
	if _, err := h.Password(t.Context(), away, ana, password); !errors.Is(err, ErrInsecure) {
		t.Errorf("password without TLS: %v", err)
	}
}

// Every mechanism that guesses can be made with pays the same for them.
func TestGuardHoldsForAll(t *testing.T) {
	guess := map[string]func(*house, int) error{
		"password": func(h *house, i int) error {
			_, err := h.Password(h.t.Context(), h.client(nil), ana, fmt.Sprint("guess", i))
			return err
		},
	}
	for _, m := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"} {
		guess[m] = func(h *house, i int) error {
			messages := map[string][]string{
				"PLAIN":         {fmt.Sprintf("\x00ana\x00guess%d", i)},
				"LOGIN":         {"ana", fmt.Sprint("guess", i)},
				"SCRAM-SHA-256": {"n,,n=ana,r=abc", "c=biws,r=abc,p=AAAA"},
				"OAUTHBEARER":   {fmt.Sprintf("n,,\x01auth=Bearer guess%d\x01\x01", i), "\x01"},
				"XOAUTH2":       {fmt.Sprintf("user=ana\x01auth=Bearer guess%d\x01\x01", i), ""},
			}[m]
			_, _, err := h.say(h.client(nil), m, messages...)
			return err
		}
	}
	for name, try := range guess {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, func(cfg *Config) {
					cfg.Guard, cfg.Tokens = limit.NewGuard(limit.GuardConfig{PerMinute: 3}), noTokens{}
				})
				for i, want := range []time.Duration{0, 2 * time.Second, 4 * time.Second} {
					start := time.Now()
					if err := try(h, i); !errors.Is(err, ErrCredentials) {
						t.Fatalf("guess %d: %v", i, err)
					}
					if took := time.Since(start); took != want {
						t.Errorf("guess %d took %v, want %v", i, took, want)
					}
				}
				if err := try(h, 9); !errors.Is(err, ErrGuessing) {
					t.Errorf("after three guesses: %v", err)
				}
			})
		})
	}
}

func TestExternal(t *testing.T) {
	h := newHouse(t, nil)
	authority := certificate(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	show := func(addresses ...string) Client {
		t.Helper()
		cert := certificate(t, &x509.Certificate{EmailAddresses: addresses, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, &authority)
		ours, _ := h.connect(tls.VersionTLS13, &tls.Config{Certificates: []tls.Certificate{cert}},
			&tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven})
		return h.client(ours)
	}
	if err := h.cfg.Directory.Add(t.Context(), "eva@buzon.test", password, 0); err != nil {
		t.Fatal(err)
	}
	both := show(ana, "eva@buzon.test")
	for _, test := range []struct {
		what    string
		c       Client
		message string
		err     error
	}{
		{"one address", show("ANA@buzon.test"), "", nil},
		{"one address, named", show(ana), ana, nil},
		{"two addresses, named", both, ana, nil},
		{"two addresses", both, "", ErrCredentials},
		{"somebody else", both, "luis@buzon.test", ErrCredentials},
		{"disabled", show("luis@buzon.test"), "", ErrMechanism},
		{"no account", show("nobody@buzon.test"), "", ErrMechanism},
		{"another domain", show("ana@far.test"), "", ErrMechanism},
		{"no address", show(), "", ErrMechanism},
		{"a name alone", show("ana"), "", ErrMechanism},
	} {
		_, x, err := h.say(test.c, "EXTERNAL", test.message)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.what, err, test.err)
		}
		if err == nil && x.Account.ID != ana {
			t.Errorf("%s: logged in as %s", test.what, x.Account.ID)
		}
		if offered := slices.Contains(h.Mechanisms(test.c), "EXTERNAL"); offered != (test.err != ErrMechanism) {
			t.Errorf("%s: offered %v", test.what, offered)
		}
	}
}
