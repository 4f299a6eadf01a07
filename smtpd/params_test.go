package smtpd

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// TestSubmissionParameters is RFC 3461 4, RFC 4865 and RFC 8689: what a user
// says of a message reaches the queue as he meant it.
func TestSubmissionParameters(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test> RET=hdrs SIZE=100 ENVID=QQ+2B314 REQUIRETLS HOLDFOR=3600 BODY=8BITMIME", "250 2.1.0")
	p.say("RCPT TO:<x@remote.test> NOTIFY=success,FAILURE ORCPT=rfc822;X+2Btag@remote.test", "250 2.1.5")
	p.say("RCPT TO:<y@remote.test> NOTIFY=NEVER", "250 2.1.5")
	p.say("RCPT TO:<z@remote.test>", "250 2.1.5")
	p.say("RCPT TO:<luis@buzon.test>", "550 5.7.0")
	p.say("DATA", "354 ")
	p.send("From: ana@buzon.test\r\nTLS-Required: No\r\n\r\n.\r\n")
	p.want("250 2.0.0 queued as")
	env := h.queue.messages[0].env
	if env.Return != "HDRS" || env.EnvelopeID != "QQ+314" || env.TLS != smtp.TLSRequired || !env.EightBit || env.Size < 100 {
		t.Errorf("envelope %+v", env)
	}
	if in := time.Until(env.NotBefore); in < 50*time.Minute || in > time.Hour {
		t.Errorf("released in %v", in)
	}
	for i, want := range []smtp.Recipient{
		{Notify: smtp.NotifySuccess | smtp.NotifyFailure, Original: "rfc822;X+tag@remote.test"}, {Notify: smtp.NotifyNever}, {},
	} {
		if got := env.To[i]; got.Notify != want.Notify || got.Original != want.Original {
			t.Errorf("recipient %d: %+v", i, got)
		}
	}

	p.say("MAIL FROM:<ana@buzon.test>", "250 2.1.0")
	p.say("RCPT TO:<luis@buzon.test> NOTIFY=SUCCESS", "250 2.1.5")
	p.say("RCPT TO:<marta@buzon.test>", "250 2.1.5")
	p.say("RCPT TO:<x@remote.test> NOTIFY=SUCCESS", "250 2.1.5")
	p.say("DATA", "354 ")
	p.send("From: ana@buzon.test\r\ntls-required: no\r\n\r\n.\r\n")
	p.want("250 2.0.0 queued as")
	if got := h.queue.messages[1].env; got.TLS != smtp.TLSOptional || got.EnvelopeID != "" || !got.NotBefore.IsZero() {
		t.Errorf("envelope %+v", got)
	}
	if got := strings.Join(h.queue.confirmed, " "); got != "luis@buzon.test" {
		t.Errorf("confirmed %q", got)
	}
}

func TestMalformedParameters(t *testing.T) {
	c := &client{tls: &tls.ConnectionState{}}
	for _, params := range []string{
		"RET=ALL", "RET=FULL RET=FULL", "ENVID=", "ENVID=a+2", "ENVID=a+0A", "ENVID=a=b", "ENVID=" + strings.Repeat("x", 101), "REQUIRETLS=1",
		"BY=60", "BY=;R", "BY=60;", "BY=60;X", "BY=60;RTT", "BY=60;T", "BY=0;R", "BY=-60;R", "BY=59;R", "BY=+-60;N", "BY=1000000000;N", "BY=60;N BY=60;N", "BY=60;R HOLDFOR=3600",
		"HOLDFOR=x", "HOLDFOR=99999999", "HOLDFOR=1 HOLDFOR=1", "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z", "HOLDUNTIL=yesterday", "HOLDUNTIL=2001-01-01T00:00:00Z",
	} {
		if _, _, fault := c.cutMailParams(" " + params); fault == nil || fault.Code != 501 {
			t.Errorf("MAIL %q: %v", params, fault)
		}
	}
	for _, params := range []string{
		"NOTIFY=", "NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=MAYBE", "NOTIFY=DELAY NOTIFY=DELAY", "ORCPT=x@y", "ORCPT=rfc822;", "ORCPT=rfc822;a+1",
	} {
		if _, _, fault := cutRcptParams(" " + params); fault == nil || fault.Code != 501 {
			t.Errorf("RCPT %q: %v", params, fault)
		}
	}
}

// TestDeliverBy is RFC 2852 4.
func TestDeliverBy(t *testing.T) {
	for value, want := range map[string]smtp.DeliverBy{
		"60;R": {At: time.Unix(60, 0), Return: true}, "+999999999;rt": {At: time.Unix(999999999, 0), Return: true, Trace: true},
		"-5;N": {At: time.Unix(-5, 0)}, "0;nT": {At: time.Unix(0, 0), Trace: true},
	} {
		got, ok := deliverBy(value, time.Unix(0, 0))
		if !ok || !got.At.Equal(want.At) || got.Return != want.Return || got.Trace != want.Trace {
			t.Errorf("BY=%s: %+v, %t", value, got, ok)
		}
	}
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test> BY=3600;RT", "250 2.1.0")
	p.say("RCPT TO:<x@remote.test>", "250 2.1.5")
	p.say("DATA", "354 ")
	p.send("From: ana@buzon.test\r\n\r\n.\r\n")
	p.want("250 2.0.0 queued as")
	by := h.queue.messages[0].env.By
	if left := time.Until(by.At); !by.Return || !by.Trace || left > time.Hour || left < 50*time.Minute {
		t.Errorf("by %+v", by)
	}
}

// FuzzParameters: nothing malformed comes through, and what is cut out leaves
// the rest alone.
func FuzzParameters(f *testing.F) {
	f.Add(" NOTIFY=SUCCESS ORCPT=rfc822;a+2Bb@c.test RET=FULL ENVID=x SIZE=3")
	f.Fuzz(func(t *testing.T, params string) {
		if p, rest, fault := cutRcptParams(params); fault == nil {
			if strings.ContainsFunc(p.original, func(r rune) bool { return r < ' ' }) && !strings.ContainsFunc(params, func(r rune) bool { return r < ' ' }) {
				t.Errorf("original %q", p.original)
			}
			if _, again, _ := cutRcptParams(rest); again != rest {
				t.Errorf("rest %q, again %q", rest, again)
			}
		}
		if p, _, fault := new(client).cutMailParams(params); fault == nil && strings.ContainsFunc(p.envid, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("envid %q", p.envid)
		}
	})
}

// TestExpanded is RFC 3461 5.2.7.2: the success of an address that stands for
// several is told of once, when the message has gone to all.
func TestExpanded(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test>", "250 2.1.0")
	p.say("RCPT TO:<both@buzon.test> NOTIFY=SUCCESS", "250 2.1.5")
	p.say("RCPT TO:<luis@buzon.test> NOTIFY=SUCCESS,FAILURE", "250 2.1.5")
	p.say("DATA", "354 ")
	p.send("From: ana@buzon.test\r\n\r\n.\r\n")
	p.want("250 2.0.0")
	if got := strings.Join(h.queue.confirmed, ", "); got != "luis@buzon.test, both@buzon.test expanded" {
		t.Errorf("confirmed %q", got)
	}
}
