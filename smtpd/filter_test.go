package smtpd

import (
	"errors"
	"testing"
)

// A filter that refuses answers in the session, to the sender of that one
// message: its recipient is alone in a transaction (RFC 5429 2.1.1).
func TestFilterRefusesInSession(t *testing.T) {
	h := newHouse(t)
	h.must(errors.Join(
		h.scripts.Put("luis@buzon.test", "mine", []byte(`require "ereject"; if header "subject" "offer" { ereject "No offers,
please."; }`)),
		h.scripts.Activate("luis@buzon.test", "mine")))
	p := dial(t, h.incoming())
	p.want("220 ")
	p.say("EHLO c.test", "250 ")
	p.say("MAIL FROM:<x@remote.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "452 4.5.3 ")
	p.say("RSET", "250 ")
	p.say("MAIL FROM:<x@remote.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "452 4.5.3 ")
	p.say("DATA", "354 ")
	if got := p.say("Subject: offer\r\n\r\nbuy\r\n.", "550 5.7.1 please."); got != "550-5.7.1 No offers,\n550 5.7.1 please." {
		t.Errorf("refused with %q", got)
	}
	p.transaction("x@remote.test", "luis@buzon.test")
	p.say("Subject: letter\r\n\r\nhola\r\n.", "250 ")
	if got := h.inbox("luis"); len(got) != 1 || len(h.inbox("ana")) != 0 {
		t.Errorf("%q", got)
	}
}
