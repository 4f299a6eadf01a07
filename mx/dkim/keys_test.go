package dkim_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/mx/dkim"
	"buzon/mx/dns/dnstest"
)

func openStore(t *testing.T) (*dkim.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dkim")
	s, err := dkim.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func selectors(t *testing.T, s *dkim.Store, domain string) string {
	t.Helper()
	all, err := s.List(domain)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, k := range all {
		list = append(list, k.Selector+":"+string(k.State))
	}
	return strings.Join(list, " ")
}

func TestKeyStore(t *testing.T) {
	s, dir := openStore(t)
	day := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	if _, err := s.Active("a.test"); !errors.Is(err, dkim.ErrNoKey) {
		t.Errorf("without keys: %v", err)
	}
	made, err := s.Make("A.Test", dkim.Active, day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Make("a.test", dkim.Next, day); err != nil {
		t.Fatal(err)
	}
	if got := selectors(t, s, "a.test"); got != "20261122e: 20261122e2:next 20261122r: 20261122r2:next" {
		t.Errorf("keys %q", got)
	}
	active, err := s.Active("a.test")
	if err != nil || len(active) != 2 || active[0].Algorithm() != "rsa" || active[1].Algorithm() != "ed25519" || active[0].Name() != "20261122r._domainkey.a.test" {
		t.Fatalf("active %v, %v", active, err)
	}
	for _, name := range []string{"20261122e.pem", "20261122r2.next.pem"} {
		info, err := os.Stat(filepath.Join(dir, "a.test", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	// A message signed with what is on the disk verifies with what is published.
	var zone strings.Builder
	for _, k := range made {
		zone.WriteString(zoneLine(t, k.Name(), k.Private.Public()))
	}
	for _, sig := range verify(t, dnstest.NewClient(t, zone.String()), sign(t, active, plain)) {
		if sig.Result != dkim.Pass {
			t.Errorf("%+v", sig)
		}
	}
	all, err := s.List("a.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		switch k.State {
		case dkim.Next:
			err = s.Set(k, dkim.Active)
		case dkim.Active:
			err = s.Set(k, dkim.Old)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := selectors(t, s, "a.test"); got != "20261122e:old 20261122e2: 20261122r:old 20261122r2:" {
		t.Errorf("after the change: %q", got)
	}
	for _, k := range all {
		if k.State == dkim.Active {
			k.State = dkim.Old
			if err := s.Remove(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := selectors(t, s, "a.test"); got != "20261122e2: 20261122r2:" {
		t.Errorf("after the removal: %q", got)
	}
}

// TestBadKeyFiles: a key that cannot be used is an error, and never silence.
func TestBadKeyFiles(t *testing.T) {
	s, dir := openStore(t)
	if _, err := s.Make("a.test", dkim.Active, time.Now()); err != nil {
		t.Fatal(err)
	}
	good, err := filepath.Glob(filepath.Join(dir, "a.test", "*r.pem"))
	if err != nil || len(good) != 1 {
		t.Fatal(good, err)
	}
	text := read(t, good[0])
	bad := filepath.Join(dir, "a.test", "x.pem")
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable":  {text, 0o644, "others can read it"},
		"empty":     {"", 0o600, "is not PEM"},
		"cut":       {text[:500], 0o600, "is not PEM"},
		"no key":    {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "is not a private key"},
		"too large": {strings.Repeat("x", 20<<10), 0o600, "is too large"},
	} {
		if err := os.WriteFile(bad, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Active("a.test"); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "a.test/x.pem") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		os.Remove(bad)
	}
	if err := os.Symlink(good[0], bad); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Active("a.test"); err == nil {
		t.Error("a symbolic link was followed")
	}
	os.Remove(bad)
	for _, name := range []string{"README", ".hidden.pem", "x.pem.bak", "ñ x.pem"} {
		if err := os.WriteFile(filepath.Join(dir, "a.test", name), []byte("?"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Active("a.test"); err != nil {
		t.Errorf("files that are no keys: %v", err)
	}
	if _, err := s.List("../a.test"); err == nil {
		t.Error("a path was taken for a domain")
	}
}

// TestEnsureOnce: of many at once, one makes the keys, and all see the same.
func TestEnsureOnce(t *testing.T) {
	_, dir := openStore(t)
	type result struct {
		names string
		made  bool
	}
	results := make(chan result)
	for range 4 {
		go func() {
			var r result
			defer func() { results <- r }()
			s, err := dkim.OpenStore(dir) // as another process has it
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			keys, made, err := s.Ensure("a.test", time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			r.made = made
			for _, k := range keys {
				text, err := dkim.Record(k.Private.Public())
				r.names += text
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	made, first := 0, ""
	for i := range 4 {
		r := <-results
		if i == 0 {
			first = r.names
		}
		if r.made {
			made++
		}
		if r.names != first || first == "" {
			t.Error("not everybody has the same keys")
		}
	}
	if made != 1 {
		t.Errorf("%d have made keys", made)
	}
}
