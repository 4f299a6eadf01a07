package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"buzon/mx/dns/dnstest"
)

func TestDomainCommands(t *testing.T) {
	zone := dnstest.MustParse("")
	server := dnstest.Start(t, zone)
	s := newSite(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "127.0.0.1:1\"", server.Addr()+"\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	added := s.do("", "domain", "add", "buzon.test")
	if n := len(regexp.MustCompile(`(?m)^\d{8}[er]\._domainkey\.buzon\.test\.\t3600\tIN\tTXT\t"v=DKIM1; k=`).FindAllString(added, -1)); n != 2 {
		t.Errorf("%d records in\n%s", n, added)
	}
	if again := s.do("", "domain", "add", "buzon.test"); !strings.Contains(again, "has its keys already") || !strings.Contains(again, strings.Split(added, "\n")[0]) {
		t.Errorf("a second time: %s", again)
	}
	_, note, _ := s.run("", "domain", "add", "nuevo.test")
	if !strings.Contains(note, "not among domains") {
		t.Errorf("a domain that is not configured: %q", note)
	}
	list := s.do("", "domain", "list")
	for _, want := range []string{`buzon\.test +\d{8}e +ed25519 +active`, `buzon\.test +\d{8}r +rsa +active`, `example\.org +- +- +no keys`} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("no %s in\n%s", want, list)
		}
	}

	next := s.do("", "domain", "rotate", "buzon.test")
	s.refused(1, "do not sign yet", "", "domain", "rotate", "buzon.test")
	if err := zone.Add(next); err != nil { // as it stands there, into the zone
		t.Fatalf("%v\n%s", err, next)
	}
	if out := s.do("", "domain", "rotate", "buzon.test"); strings.Count(out, "signs now") != 2 {
		t.Errorf("after the records are there: %s", out)
	}
	list = s.do("", "domain", "list", "--json")
	if strings.Count(list, `"state":"active"`) != 2 || strings.Count(list, `"state":"old"`) != 2 {
		t.Errorf("after the change: %s", list)
	}
	s.refused(1, "is not a domain name", "", "domain", "add", "no domain")
}

// TestKeysOfTheServer: it makes the keys that are missing, and does not start
// with keys that it cannot use.
func TestKeysOfTheServer(t *testing.T) {
	s := newSite(t, "[domain.\"example.org\"]\nunsigned = true\n")
	s.do("secret-of-ana\n", "account", "add", "ana@buzon.test")
	s.noKeys = true
	r := s.serve()
	r.log.wait(t, "made DKIM keys", "buzon dns buzon.test")
	keys, err := filepath.Glob(filepath.Join(s.data, "dkim", "*", "*.pem"))
	if err != nil || len(keys) != 2 || strings.Contains(keys[0], "example.org") {
		t.Fatalf("keys %q, %v", keys, err)
	}
	s.configure("domains = [\"buzon.test\", \"nuevo.test\"]\n")
	if _, err := r.reload(); err != nil {
		t.Fatal(err)
	}
	if made, _ := filepath.Glob(filepath.Join(s.data, "dkim", "nuevo.test", "*.pem")); len(made) != 2 {
		t.Errorf("keys of the new domain: %q", made)
	}
	if err := os.Chmod(keys[0], 0o644); err != nil {
		t.Fatal(err)
	}
	// Other keys of the same directory have just been read; a new file shows
	// the change at once.
	if err := os.WriteFile(filepath.Join(s.data, "dkim/buzon.test/x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := connect(t, r.addr("submissions"), true)
	d.say("", "220 ")
	d.say("EHLO me", "250 ")
	d.say("AUTH PLAIN AGFuYUBidXpvbi50ZXN0AHNlY3JldC1vZi1hbmE=", "235 ")
	d.say("MAIL FROM:<ana@buzon.test>", "250 ")
	d.say("RCPT TO:<eva@far.test>", "250 ")
	d.say("DATA", "354 ")
	d.say("From: ana@buzon.test\r\nSubject: x\r\n\r\nx\r\n.", "451 4.7.0")
	r.end()
	s.refused(exitConfig, "chmod 600", "", "config", "check")
	s.refused(exitConfig, "chmod 600", "", "serve")
}
