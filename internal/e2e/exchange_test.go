package e2e_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"buzon/mx/dns/dnstest"
)

// world is a name server of our own, and hosts that find each other through it:
// each at its own loopback address, all at the same port, as MX records want it.
type world struct {
	zone *dnstest.Zone
	dns  string
	port int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	zone := dnstest.MustParse("")
	server := dnstest.Start(t, zone)
	return &world{zone: zone, dns: server.Addr(), port: freePort(t, "127.0.0.1")}
}

func (w *world) record(t testing.TB, lines ...string) {
	t.Helper()
	if err := w.zone.Add(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
}

// host makes a host of this world, with its MX record; it does not run yet. It
// tries again after a second, and gives up after six.
func (w *world) host(t testing.TB, cfg hostConfig) *host {
	t.Helper()
	cfg.Ports = map[string]int{"smtp": w.port}
	cfg.Extra += fmt.Sprintf("[dns]\nservers = [%q]\n[outbound]\nport = %d\nallow_private = true\n", w.dns, w.port)
	cfg.Extra += "[queue]\nretry = [\"1s\"]\ngive_up_after = \"6s\"\n"
	h := newHost(t, cfg)
	for _, domain := range cfg.Domains {
		w.record(t, domain+". MX 10 "+h.Hostname+".")
	}
	w.record(t, h.Hostname+". A "+h.IP)
	return h
}

// submit sends a message as one of the host's users.
func (h *host) submit(t *testing.T, from, to, subject string) {
	t.Helper()
	out, code := run(t, nil, "swaks", "--server", h.Addr("submission"), "--tls", "--auth", "PLAIN", "--auth-user", from,
		"--auth-password", password, "--from", from, "--to", to, "--header", "Subject: "+subject)
	if code != 0 {
		t.Fatalf("submit to %s: exit code %d\n%s", to, code, out)
	}
}

// wantNotice waits for the one failure notice (RFC 3464) about a recipient.
func (w *world) wantNotice(t *testing.T, h *host, sender, recipient, status string) {
	t.Helper()
	var notices []string
	eventually(t, patience, func() error {
		notices = h.messages(t, sender, "Final-Recipient: rfc822; "+recipient)
		if len(notices) != 1 {
			return fmt.Errorf("%s holds %d notices about %s", sender, len(notices), recipient)
		}
		return nil
	})
	wantAll(t, "notice", notices[0], "Return-Path: <>\r\n", "multipart/report", "report-type=delivery-status",
		"Action: failed\r\n", "Status: "+status, "Reporting-MTA: dns; "+h.Hostname)
}

func answers(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestExchange lets two hosts find each other through MX records.
func TestExchange(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}})
	a.start(t)

	// b is down at first: the message waits in a's queue, and survives a itself.
	a.submit(t, "ana@a.test", "luis@b.test", "patience")
	eventually(t, patience, func() error {
		if w.zone.Asked("b.test.", "MX") == 0 {
			return fmt.Errorf("nobody has asked for b.test")
		}
		return nil
	})
	wantAll(t, "queue", a.buzon(t, "", "queue", "list"), "luis@b.test")
	a.kill(t)
	a.start(t)
	b.start(t)
	got := b.message(t, "luis@b.test", "patience")
	wantAll(t, "first hop", got, "Return-Path: <ana@a.test>\r\n", "Received: from mx.a.test", "by mx.b.test", "with ESMTPS", "with ESMTPSA")

	b.submit(t, "luis@b.test", "ana@a.test", "answer")
	a.message(t, "ana@a.test", "answer")
	eventually(t, patience, func() error {
		if queued := a.buzon(t, "", "queue", "list"); strings.Contains(queued, "@") {
			return fmt.Errorf("the queue holds\n%s", queued)
		}
		return nil
	})
}

// TestExchangeFails wants a notice for what cannot be delivered: after the queue
// has given up, or at once where that is known.
func TestExchangeFails(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}})
	a.start(t)
	b.start(t)
	w.record(t,
		"c.test. MX 10 mx.c.test.", "mx.c.test. A "+loopback(), // nobody is there
		"null.test. MX 0 .") // RFC 7505
	a.submit(t, "ana@a.test", "eva@c.test", "to a dead host")
	a.submit(t, "ana@a.test", "eva@null.test", "to a null MX")
	a.submit(t, "ana@a.test", "eva@nowhere.test", "to no domain")
	a.submit(t, "ana@a.test", "nadie@b.test", "to an unknown user")
	a.submit(t, "ana@a.test", "luis@b.test", "to a living one")
	b.message(t, "luis@b.test", "to a living one")
	w.wantNotice(t, a, "ana@a.test", "nadie@b.test", "5.1.1")
	w.wantNotice(t, a, "ana@a.test", "eva@null.test", "5.1.10")
	w.wantNotice(t, a, "ana@a.test", "eva@nowhere.test", "5.1.2")
	w.wantNotice(t, a, "ana@a.test", "eva@c.test", "4.4")
}
