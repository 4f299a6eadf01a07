package account

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseHash(t *testing.T) {
	h := newHash("hola")
	got, err := parseHash(h.String())
	if err != nil || !got.matches("hola") || got.matches("Hola") {
		t.Errorf("%s: %v", h, err)
	}
	// Made by the argon2 command: echo -n password | argon2 somesalt -id -t 2 -k 19456 -p 1 -e
	const foreign = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	if got, err := parseHash(foreign); err != nil || !got.matches("password") {
		t.Errorf("a hash of the reference implementation: %v", err)
	}
	for _, bad := range []string{
		"", "x", "$argon2id$", "$2y$10$abc", strings.Replace(foreign, "argon2id", "argon2i", 1),
		strings.Replace(foreign, "v=19", "v=16", 1), strings.Replace(foreign, "m=256", "m=4294967295", 1),
		strings.Replace(foreign, "m=256", "m=0", 1), strings.Replace(foreign, "t=2", "t=0", 1),
		strings.Replace(foreign, "t=2", "t=99999", 1), strings.Replace(foreign, "p=1", "p=257", 1),
		strings.Replace(foreign, "c29tZXNhbHQ", "YQ", 1), foreign + "=", foreign + "$", strings.Replace(foreign, "t=2", "t=02", 1),
	} {
		if _, err := parseHash(bad); err == nil {
			t.Errorf("parseHash(%q): no error", bad)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			t.Skip()
		}
		if got := h.String(); got != s {
			t.Errorf("parseHash(%q).String() = %q", s, got)
		}
	})
}

func TestGeneratePassword(t *testing.T) {
	a, b := GeneratePassword(), GeneratePassword()
	if a == b || len(a) != 23 || strings.Count(a, "-") != 3 {
		t.Errorf("%q and %q", a, b)
	}
}

func openOne(t testing.TB, workers int) *Directory {
	t.Helper()
	d, err := Open(Config{Dir: t.TempDir(), Domains: []Domain{{Name: "buzon.test"}}, HashWorkers: workers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for _, id := range []ID{"ana@buzon.test", "luis@buzon.test", "off@buzon.test"} {
		if err := d.Add(context.Background(), id, "the-same", 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SetDisabled(context.Background(), "off@buzon.test", true); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestHashWorkers(t *testing.T) {
	t.Run("wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := openOne(t, 1)
			d.workers <- struct{}{} // somebody is hashing for ever
			start := time.Now()
			if _, err := d.Authenticate(context.Background(), "ana", "the-same"); !errors.Is(err, ErrBusy) || time.Since(start) != hashWait {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := d.Authenticate(ctx, "ana", "the-same"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	})
	t.Run("cap", func(t *testing.T) {
		d := openOne(t, 2)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := d.Authenticate(context.Background(), "ana", "wrong"); !errors.Is(err, ErrBadCredentials) {
					t.Error(err)
				}
				if len(d.workers) > 2 {
					t.Errorf("%d hash at once", len(d.workers))
				}
			})
		}
		wg.Wait()
		if len(d.workers) != 0 {
			t.Errorf("%d workers were not given back", len(d.workers))
		}
	})
}

// The cache must never take one's password for another's, nor an old one.
func TestVerified(t *testing.T) {
	ctx := context.Background()
	d := openOne(t, 1)
	clock := time.Now()
	d.now = func() time.Time { return clock }
	// With every worker taken only what is remembered can log in.
	remembered := func(login, password string) bool {
		d.workers <- struct{}{}
		defer func() { <-d.workers }()
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := d.Authenticate(ctx, login, password)
		return err == nil
	}
	if remembered("ana", "the-same") {
		t.Fatal("remembered before it was checked")
	}
	if _, err := d.Authenticate(ctx, "ana", "the-same"); err != nil {
		t.Fatal(err)
	}
	if !remembered("ana", "the-same") || !remembered("ANA@BUZON.TEST", "the-same") {
		t.Error("not remembered")
	}
	for _, login := range []string{"luis", "off", "nobody", "ana+x"} {
		if remembered(login, "the-same") {
			t.Errorf("%s was let in by ana's password", login)
		}
	}
	if remembered("ana", "The-same") || remembered("ana", "the-sam") || remembered("ana", "") {
		t.Error("a wrong password was let in")
	}
	clock = clock.Add(verifiedFor)
	if remembered("ana", "the-same") {
		t.Error("remembered for too long")
	}
	if _, err := d.Authenticate(ctx, "ana", "the-same"); err != nil {
		t.Fatal(err)
	}
	if err := d.SetPassword(ctx, "ana@buzon.test", "another"); err != nil {
		t.Fatal(err)
	}
	if remembered("ana", "the-same") {
		t.Error("the old password was let in")
	}
	if _, err := d.Authenticate(ctx, "ana", "another"); err != nil {
		t.Fatal(err)
	}
	if err := d.SetDisabled(ctx, "ana@buzon.test", true); err != nil {
		t.Fatal(err)
	}
	if remembered("ana", "another") {
		t.Error("a disabled account was let in")
	}
}

// Every refusal costs one hash, whoever is asked for: the memory that argon2id
// takes is counted, which a busy machine does not change as it does the time.
func TestRefusalCostsOneHash(t *testing.T) {
	d := openOne(t, 1)
	for _, login := range refusedLogins {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := d.Authenticate(context.Background(), login, "wrong"); !errors.Is(err, ErrBadCredentials) {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took < hashMemory<<10 || took >= 2*hashMemory<<10 {
			t.Errorf("refusing %s took %d KiB, one hash takes %d", login, took>>10, hashMemory)
		}
	}
}

var refusedLogins = []string{"ana", "nobody", "off", "not an address", "ana@far.test"}

// BenchmarkRefuse shows that nobody can be told apart by the time either.
func BenchmarkRefuse(b *testing.B) {
	d := openOne(b, 1)
	for _, login := range refusedLogins {
		b.Run(login, func(b *testing.B) {
			for b.Loop() {
				if _, err := d.Authenticate(context.Background(), login, "wrong"); !errors.Is(err, ErrBadCredentials) {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	d := openOne(b, 0)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			d.verified.last = nil
			if _, err := d.Authenticate(context.Background(), "ana", "the-same"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Authenticate(context.Background(), "ana", "the-same"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
