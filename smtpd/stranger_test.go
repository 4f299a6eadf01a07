package smtpd

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// U10: an account that writes to too many it never wrote to is taken for
// stolen: its mail is taken and held, and postmaster is told, once.
func TestStolenAccount(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(t.TempDir(), "recipients")
	open := func() *Recipients {
		t.Helper()
		r, err := OpenRecipients(path, 3, slog.New(slog.DiscardHandler))
		h.must(err)
		t.Cleanup(func() { r.Close() })
		return r
	}
	h.cfg.Recipients = open()
	p := h.login(h.submission(false), "luis@buzon.test")
	send := func(to ...string) {
		t.Helper()
		p.transaction("luis@buzon.test", to...)
		p.send("From: luis@buzon.test\r\nSubject: x\r\n\r\n.\r\n")
		p.want("250 2.0.0 queued as")
	}
	send("a@remote.test", "b@remote.test")
	send("c@remote.test")
	send("d@remote.test")                  // the fourth
	send("a@remote.test", "c@remote.test") // whom he knows
	send("e@remote.test", "a@remote.test")
	var held []string
	for _, m := range h.queue.messages {
		held = append(held, map[bool]string{true: "held", false: "sent"}[m.env.Held])
	}
	if got := strings.Join(held, " "); got != "sent sent held sent held" {
		t.Errorf("messages were %s", got)
	}
	var alarms int
	for _, m := range h.inbox("ana") { // the oldest account is postmaster
		if strings.Contains(m, "luis@buzon.test") && strings.Contains(m, "buzon queue") {
			alarms++
		}
	}
	if alarms != 1 {
		t.Errorf("%d alarms; ana has %q", alarms, h.inbox("ana"))
	}
	if r := open(); !r.usual("luis@buzon.test", h.queue.messages[0].env.To[0].Address) || len(r.known) != 3 {
		t.Errorf("%d recipients are known after a restart", len(r.known))
	}
}
