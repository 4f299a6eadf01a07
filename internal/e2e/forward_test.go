package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestForward: an alias with a member elsewhere forwards so that the next host
// believes it, and what fails there comes back to the sender.
func TestForward(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	w := newWorld(t)
	c := w.host(t, hostConfig{Domains: []string{"c.test"}, Accounts: []string{"carla@c.test"}})
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}, Aliases: map[string]string{
		"club@a.test": "ana eva@b.test", "gone@a.test": "nobody@b.test", "back@a.test": "round@b.test",
	}})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"eva@b.test"}, Aliases: map[string]string{"round@b.test": "back@a.test"}})
	for _, h := range []*host{a, b, c} {
		h.start(t)
		domain := h.Domains[0]
		w.record(t, domain+`. TXT "v=spf1 ip4:127.0.0.0/8 -all"`, "_dmarc."+domain+`. TXT "v=DMARC1; p=reject"`)
		w.record(t, strings.Split(h.buzon(t, "", "domain", "add", domain), "\n")...)
	}

	c.submit(t, "carla@c.test", "club@a.test", "to the club")
	a.message(t, "ana@a.test", "to the club")
	got := b.message(t, "eva@b.test", "to the club")
	wantAll(t, "the forwarded message", got, "Return-Path: <SRS0=", "=c.test=carla@a.test>", "spf=pass", "smtp.mailfrom=a.test",
		"dmarc=pass (p=reject) header.from=c.test", "arc=pass (1 sets, the last one sealed by a.test)", "Delivered-To: club@a.test",
		"ARC-Authentication-Results: i=1; mx.a.test;")

	// The next host refuses it: the sender is told, through the rewritten path.
	c.submit(t, "carla@c.test", "gone@a.test", "to nobody")
	eventually(t, patience, func() error {
		if n := len(c.messages(t, "carla@c.test", "nobody@b.test")); n != 1 {
			return fmt.Errorf("carla has %d notices", n)
		}
		return nil
	})

	// A loop ends, and its end is told too.
	c.submit(t, "carla@c.test", "back@a.test", "round and round")
	eventually(t, patience, func() error {
		if n := len(c.messages(t, "carla@c.test", "5.4.6")); n != 1 {
			return fmt.Errorf("carla has %d notices of the loop", n)
		}
		return nil
	})

	// Nobody but a notice gets in by such a path, and none that we have not made.
	path := got[strings.Index(got, "Return-Path: <")+len("Return-Path: <"):]
	path = path[:strings.Index(path, ">")]
	for to, code := range map[string]int{path: 550, strings.Replace(path, "carla", "marta", 1): 550} {
		if got := a.stranger(t, "x@far.test", to, "From: <x@far.test>\nSubject: spam\n\nx\n"); got != code {
			t.Errorf("mail for %s was answered %d", to, got)
		}
	}
	// What only says that it is from us does not go out as ours.
	w.zone.Remove("_dmarc.a.test")
	w.zone.Remove("a.test")
	w.record(t, "a.test. MX 10 mx.a.test.")
	a.kill(t)
	a.start(t) // without the answers that it remembers
	if code := a.stranger(t, "ana@a.test", "club@a.test", "From: <ana@a.test>\nSubject: forged\n\nx\n"); code != 550 {
		t.Errorf("a forged message in our name was answered %d", code)
	}
}
