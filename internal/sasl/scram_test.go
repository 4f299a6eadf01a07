package sasl

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"buzon/internal/account"
	"buzon/internal/limit"
)

// scramLogin lets the library's client log in, with a channel binding or none.
func (h *house) scramLogin(c Client, mechanism, login, password string, binding *scram.ChannelBinding) (*Exchange, error) {
	h.t.Helper()
	client, err := scram.SHA256.NewClient(login, password, "")
	if err != nil {
		h.t.Fatal(err)
	}
	talk := client.NewConversation()
	if binding != nil {
		talk = client.NewConversationWithChannelBinding(*binding)
	}
	x, err := h.Start(h.t.Context(), c, mechanism)
	if err != nil {
		return nil, err
	}
	challenge := ""
	for {
		message, err := talk.Step(challenge)
		if err != nil {
			h.t.Fatalf("the client gives up: %v", err)
		}
		answer, done, err := x.Next([]byte(message))
		if err != nil {
			return nil, err
		}
		if done {
			if !talk.Valid() {
				h.t.Error("the client was not convinced of us")
			}
			return x, nil
		}
		challenge = string(answer)
	}
}

// The example of RFC 7677 3, word for word.
func TestSCRAMExample(t *testing.T) {
	h := newHouse(t, nil)
	h.account("user@buzon.test", `password = ""
app_passwords = ["pencil 2026-01-01T00:00:00Z sha256:`+strings.Repeat("00", 32)+` SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="]
`)
	x, err := h.Start(t.Context(), h.client(nil), "SCRAM-SHA-256")
	if err != nil {
		t.Fatal(err)
	}
	l := &scramLogin{Exchange: x, nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"}
	x.next = l.first
	for _, turn := range [][2]string{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		answer, _, err := x.Next([]byte(turn[0]))
		if err != nil || string(answer) != turn[1] {
			t.Fatalf("to %q: %q, %v, want %q", turn[0], answer, err, turn[1])
		}
	}
	if _, done, err := x.Next([]byte{}); err != nil || !done || x.Account.ID != "user@buzon.test" || x.Account.Device != "pencil" {
		t.Errorf("at the end: %v %v, %+v", done, err, x.Account)
	}
}

func TestSCRAM(t *testing.T) {
	h := newHouse(t, nil)
	app, err := h.cfg.Directory.AddAppPassword(t.Context(), ana, "phone")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		login, password string
		device          string
		err             error
	}{
		{ana, password, "", nil},
		{"ANA@buzon.test", password, "", nil},
		{"ana", password, "", nil},
		{ana, app, "phone", nil},
		{ana, "wrong", "", ErrCredentials},
		{"luis@buzon.test", password, "", ErrCredentials}, // disabled
		{"nobody@buzon.test", password, "", ErrCredentials},
		{"a,b=c@buzon.test", password, "", ErrCredentials},
	} {
		x, err := h.scramLogin(h.client(nil), "SCRAM-SHA-256", test.login, test.password, nil)
		if !errors.Is(err, test.err) {
			t.Errorf("%s with %q: %v, want %v", test.login, test.password, err, test.err)
		}
		if err == nil && (x.Account.ID != ana || x.Account.Device != test.device) {
			t.Errorf("%s: logged in as %s by %q", test.login, x.Account.ID, x.Account.Device)
		}
	}
	if log := h.log.String(); strings.Contains(log, password) || strings.Contains(log, app) || !strings.Contains(log, "device=phone") {
		t.Errorf("the log:\n%s", log)
	}
	// A password that is taken back opens nothing, nor does the old one of two.
	if err := h.cfg.Directory.RemoveAppPassword(t.Context(), ana, "phone"); err != nil {
		t.Fatal(err)
	}
	if err := h.cfg.Directory.SetPassword(t.Context(), ana, "another"); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{app, password} {
		if _, err := h.scramLogin(h.client(nil), "SCRAM-SHA-256", ana, old, nil); !errors.Is(err, ErrCredentials) {
			t.Errorf("old password: %v", err)
		}
	}
	if _, err := h.scramLogin(h.client(nil), "SCRAM-SHA-256", ana, "another", nil); err != nil {
		t.Error(err)
	}
}

// A hash that a person writes into the file takes the SCRAM key out of force;
// the next login with the password makes a new one.
func TestSCRAMKeyOfAnotherPassword(t *testing.T) {
	h := newHouse(t, nil)
	// "x" by argon2id, with parameters that are quick to check.
	h.account(ana, `password = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$VQ7C9ti+Yf0jDPJvvpDyJj7qvb1nZYQpjdl5JGJPNzY"
`)
	if _, err := h.scramLogin(h.client(nil), "SCRAM-SHA-256", ana, password, nil); !errors.Is(err, ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
}

// Channel binding, of each kind, and every way to be cheated of it (RFC 5802 6).
func TestSCRAMPlus(t *testing.T) {
	h := newHouse(t, nil)
	for version, kinds := range map[uint16][]scram.ChannelBindingType{
		tls.VersionTLS13: {scram.ChannelBindingTLSExporter, scram.ChannelBindingTLSServerEndpoint},
		tls.VersionTLS12: {scram.ChannelBindingTLSExporter, scram.ChannelBindingTLSServerEndpoint, scram.ChannelBindingTLSUnique},
	} {
		ours, theirs := h.connect(version, &tls.Config{}, nil)
		c := h.client(ours)
		for _, kind := range kinds {
			var binding scram.ChannelBinding
			var err error
			switch kind {
			case scram.ChannelBindingTLSExporter:
				binding, err = scram.NewTLSExporterBinding(theirs)
			case scram.ChannelBindingTLSServerEndpoint:
				binding, err = scram.NewTLSServerEndpointBinding(theirs)
			case scram.ChannelBindingTLSUnique:
				binding = scram.NewTLSUniqueBinding(theirs.TLSUnique)
			}
			if err != nil {
				t.Fatal(err)
			}
			if x, err := h.scramLogin(c, "SCRAM-SHA-256-PLUS", ana, password, &binding); err != nil || x.Account.ID != ana {
				t.Errorf("%s under %s: %v", kind, tls.VersionName(version), err)
			}
			if _, err := h.scramLogin(c, "SCRAM-SHA-256", ana, password, &binding); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s without PLUS: %v", kind, err)
			}
			binding.Data = slices.Clone(binding.Data)
			binding.Data[0] ^= 1 // somebody stands between
			if _, err := h.scramLogin(c, "SCRAM-SHA-256-PLUS", ana, password, &binding); !errors.Is(err, ErrCredentials) {
				t.Errorf("%s of another connection: %v", kind, err)
			}
		}
		for _, test := range []struct {
			mechanism, first string
			err              error
		}{
			{"SCRAM-SHA-256", "y,,n=ana,r=abc", ErrCredentials}, // the list was changed on the way
			{"SCRAM-SHA-256", "n,,n=ana,r=abc", nil},
			{"SCRAM-SHA-256-PLUS", "n,,n=ana,r=abc", ErrMalformed},
			{"SCRAM-SHA-256-PLUS", "y,,n=ana,r=abc", ErrMalformed},
			{"SCRAM-SHA-256-PLUS", "p=tls-nonsense,,n=ana,r=abc", ErrMalformed},
			{"SCRAM-SHA-256", "n,a=luis@buzon.test,n=ana,r=abc", ErrAuthorization},
			{"SCRAM-SHA-256", "n,a=ana@buzon.test,n=ana,r=abc", nil},
			{"SCRAM-SHA-256", "n,,m=x,n=ana,r=abc", ErrMalformed},
			{"SCRAM-SHA-256", "", ErrMalformed},
			{"SCRAM-SHA-256", strings.Repeat("n", 5000), ErrMalformed},
		} {
			if _, _, err := h.say(c, test.mechanism, test.first); !errors.Is(err, test.err) {
				t.Errorf("%s %q: %v, want %v", test.mechanism, test.first, err, test.err)
			}
		}
	}
	// Without TLS there is nothing to bind to, and "y" is honest.
	if _, _, err := h.say(h.client(nil), "SCRAM-SHA-256-PLUS"); !errors.Is(err, ErrMechanism) {
		t.Errorf("PLUS without TLS: %v", err)
	}
	if _, _, err := h.say(h.client(nil), "SCRAM-SHA-256", "y,,n=ana,r=abc"); err != nil {
		t.Error(err)
	}
}

// Nobody learns from the first answer who is a user here, today or tomorrow.
func TestSCRAMHidesUsers(t *testing.T) {
	h := newHouse(t, nil)
	first := func(g *house, login string) string {
		t.Helper()
		challenge, _, err := g.say(g.client(nil), "SCRAM-SHA-256", "n,,n="+login+",r=abc")
		if err != nil {
			t.Fatal(err)
		}
		_, salt, _ := strings.Cut(challenge, ",")
		return salt
	}
	seen := map[string]string{}
	for _, login := range []string{"ana", "luis", "nobody", "nobody2"} {
		salt := first(h, login)
		if other := seen[salt]; other != "" {
			t.Errorf("%s has the salt of %s", login, other)
		}
		seen[salt] = login
		if !strings.HasSuffix(salt, ",i=4096") {
			t.Errorf("%s: %s", login, salt)
		}
		for _, same := range []string{login, strings.ToUpper(login), login + "@buzon.test"} {
			if first(h, same) != salt {
				t.Errorf("%s has another salt than %s", same, login)
			}
		}
	}
	if err := h.cfg.Directory.SetPassword(t.Context(), ana, "another"); err != nil {
		t.Fatal(err)
	}
	if err := h.cfg.Directory.Remove(t.Context(), "luis@buzon.test"); err != nil {
		t.Fatal(err)
	}
	again, err := account.Open(account.Config{Dir: h.dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", SCRAMIterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	g := &house{Gatekeeper: New(Config{Directory: again}), t: t, log: h.log}
	for salt, login := range seen {
		if got := first(g, login); got != salt {
			t.Errorf("%s: the salt was %s and is %s after a restart", login, salt, got)
		}
	}
}

// A12: an exchange cannot be used twice, or with another's nonce.
func TestSCRAMReplay(t *testing.T) {
	h := newHouse(t, func(cfg *Config) { cfg.Guard = limit.NewGuard(limit.GuardConfig{PerMinute: 2}) })
	const final = "c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	_, x, err := h.say(h.client(nil), "SCRAM-SHA-256", "n,,n=ana,r=abc", final)
	if !errors.Is(err, ErrCredentials) {
		t.Fatalf("foreign nonce: %v", err)
	}
	if _, _, err := x.Next([]byte(final)); !errors.Is(err, ErrMalformed) {
		t.Errorf("after its end: %v", err)
	}
}
