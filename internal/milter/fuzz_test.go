package milter

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// Whatever a filter sends, the message is one with a header and a body after
// it, its other fields are untouched, and the client hears a refusal of one or
// more safe lines, or none.
func FuzzFilter(f *testing.F) {
	f.Add(wantsAll + strings.Repeat(packet(replyContinue), 9) + packet(changeAddHeader, "X\x00a\nb\r\n\r\nc\x00") + packet(changeInsertHeader, number(1), "Y\x00\n\n\x00") + packet(replyAccept))
	f.Add(wantsAll + strings.Repeat(packet(replyContinue), 9) + packet(changeHeader, number(1), "Subject\x00\x00") + packet(changeBody, "\r\n") + packet(replyContinue))
	f.Add(wantsAll + packet(replyCode, "550-5.7.1 a\r\n550 5.7.1 b%%\x00"))
	f.Add(optneg(6, allActions, allSteps) + packet(changeQuarantine, "\x00") + packet(changeDeleteRcpt, "ana@buzon.test\x00") + packet(replyContinue))
	f.Add(optneg(2, 0, 0) + packet(replyDiscard))
	f.Fuzz(func(t *testing.T, says string) {
		ours, its := net.Pipe()
		go func() {
			go io.Copy(io.Discard, its)
			its.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(its, says)
			its.Close()
		}()
		filter := New(Config{Name: "fuzz", Timeout: 5 * time.Second})
		s := &session{wire: newWire(t.Context(), ours, filter.cfg.Timeout)}
		if s.negotiate() != nil {
			s.close()
			return
		}
		v := &Conversation{ctx: t.Context(), chain: NewChain(testHost, filter), client: testClient, log: slog.New(slog.DiscardHandler)}
		v.talks = []*talk{{Filter: filter, session: s}}
		m := messageOf(letter)
		out, err := converse(v, m)
		v.Close()
		if err != nil {
			checkReply(t, smtp.ReplyFor(err))
			return
		}
		if out.Discard {
			return
		}
		raw := m.Header.Raw()
		h, err := message.ReadHeader(bufio.NewReader(strings.NewReader(string(raw)+"body")), message.HeaderLimits{})
		if err != nil || len(h.Raw()) != len(raw) {
			t.Fatalf("no header: %q, %v", raw, err)
		}
		if n := len(m.Header.fields) - 1; n != h.Len()+message.ParseHeader(m.Header.Top()).Len() {
			t.Fatalf("%d fields, and %q above\n%q", n, m.Header.Top(), raw)
		}
		if !out.Changed && m.text() != "--\r\n"+letter {
			t.Fatalf("changed: %q", m.text())
		}
	})
}

func checkReply(t *testing.T, r *smtp.Reply) {
	t.Helper()
	lines := strings.Split(r.Text, "\n")
	if r.Code < 400 || r.Code > 599 || r.Enhanced[0] != r.Code/100 || len(lines) > maxReplyLines {
		t.Errorf("the reply %+v", r)
	}
	for _, line := range lines {
		if len(line) > maxReplyLine || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("the line %q", line)
		}
	}
}
