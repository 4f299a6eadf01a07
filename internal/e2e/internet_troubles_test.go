package e2e_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// troubles are the hosts that misbehave, one for each domain.
type troubles struct {
	dir     string // has the authority of their certificates
	records []string
	forged  map[string]string
	hosts   map[string]*hostileHost // by domain
}

// later answers as told for the first times, and then as usual.
func later(times int, stage, text string) func(int, string) string {
	return func(n int, at string) string {
		if n < times && at == stage {
			return text
		}
		return ""
	}
}

func newTroubles(t *testing.T) *troubles {
	t.Helper()
	tr := &troubles{dir: t.TempDir(), forged: map[string]string{}, hosts: map[string]*hostileHost{}}
	names := []string{"mx.tlsa.test", "mx.expired.test", "mx.stripped.test"}
	writeCertificate(t, tr.dir, names[0], "127.0.0.1", names[1:]...)
	pair, leaf := certificateOf(t, tr.dir)
	expired := tr.expired(t)

	tr.host("down.test", &hostileHost{}) // started late
	tr.host("dns.test", &hostileHost{})
	tr.host("bogus.test", &hostileHost{})
	tr.host("grey.test", &hostileHost{say: later(2, "RCPT", "451 4.7.1 greylisted")})
	tr.host("busy.test", &hostileHost{say: func(n int, stage string) string {
		if n == 0 { // at every stage, once
			return "421 4.3.2 too busy"
		}
		return ""
	}})
	tr.host("dropdot.test", &hostileHost{say: later(1, "dot", "drop")})
	tr.host("slow.test", &hostileHost{slow: 100 * time.Millisecond})
	tr.host("endless.test", &hostileHost{say: later(1<<30, "banner", "endless")})
	tr.host("stripped.test", &hostileHost{})
	tr.records = append(tr.records, `_mta-sts.stripped.test. TXT "v=STSv1; id=1"`)
	tr.host("expired.test", &hostileHost{tls: &tls.Config{Certificates: []tls.Certificate{expired}}})
	tr.records = append(tr.records, `_mta-sts.expired.test. TXT "v=STSv1; id=1"`)
	tr.host("tlsa.test", &hostileHost{tls: &tls.Config{Certificates: []tls.Certificate{pair}}})
	record := tlsa(t, "mx.tlsa.test", leaf)
	end := byte('0')
	if strings.HasSuffix(record, "0") {
		end = '1'
	}
	tr.records = append(tr.records, record[:len(record)-1]+string(end)) // of another key
	tr.forged["mx.bogus.test.\t30\tIN\tA\t"+tr.hosts["bogus.test"].ip] = "mx.bogus.test.\t30\tIN\tA\t" + loopback()
	return tr
}

func (tr *troubles) host(domain string, h *hostileHost) {
	h.ip = loopback()
	tr.hosts[domain] = h
	tr.records = append(tr.records, domain+". MX 10 mx."+domain+".", "mx."+domain+". A "+h.ip)
}

// expired makes a certificate of yesterday.
func (tr *troubles) expired(t *testing.T) tls.Certificate {
	t.Helper()
	dir := t.TempDir()
	writeCertificateUntil(t, dir, time.Now().Add(-24*time.Hour), "mx.expired.test", "127.0.0.1")
	pair, _ := certificateOf(t, dir)
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err == nil {
		var before []byte
		if before, err = os.ReadFile(filepath.Join(tr.dir, "ca.pem")); err == nil {
			err = os.WriteFile(filepath.Join(tr.dir, "ca.pem"), append(before, authority...), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// run sends one message into each trouble, and wants what must come of it:
// faults.md D01, Q04, Q06, Q08, T08, T10, T11.
func (tr *troubles) run(t *testing.T, a *host, dns *signedDNS) {
	for domain, h := range tr.hosts {
		if domain != "down.test" {
			h.start(t)
		}
	}
	client, err := a.userClient("ana@a.test", a.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func(domain string) {
		t.Helper()
		body := "hola\r\n"
		if domain == "slow.test" {
			body = strings.Repeat(strings.Repeat("x", 70)+"\r\n", 4000)
		}
		text := fmt.Sprintf("From: <ana@a.test>\r\nTo: <eva@%s>\r\nSubject: trouble %s\r\n\r\n%s", domain, domain, body)
		if err := client.SendMail("ana@a.test", []string{"eva@" + domain}, strings.NewReader(text)); err != nil {
			t.Fatalf("submit to %s: %v", domain, err)
		}
	}
	deferred := func(domain string) {
		t.Helper()
		eventually(t, 2*patience, func() error {
			for line := range strings.Lines(a.log.String()) {
				if strings.Contains(line, "msg=deferred") && strings.Contains(line, "to=eva@"+domain) {
					return nil
				}
			}
			return fmt.Errorf("no attempt for %s was deferred", domain)
		})
	}
	arrived := func(domain string, least int) {
		t.Helper()
		eventually(t, 2*patience, func() error {
			if _, n := tr.hosts[domain].seen(); n < least {
				return fmt.Errorf("%s has %d messages, want %d", domain, n, least)
			}
			return nil
		})
	}

	resume := dns.stall(t)
	send("dns.test")
	deferred("dns.test")
	resume()
	for domain := range tr.hosts {
		if domain != "dns.test" {
			send(domain)
		}
	}
	// What waits at first arrives, and arrives once.
	deferred("down.test")
	tr.hosts["down.test"].start(t)
	for _, domain := range []string{"grey.test", "busy.test", "dropdot.test", "down.test", "dns.test", "slow.test"} {
		arrived(domain, 1)
		if domain != "slow.test" {
			deferred(domain)
		}
	}
	// What must not go waits, and nothing of it was said in plain text.
	for _, domain := range []string{"bogus.test", "endless.test", "stripped.test", "expired.test", "tlsa.test"} {
		deferred(domain)
		if plain, messages := tr.hosts[domain].seen(); plain != 0 || messages != 0 {
			t.Errorf("%s was told %d times in plain text, and has %d messages", domain, plain, messages)
		}
		if !strings.Contains(a.buzon(t, "", "queue", "list"), "eva@"+domain) {
			t.Errorf("the message to %s is not in the queue", domain)
		}
	}
	eventually(t, 2*patience, func() error {
		list := a.buzon(t, "", "queue", "list")
		if n := strings.Count(list, "eva@"); n != 5 {
			return fmt.Errorf("%d messages wait, want 5:\n%s", n, list)
		}
		return nil
	})
	for _, domain := range []string{"grey.test", "busy.test", "down.test", "dns.test", "slow.test"} {
		if _, n := tr.hosts[domain].seen(); n != 1 {
			t.Errorf("%s has the message %d times", domain, n)
		}
	}
	if notices := a.messages(t, "ana@a.test", "Action: failed"); len(notices) > 0 {
		t.Errorf("a message came back because of passing trouble:\n%s", notices[0])
	}
	log := a.log.String()
	for _, want := range []string{"no TLSA record matches", "certificate has expired", "STARTTLS is not offered"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q", want)
		}
	}
}
