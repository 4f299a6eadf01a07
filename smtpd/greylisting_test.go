package smtpd

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"buzon/internal/greylist"
	"buzon/internal/smtp"
	"buzon/mx/dns/dnstest"
	"buzon/mx/dnsbl"
)

// strange is a client from 192.0.2.1: nobody on loopback is one.
func (h *house) strange() *peer {
	h.t.Helper()
	ln := newPipeListener()
	h.run(NewIncoming(h.cfg), ln)
	p := ln.dial(h.t)
	h.t.Cleanup(func() { p.nc.Close() })
	return p.hello()
}

type policy map[string]bool

func (p policy) PassesSPF(_ context.Context, _ netip.Addr, _ string, from smtp.Address) bool {
	return p[from.Domain]
}

func TestGreylisting(t *testing.T) {
	h := newHouse(t)
	list, err := greylist.New(greylist.Config{})
	h.must(err)
	h.cfg.Greylist, h.cfg.Policy = list, policy{"big.test": true}
	h.cfg.Recipients, err = OpenRecipients("", 10, h.cfg.Log)
	h.must(err)
	h.cfg.Recipients.remember("ana@buzon.test", []smtp.Recipient{{Address: smtp.Address{Local: "friend", Domain: "far.test"}}})
	p := h.strange()
	p.say("MAIL FROM:<eva@far.test>", "250 ")
	p.say("RCPT TO:<nobody@buzon.test>", "550 5.1.1 ")
	if got := p.say("RCPT TO:<ana@buzon.test>", "451 4.7.1 "); !strings.Contains(got, "in 300 seconds") {
		t.Errorf("%s", got)
	}
	p.say("RSET", "250 ")

	// Whom she has written to need not wait; who else is written to does not matter to him.
	p.say("MAIL FROM:<friend@far.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "451 4.7.1 ")
	p.say("RSET", "250 ")

	// A host that only asks whether there is such a recipient is not kept waiting.
	p.say("MAIL FROM:<>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("DATA", "354 ")
	p.send("Subject: notice\r\n\r\nx\r\n.\r\n")
	p.want("451 4.7.1 ")
	if n := len(h.inbox("ana")); n != 0 {
		t.Errorf("%d messages", n)
	}
	p.say("MAIL FROM:<a@big.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "451 4.7.1 ")
	if list.Knows(greylist.Attempt{Network: netip.MustParseAddr("198.51.100.1"), From: "big.test", Proven: true, To: "ana@buzon.test"}) {
		t.Error("known at once")
	}
	if !strings.Contains(h.logged(), "by=greylist verdict=later") {
		t.Error("it is not in the log")
	}

	// Nobody on our own machine waits.
	p = dial(t, h.incoming()).hello()
	p.transaction("eva@far.test", "ana@buzon.test")
	p.send("Subject: x\r\n\r\nx\r\n.\r\n")
	p.want("250 ")
}

func TestBlocklists(t *testing.T) {
	h := newHouse(t)
	lists := func(zones ...dnsbl.Zone) {
		h.cfg.Blocklists = dnsbl.New(dnsbl.Config{Zones: zones, Budget: time.Minute, Resolver: dnstest.NewClient(t,
			"1.2.0.192.bl.test. A 127.0.0.2\n1.2.0.192.bl.test. TXT \"see\\010 https://bl.test/\"\nspam.test.dbl.test. A 127.0.1.2\n")})
	}
	lists(dnsbl.Zone{Name: "bl.test"})
	p := h.strange()
	p.say("MAIL FROM:<eva@far.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "550 5.7.1 192.0.2.1 is listed at bl.test: see  https://bl.test/")
	p.say("RCPT TO:<postmaster@buzon.test>", "250 ")
	p.say("DATA", "354 ")
	p.send("Subject: why\r\n\r\nx\r\n.\r\n")
	p.want("250 ")
	if inbox, junk := len(h.inbox("ana")), len(h.junk("ana")); inbox+junk != 1 || junk != 1 {
		t.Errorf("postmaster has %d and %d in Junk", inbox, junk)
	}

	lists(dnsbl.Zone{Name: "bl.test", Junk: true}, dnsbl.Zone{Name: "dbl.test", Domains: true})
	p = h.strange()
	p.transaction("eva@far.test", "luis@buzon.test")
	p.send("Subject: x\r\n\r\nx\r\n.\r\n")
	p.want("250 ")
	if len(h.inbox("luis")) != 0 || len(h.junk("luis")) != 1 {
		t.Error("it is not in Junk")
	}
	p.say("MAIL FROM:<eva@spam.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "550 5.7.1 spam.test is listed at dbl.test")
	if !strings.Contains(h.logged(), "by=bl.test verdict=junk") {
		t.Error("it is not in the log")
	}

	// The lists do not know our own networks.
	p = dial(t, h.incoming()).hello()
	p.transaction("eva@spam.test", "luis@buzon.test")
}
