package smtpd

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"buzon/internal/account"
	"buzon/internal/smtp"
	"buzon/smtpd/lda"
)

// The host in front passes on what others got wrong: it is neither slowed down
// nor sent away for that.
func TestLMTPIsPatient(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.lmtp())
	p.want("220 ")
	p.say("LHLO mta.test", "250 ")
	p.say("MAIL FROM:<x@remote.test>", "250 ")
	for range 3 * hardErrors {
		p.say("RCPT TO:<nobody@buzon.test>", "550 5.1.1")
	}
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("DATA", "354 ")
	p.say("Subject: x\r\n\r\nx\r\n.", "250 2.1.5 <ana@buzon.test> ")
}

// An alias to the outside goes through the queue, with no verdict of ours.
func TestLMTPForwards(t *testing.T) {
	h := newHouse(t)
	h.must(h.cfg.Directory.AddAlias(t.Context(), smtp.Address{Local: "away", Domain: "buzon.test"}, []string{"ana@buzon.test", "eva@remote.test"}))
	h.cfg.Forward = plainForward{}
	p := dial(t, h.lmtp())
	p.want("220 ")
	p.say("LHLO mta.test", "250 ")
	p.transaction("x@remote.test", "away@buzon.test", "luis@buzon.test", "ana@buzon.test")
	p.say("Subject: x\r\n\r\nx\r\n.", "250 2.1.5 <away@buzon.test> ")
	p.want("250 2.1.5 <luis@buzon.test> ")
	p.want("250 2.1.5 <ana@buzon.test> ")
	if len(h.queue.messages) != 1 || len(h.inbox("ana")) != 1 || len(h.inbox("luis")) != 1 {
		t.Fatalf("%d forwarded, %d, %d", len(h.queue.messages), len(h.inbox("ana")), len(h.inbox("luis")))
	}
	m := h.queue.messages[0]
	if m.env.From.String() != "x@forwarded.test" || len(m.env.To) != 1 || m.env.To[0].Address.String() != "eva@remote.test" ||
		!strings.HasPrefix(m.text, "Delivered-To: away@buzon.test\r\nReceived: from mta.test\r\n") {
		t.Errorf("%+v\n%s", m.env, m.text)
	}
}

// plainForward rewrites to forwarded.test, and must not be asked for a seal.
type plainForward struct{ Forward }

func (plainForward) ReversePath(from smtp.Address, _ string) smtp.Address {
	from.Domain = "forwarded.test"
	return from
}

func TestGroups(t *testing.T) {
	leg := func(accounts ...string) *transaction {
		l := &transaction{}
		for _, a := range accounts {
			l.local = append(l.local, lda.Recipient{Target: account.Target{Account: account.ID(a)}})
		}
		return l
	}
	for _, test := range []struct {
		legs []*transaction
		want int
	}{
		{[]*transaction{leg("a"), leg("b"), leg("c")}, 3},
		{[]*transaction{leg("a"), leg("b"), leg("a")}, 2},
		{[]*transaction{leg("a"), leg("b"), leg("c"), leg("c", "a")}, 2},
		{[]*transaction{leg("a"), leg("b"), leg("b", "a"), leg("a")}, 1},
	} {
		groups := (&transaction{legs: test.legs}).groups()
		seen := map[int]bool{}
		for _, g := range groups {
			for _, i := range g {
				seen[i] = true
			}
		}
		if len(groups) != test.want || len(seen) != len(test.legs) {
			t.Errorf("%v, want %d groups", groups, test.want)
		}
	}
}

// The end: who is idle hears 421, and a message under way is finished.
func TestLMTPDrains(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(h.dir, "lmtp")
	ln, err := net.Listen("unix", path)
	h.must(err)
	stop := h.run(NewLMTP(h.cfg), ln)
	idle, busy := dial(t, path), dial(t, path)
	for _, p := range []*peer{idle, busy} {
		p.want("220 ")
		p.say("LHLO mta.test", "250 ")
	}
	busy.transaction("x@remote.test", "ana@buzon.test")
	done := make(chan struct{})
	go func() { stop(); close(done) }()
	idle.want("421 4.3.2")
	if got := idle.reply(); got != "EOF" {
		t.Errorf("%q", got)
	}
	busy.say("Subject: x\r\n\r\nx\r\n.", "250 2.1.5 <ana@buzon.test> ")
	busy.want("421 4.3.2")
	<-done
	if len(h.inbox("ana")) != 1 {
		t.Error("the message is lost")
	}
}
