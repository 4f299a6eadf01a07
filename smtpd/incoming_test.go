package smtpd

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
)

func TestDelivery(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello().startTLS(true)
	p.say("EHLO client.test", "250 ")
	p.transaction("x@remote.test", "ana@buzon.test")
	const text = "Subject: hello\r\n\r\nHello.\r\n..\r\n"
	p.send("Subject: hello\r\n\r\nHello.\r\n...\r\n.\r\n")
	id := strings.TrimPrefix(p.want("250 2.0.0 delivered as "), "250 2.0.0 delivered as ")
	p.say("QUIT", "221 ")
	got := h.inbox("ana")
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	trace, ok := strings.CutSuffix(got[0], text)
	if !ok {
		t.Errorf("stored %q", got[0])
	}
	for _, want := range []string{
		"Return-Path: <x@remote.test>\r\nDelivered-To: ana@buzon.test\r\nReceived: from client.test ([127.0.0.1])\r\n\tby mx.buzon.test with ESMTPS id " + id + "\r\n\tfor <ana@buzon.test>\r\n\ttls TLS_",
		"(TLS1.3);\r\n\t",
	} {
		if !strings.Contains(trace, want) {
			t.Errorf("trace is %q, want %q", trace, want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming())
	if got := p.want("220 "); got != "220 mx.buzon.test ESMTP Service Ready" {
		t.Errorf("greeting %q", got)
	}
	const common = "250-mx.buzon.test at your service\n250-PIPELINING\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n250-CHUNKING\n"
	if got, want := p.say("EHLO c.test", "250 "), common+"250-STARTTLS\n250-SMTPUTF8\n250 SIZE 1048576"; got != want {
		t.Errorf("plain: %q, want %q", got, want)
	}
	p.startTLS(true)
	if got, want := p.say("EHLO c.test", "250 "), common+"250-SMTPUTF8\n250 SIZE 1048576"; got != want {
		t.Errorf("TLS: %q, want %q", got, want)
	}
	s := dial(t, h.submission(true)).startTLS(false)
	s.want("220 ")
	own := "250-mx.buzon.test at your service\n250-DSN\n250-DELIVERBY 60\n250-FUTURERELEASE 2592000 date\n250-REQUIRETLS\n" + strings.TrimPrefix(common, "250-mx.buzon.test at your service\n")
	got := regexp.MustCompile(`2592000 \S+Z`).ReplaceAllString(s.say("EHLO c.test", "250 "), "2592000 date")
	if want := own + "250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\n250-SMTPUTF8\n250 SIZE 1048576"; got != want {
		t.Errorf("submission: %q, want %q", got, want)
	}
}

// S12: whatever the address looks like, nothing of a stranger's leaves the
// house, and the queue stays empty.
func TestNoRelay(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, to := range []string{
		"a@remote.test", "a%remote.test@buzon.test", `"a@remote.test"@buzon.test`, "@buzon.test:a@remote.test", "@remote.test:a@remote.test",
		"remote.test!a@buzon.test", "a@remote.test@buzon.test", `"a@remote.test"`, "a@[8.8.8.8]", "a@[127.0.0.1]", "a@remote.test.", "a@REMOTE.TEST",
		"a@buzon.test.remote.test", "a@buzon.t\u0435st", "a@[IPv6:::1]", "a@localhost", "a", "@buzon.test", "a@", `"a"@remote.test`, "a\\@remote.test@buzon.test",
	} {
		for _, from := range []string{"", "ana@buzon.test", "x@remote.test", "postmaster@[127.0.0.1]"} {
			p := dial(t, addr)
			p.want("220 ")
			p.say("EHLO mx.buzon.test", "250 ")
			p.say("MAIL FROM:<"+from+">", "250 ")
			p.send("RCPT TO:<" + to + ">\r\n")
			if got := p.reply(); !strings.HasPrefix(got, "550 5.7.1 ") && !strings.HasPrefix(got, "550 5.1.1 ") && !strings.HasPrefix(got, "501 5.1.3 ") {
				t.Errorf("from <%s> to <%s>: %s", from, to, got)
			}
			p.nc.Close()
		}
	}
	if len(h.queue.messages) > 0 {
		t.Errorf("queued: %v", h.queue.messages)
	}
}

func TestAlwaysDeliverable(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, to := range []string{"postmaster", "Postmaster", "postmaster@buzon.test", "abuse@buzon.test", "postmaster@[127.0.0.1]", "postmaster@mx.buzon.test", "ANA@BUZON.TEST", "ana+tag@buzon.test", "@mx.buzon.test:ana@buzon.test", `"ana"@buzon.test`} {
		p := dial(t, addr).hello()
		p.say("MAIL FROM: <>", "250 2.1.0")
		p.say("RCPT TO: <"+to+">", "250 2.1.5")
	}
}

// S24: one copy for each mailbox, however many addresses lead to it.
func TestOneCopyEach(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello()
	p.transaction("x@remote.test", "both@buzon.test", "ana@buzon.test", "ANA@buzon.test", "ana+x@buzon.test", "luis@buzon.test")
	p.send("Subject: x\r\n\r\n.\r\n")
	p.want("250 ")
	for _, user := range []string{"ana", "luis"} {
		got := h.inbox(user)
		if len(got) != 1 {
			t.Fatalf("%s has %d messages", user, len(got))
		}
		if want := "Delivered-To: " + user + "@buzon.test\r\nX-Original-To: both@buzon.test\r\nReceived: "; !strings.Contains(got[0], want) {
			t.Errorf("%s's copy is %q", user, got[0])
		}
		if strings.Contains(got[0], "\tfor ") {
			t.Errorf("Received tells of recipients: %q", got[0])
		}
	}
}

func TestQuota(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	p := dial(t, addr).hello()
	p.say("MAIL FROM:<x@remote.test> SIZE=20000", "250 ")
	p.say("RCPT TO:<marta@buzon.test>", "552 5.2.2 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("RSET", "250 ")
	p.transaction("x@remote.test", "marta@buzon.test")
	p.send("\r\n" + strings.Repeat("0123456789abcdef\r\n", 400) + ".\r\n")
	p.want("250 ")
	p.say("MAIL FROM:<x@remote.test> SIZE=5000", "250 ")
	p.say("RCPT TO:<marta@buzon.test>", "452 4.2.2 ")
}

func TestLoops(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello()
	for n, want := range map[int]string{50: "250 ", 51: "554 5.4.6 "} {
		p.transaction("x@remote.test", "ana@buzon.test")
		p.send(strings.Repeat("Received: by x.test; now\r\n", n) + "\r\nx\r\n.\r\n")
		p.want(want)
	}
	p.transaction("x@remote.test", "luis@buzon.test")
	p.send("Delivered-To: Luis@buzon.test\r\n\r\nx\r\n.\r\n")
	p.want("554 5.4.6 ")
	p.transaction("x@remote.test", "luis@buzon.test")
	p.send("Delivered-To: ana@buzon.test\r\n\r\nx\r\n.\r\n")
	p.want("250 ")
	if a, l := len(h.inbox("ana")), len(h.inbox("luis")); a != 1 || l != 1 {
		t.Errorf("ana has %d, luis %d", a, l)
	}
}

// S31: what only we may say is taken off, and nothing else.
func TestForgedTrace(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("return-path: <forged@x.test>\r\nAuthentication-Results: (by) MX.buzon.test;\r\n dkim=pass\r\nAuthentication-Results: other.test; spf=pass\r\n" +
		"X-Spam-Status: No,\r\n score=-99\r\nX-Spammer: no\r\n\r\nReturn-Path: <in the body>\r\n.\r\n")
	p.want("250 ")
	got := h.inbox("ana")[0]
	if !strings.HasSuffix(got, "\r\nAuthentication-Results: other.test; spf=pass\r\nX-Spammer: no\r\n\r\nReturn-Path: <in the body>\r\n") ||
		strings.Contains(got, "forged") || strings.Contains(got, "dkim") {
		t.Errorf("stored %q", got)
	}
}

// S08, S10, S32, S33: what is stored below the trace fields is what was sent.
func TestByteForByte(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	long := strings.Repeat("x", 100_000)
	for i, text := range []string{
		"", "\r\n", "\r\n\r\n", "Subject: only a header\r\n", "Subject: x\r\n\r\n", "no header at all\r\n\r\nbody\r\n", "From ana Mon Jan 1 00:00:00\r\nSubject: x\r\n\r\nx\r\n",
		" begins with white space\r\n\r\nx\r\n", ".\r\n..\r\n.x\r\n...\r\n", "\r\n.\r\n..\r\n.\r\n", "Subject: \xff\xfe 8 bit\r\n\r\n\x80\x00\x1b\r\n",
		"Subject: ñandú\r\n\r\nñ\r\n", "\r\n" + long + "\r\n" + long + "\r\n", "\r\n" + strings.Repeat(".", 8192) + "\r\n", "\r\n" + strings.Repeat(".\r\n", 30_000),
		"\r\n" + strings.Repeat("y", 4094) + "\r\n.\r\n", "\r\n" + strings.Repeat("z", 65534) + "\r\n.\r\n" + strings.Repeat("z", 65533) + "\r\n..\r\n",
	} {
		p := dial(t, addr).hello()
		if i%2 == 0 {
			p.transaction("x@remote.test", "ana@buzon.test")
			p.send(stuffed(text) + ".\r\n")
		} else {
			p.say("MAIL FROM:<x@remote.test> BODY=8BITMIME", "250 ")
			p.say("RCPT TO:<ana@buzon.test>", "250 ")
			half := len(text) / 2
			p.send(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, text[:half], len(text)-half, text[half:]))
			p.want("250 ")
		}
		p.want("250 2.0.0 delivered")
		p.nc.Close()
		got := h.inbox("ana")
		if len(got) != i+1 {
			t.Fatalf("%d messages after %d", len(got), i+1)
		}
		if !strings.HasSuffix(got[i], "\r\n"+text) {
			t.Errorf("sent %.80q, stored %.300q", text, got[i])
		}
	}
}

// stuffed is the client's half of RFC 5321 4.5.2.
func stuffed(text string) string {
	text = strings.ReplaceAll(text, "\r\n.", "\r\n..")
	if strings.HasPrefix(text, ".") {
		text = "." + text
	}
	return text
}

// S26 and S27: whoever has sent the final dot may go; the mail is here.
func TestClientLeavesAfterDot(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	p := dial(t, addr).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("\r\nhalf closed\r\n.\r\n")
	h.must(p.nc.(*net.TCPConn).CloseWrite())
	p.want("250 ")
	if got := p.reply(); got != "EOF" {
		t.Errorf("then %q", got)
	}
	if n := len(h.inbox("ana")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestSizeLimit(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello()
	for _, size := range []string{"1048577", "4294967296", "99999999999999999999999"} {
		p.say("MAIL FROM:<x@remote.test> SIZE="+size, "552 5.3.4 ")
	}
	p.say("MAIL FROM:<x@remote.test> SIZE=10", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("DATA", "354 ")
	p.send("\r\n" + strings.Repeat("0123456789abcde\r\n", 70_000) + ".\r\n")
	p.want("552 5.3.4 ")
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("X-Huge: " + strings.Repeat("x", 200_000) + "\r\n\r\n.\r\n")
	p.want("552 5.3.4 ")
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("\r\nstill in step\r\n.\r\n")
	p.want("250 ")
	if n := len(h.inbox("ana")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestNoSessionTickets(t *testing.T) {
	h := newHouse(t)
	s := NewIncoming(h.cfg)
	if !s.cfg.TLS.SessionTicketsDisabled || h.cfg.TLS.SessionTicketsDisabled {
		t.Error("port 25 must have no tickets, and must not change the configuration it was given")
	}
}
