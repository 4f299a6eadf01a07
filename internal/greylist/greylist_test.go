package greylist

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func attempt(ip, from, to string) Attempt {
	return Attempt{Network: netip.MustParseAddr(ip), From: from, To: to}
}

func open(t *testing.T, path string) *List {
	t.Helper()
	l, err := New(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A sender waits once, and is known for as long as it comes again.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, "")
		a := attempt("192.0.2.1", "far.test", "ana@buzon.test")
		wait := func(a Attempt, want time.Duration, when string) {
			t.Helper()
			if got := l.Wait(a); got != want {
				t.Errorf("%s: wait %v, want %v", when, got, want)
			}
		}
		wait(a, 5*time.Minute, "new")
		time.Sleep(time.Minute)
		wait(a, 4*time.Minute, "too early")
		wait(attempt("192.0.2.9", "far.test", "ana@buzon.test"), 4*time.Minute, "from its neighbour")
		if l.Knows(a) {
			t.Error("known before it came again")
		}
		time.Sleep(4 * time.Minute)
		wait(a, 0, "in time")
		wait(attempt("192.0.2.9", "far.test", "ana@buzon.test"), 0, "from its neighbour, later")
		if !l.Knows(a) {
			t.Error("not known")
		}
		wait(attempt("192.0.3.1", "far.test", "ana@buzon.test"), 5*time.Minute, "from another network")
		wait(attempt("192.0.2.1", "other.test", "ana@buzon.test"), 5*time.Minute, "of another domain")
		wait(attempt("192.0.2.1", "far.test", "luis@buzon.test"), 5*time.Minute, "to somebody else")
		time.Sleep(34 * 24 * time.Hour)
		wait(a, 0, "a month later")
		time.Sleep(34 * 24 * time.Hour)
		wait(a, 0, "and another one")
		time.Sleep(36 * 24 * time.Hour)
		wait(a, 5*time.Minute, "too long ago")
		time.Sleep(49 * time.Hour)
		wait(a, 5*time.Minute, "came again too late")

		six := attempt("2001:db8:1:2::3", "far.test", "ana@buzon.test")
		wait(six, 5*time.Minute, "IPv6")
		time.Sleep(time.Hour)
		wait(attempt("2001:db8:1:2:ffff::1", "far.test", "ana@buzon.test"), 0, "the same /64")
		wait(attempt("2001:db8:1:3::3", "far.test", "ana@buzon.test"), 5*time.Minute, "another /64")
	})
}

// A domain that names its hosts may come from any of them, and who has passed
// often enough waits no more.
func TestProvenAndTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, "")
		from := func(ip, to string) Attempt {
			a := attempt(ip, "big.test", to)
			a.Proven = true
			return a
		}
		if l.Wait(from("192.0.2.1", "ana@buzon.test")) == 0 {
			t.Error("new, and did not wait")
		}
		time.Sleep(10 * time.Minute)
		if l.Wait(from("198.51.100.7", "ana@buzon.test")) != 0 {
			t.Error("came again from another of its hosts, and had to wait")
		}
		for i := range trusted - 1 {
			to := fmt.Sprintf("u%d@buzon.test", i)
			if l.Wait(from("192.0.2.1", to)) == 0 {
				t.Errorf("trusted after %d", i+1)
			}
			time.Sleep(10 * time.Minute)
			l.Wait(from("192.0.2.1", to))
		}
		if l.Wait(from("203.0.113.1", "new@buzon.test")) != 0 || !l.Knows(from("203.0.113.1", "newer@buzon.test")) {
			t.Error("not trusted after all")
		}
		other := from("203.0.113.1", "ana@buzon.test")
		other.From = "other.test"
		if l.Wait(other) == 0 {
			t.Error("another domain is trusted as well")
		}
	})
}

// What is known is there again after a restart, and after a crash that tore the
// last line; a file that is gone or full of nonsense means that all are new.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "greylist")
		l := open(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		a := attempt("192.0.2.1", "far.test", "ana@buzon.test")
		l.Wait(a)
		time.Sleep(6 * time.Minute)
		if l.Wait(a) != 0 {
			t.Fatal("not taken")
		}
		b := attempt("192.0.2.1", "far.test", "luis@buzon.test")
		l.Wait(b)
		time.Sleep(11 * time.Second) // Run has written
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), "\n") != 4 || strings.Contains(string(text), "far.test") {
			t.Fatalf("%q, %v", text, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, "nonsense\n0000000000000001 5 4 0\n00000000"...), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, path)
		if len(l.entries) != 3 || l.Wait(a) != 0 || l.Wait(b) == 0 {
			t.Errorf("after a restart: %v", l.entries)
		}
		time.Sleep(10 * time.Minute)
		if l.Wait(b) != 0 {
			t.Error("its waiting is forgotten")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if l = open(t, path); l.Wait(a) == 0 {
			t.Error("known from nowhere")
		}
	})
}

// The file does not grow without end, and a flood of strangers does not push
// out who is known.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "greylist")
		l := open(t, path)
		for i := range 3 {
			for n := range slack {
				l.mu.Lock()
				l.set(uint64(n), entry{first: time.Now().Unix(), last: time.Now().Unix(), passes: int64(i)})
				l.mu.Unlock()
			}
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			l.mu.Lock()
			for n := range slack {
				l.set(uint64(n), entry{first: time.Now().Unix(), last: time.Now().Unix(), passes: 9})
			}
			l.mu.Unlock()
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if n := strings.Count(string(text), "\n"); err != nil || n > 2*slack+slack {
			t.Errorf("%d lines for %d entries, %v", n, slack, err)
		}
		if again := open(t, path); len(again.entries) != slack || again.entries[7].passes != 9 {
			t.Errorf("%d entries", len(again.entries))
		}

		l = open(t, "")
		a := attempt("192.0.2.1", "far.test", "ana@buzon.test")
		l.Wait(a)
		time.Sleep(time.Hour)
		l.Wait(a)
		now := time.Now().Unix()
		l.mu.Lock()
		for n := range uint64(maxEntries + 10) {
			l.set(n, entry{first: now, last: now})
		}
		l.mu.Unlock()
		if len(l.entries) > maxEntries || !l.Knows(a) {
			t.Errorf("%d entries, known: %t", len(l.entries), l.Knows(a))
		}
	})
}

// A line is one that was written, or it does not count.
func FuzzLine(f *testing.F) {
	f.Add("00000000000000ff 1 2 3")
	f.Add("ff 1 2 3")
	f.Add("00000000000000ff 3 2 1")
	f.Fuzz(func(t *testing.T, s string) {
		key, e, ok := parseLine(s)
		if ok && string(appendLine(nil, key, e)) != s+"\n" {
			t.Errorf("%q", s)
		}
	})
}
