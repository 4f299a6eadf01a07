package e2e_test

import (
	"strings"
	"testing"
)

// TestSigning: what a host sends is signed, and another one that asks the DNS
// believes it, DMARC's reject and all.
func TestSigning(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}})
	a.start(t)
	b.start(t)
	w.record(t, "a.test. TXT \"v=spf1 -all\"", "_dmarc.a.test. TXT \"v=DMARC1; p=reject; adkim=s\"")
	w.record(t, strings.Split(a.buzon(t, "", "domain", "add", "a.test"), "\n")...)
	a.submit(t, "ana@a.test", "luis@b.test", "signed")
	got := b.message(t, "luis@b.test", "signed")
	wantAll(t, "the message", got, "dkim=pass (2048-bit key) header.d=a.test", "header.a=ed25519-sha256", "spf=fail", "dmarc=pass (p=reject) header.from=a.test")

	// New keys, announced and then used; the server need not be told.
	w.record(t, strings.Split(a.buzon(t, "", "domain", "rotate", "a.test"), "\n")...)
	wantAll(t, "rotation", a.buzon(t, "", "domain", "rotate", "a.test"), "signs now")
	a.submit(t, "ana@a.test", "luis@b.test", "signed anew")
	got = b.message(t, "luis@b.test", "signed anew")
	wantAll(t, "the message", got, "r2 header.a=rsa-sha256", "dmarc=pass")
}
