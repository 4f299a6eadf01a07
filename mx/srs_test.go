package mx

import (
	"errors"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

func TestSRS(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ours := srs{secret: []byte("0123456789abcdef"), now: func() time.Time { return now }}
	theirs := srs{secret: []byte("another-secret-x"), now: ours.now}
	address := func(s string) smtp.Address {
		t.Helper()
		a, err := smtp.ParsePath("<" + s + ">")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, from := range []string{"ana@far.test", "Ana.M+x=y@far.test", "a@b.c", "srs@far.test", "SRS@far.test"} {
		path := ours.forward(address(from), "ours.test")
		if !strings.HasPrefix(path.Local, "SRS0=") || path.Domain != "ours.test" {
			t.Errorf("%s became %s", from, path)
		}
		for _, seen := range []smtp.Address{path, {Local: strings.ToLower(path.Local), Domain: path.Domain}} {
			back, is, err := ours.reverse(seen)
			if !is || err != nil || !strings.EqualFold(back.String(), from) {
				t.Errorf("%s leads back to %s, %t, %v", seen, back, is, err)
			}
		}
		if _, is, err := theirs.reverse(path); !is || !errors.Is(err, errSRSForged) {
			t.Errorf("another's secret: %t, %v", is, err)
		}
	}

	// Two forwarders before us, and the way back through each.
	first := theirs.forward(address("ana@far.test"), "one.test")
	second := ours.forward(first, "ours.test")
	third := theirs.forward(second, "three.test")
	if !strings.HasPrefix(second.Local, "SRS1=") || !strings.Contains(second.Local, "=one.test==") || !strings.Contains(third.Local, "=one.test==") {
		t.Errorf("the chain is %s, %s, %s", first, second, third)
	}
	if back, is, err := ours.reverse(second); !is || err != nil || back != first {
		t.Errorf("%s leads back to %s, %t, %v; want %s", second, back, is, err, first)
	}
	if back, _, err := theirs.reverse(third); err != nil || back != first {
		t.Errorf("%s leads back to %s, %v; want %s", third, back, err, first)
	}

	path := ours.forward(address("ana@far.test"), "ours.test")
	for _, local := range []string{"SRS0", "SRS0=", "SRS0=x", "SRS0=AAAAAA=AA=far.test=ana", "SRS1=x=y", strings.Replace(path.Local, "=ana", "=eva", 1), strings.Replace(path.Local, "far.test", "near.test", 1)} {
		back, is, err := ours.reverse(smtp.Address{Local: local, Domain: "ours.test"})
		if err == nil && is || back != (smtp.Address{}) {
			t.Errorf("forged %s: %s, %t, %v", local, back, is, err)
		}
	}
	now = now.Add(20 * day)
	if _, _, err := ours.reverse(path); err != nil {
		t.Errorf("after 20 days: %v", err)
	}
	now = now.Add(2 * day)
	if _, _, err := ours.reverse(path); !errors.Is(err, errSRSExpired) {
		t.Errorf("after 22 days: %v", err)
	}
	for _, from := range []smtp.Address{{}, {Local: strings.Repeat("x", 60), Domain: "far.test"}, {Local: "a b", Domain: "far.test"}} {
		if path := ours.forward(from, "ours.test"); !path.IsNull() {
			t.Errorf("%s became %s, want the null path", from, path)
		}
	}
}

// Whoever a path leads back to, it is one that we have made, and an address.
func FuzzSRS(f *testing.F) {
	s := srs{secret: []byte("0123456789abcdef"), now: func() time.Time { return time.Unix(1.8e9, 0) }}
	f.Add("SRS0=AAAAAA=AA=far.test=ana")
	f.Add(s.forward(smtp.Address{Local: "ana", Domain: "far.test"}, "o.test").Local)
	f.Add(s.seal("SRS1", "a==b"))
	f.Fuzz(func(t *testing.T, local string) {
		back, is, err := s.reverse(smtp.Address{Local: local, Domain: "o.test"})
		if !is || err != nil {
			t.Skip()
		}
		if _, err := smtp.ParsePath(back.Path()); err != nil {
			t.Errorf("%q leads back to %q", local, back.String())
		}
		kind, rest := cutSRS(local)
		hash, body, _ := strings.Cut(rest, "=")
		if !strings.EqualFold(hash, s.hash(kind, body)) {
			t.Errorf("%q was not made by us", local)
		}
	})
}
