package sieve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const user = "ana@buzon.test"

func newLibrary(t *testing.T) (*Library, string) {
	t.Helper()
	mail := t.TempDir()
	l, err := OpenLibrary(mail)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, filepath.Join(mail, "buzon.test", "ana", "sieve")
}

func TestLibrary(t *testing.T) {
	l, dir := newLibrary(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	names := func() (names []string) {
		list, err := l.List(user)
		must(err)
		for _, e := range list {
			if e.Active {
				e.Name += "*"
			}
			names = append(names, e.Name)
		}
		return names
	}
	if s, err := l.Active(user); s != nil || err != nil || names() != nil {
		t.Fatal(s, err)
	}
	must(l.Put(user, "büro", []byte("keep;")))
	must(l.Put(user, "away", []byte("discard;")))
	want(l.Activate(user, "none"), ErrNoScript)
	must(l.Activate(user, "büro"))
	want(l.Delete(user, "büro"), ErrActive)
	want(l.Rename(user, "büro", "away"), ErrExists)
	want(l.Rename(user, "none", "x"), ErrNoScript)
	must(l.Rename(user, "büro", "office"))
	must(l.Rename(user, "away", "abroad"))
	if got := names(); !slices.Equal(got, []string{"abroad", "office*"}) {
		t.Error(got)
	}
	source, err := l.Get(user, "office")
	if must(err); string(source) != "keep;" {
		t.Errorf("%q", source)
	}
	_, err = l.Get(user, "../../luis/sieve/x")
	want(err, ErrNoScript)
	for _, bad := range []string{"", "a/b", "..", ".x", "a\nb", strings.Repeat("x", 200), "\xff"} {
		want(l.Put(user, bad, []byte("keep;")), ErrTitle)
	}
	var e *Error
	if err := l.Put(user, "office", []byte("\nkep;")); !errors.As(err, &e) || e.Line != 2 {
		t.Error(err)
	}
	must(l.Delete(user, "abroad"))
	must(l.Activate(user, ""))
	if got := names(); !slices.Equal(got, []string{"office"}) {
		t.Error(got)
	}
	want(l.HaveSpace(user, "x", MaxScript+1), ErrQuota)
	must(l.HaveSpace(user, "x", MaxScript))
	for i := range MaxScripts - 1 {
		must(l.Put(user, fmt.Sprint("s", i), []byte("keep;")))
	}
	want(l.Put(user, "more", []byte("keep;")), ErrQuota)
	want(l.Rename(user, "office", "more"), nil)

	// Nothing is left but scripts.
	files, err := os.ReadDir(dir)
	must(err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".sieve") {
			t.Error("litter:", f.Name())
		}
	}
}

// What a person writes into the file is what runs, from the next message on.
func TestActiveFollowsTheFile(t *testing.T) {
	l, dir := newLibrary(t)
	if err := errors.Join(l.Put(user, "mine", []byte("keep;")), l.Activate(user, "mine")); err != nil {
		t.Fatal(err)
	}
	first, err := l.Active(user)
	again, _ := l.Active(user)
	if err != nil || first == nil || again != first {
		t.Fatal(first, again, err)
	}
	file := filepath.Join(dir, "mine.sieve")
	if err := os.WriteFile(file, []byte(`require "reject"; reject "no";`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Active(user); err != nil || !s.Refuses() {
		t.Error(s, err)
	}
	if err := os.WriteFile(file, []byte("what is this"), 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if s, err := l.Active(user); s != nil || !errors.As(err, &e) {
		t.Error(s, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Active(user); s != nil || err == nil {
		t.Error(s, err)
	}
}

func TestKnown(t *testing.T) {
	l, dir := newLibrary(t)
	now := time.Unix(1000, 0)
	if l.Known(user, now)("a") {
		t.Error("known from the start")
	}
	for _, m := range []Memory{{"a", time.Minute}, {"b", time.Hour}} {
		if err := l.Remember(user, []Memory{m}, now); err != nil {
			t.Fatal(err)
		}
	}
	later := l.Known(user, now.Add(2*time.Minute))
	if !l.Known(user, now)("a") || later("a") || !later("b") {
		t.Error("remembered for the wrong time")
	}
	// What is forgotten leaves the file, and damage is passed over.
	if err := os.WriteFile(filepath.Join(dir, "known"), []byte("x\n\x00\n99999 c\n10 d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Remember(user, []Memory{{"e", time.Minute}}, now); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "known"))
	if err != nil || string(b) != "99999 c\n1060 e\n" {
		t.Errorf("%q %v", b, err)
	}
}
