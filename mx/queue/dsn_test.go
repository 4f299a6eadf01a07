package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// TestSuccessNotices is RFC 3461 5.2.2 and 5.2.3: who asked for it hears of a
// success from the host that takes the message, or else from us, once.
func TestSuccessNotices(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			r := ok(to)
			r.Notifies = to.Domain == "knows.test"
			return r
		}
		q := w.open(w.config(dir), nil)
		env := envelope("asked@far.test", "quiet@far.test", "never@far.test", "asked@knows.test")
		env.EnvelopeID = "QQ-1"
		env.To[0].Notify, env.To[0].Original = smtp.NotifySuccess|smtp.NotifyFailure, "rfc822;Asked@far.test"
		env.To[2].Notify = smtp.NotifyNever
		env.To[3].Notify = smtp.NotifySuccess
		if _, err := q.Submit(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if len(w.notices) != 1 || w.noticesOf("relayed", "asked@far.test") != 1 {
			t.Fatalf("notices: %q", w.notices)
		}
		for _, line := range []string{"Original-Envelope-Id: QQ-1\r\n", "Original-Recipient: rfc822; Asked@far.test\r\n", "Status: 2.0.0\r\n", "Subject: Your message was taken by another host\r\n"} {
			if !strings.Contains(w.notices[0], line) {
				t.Errorf("no %q in\n%s", line, w.notices[0])
			}
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// TestConfirm: what is delivered here is told of in the same way.
func TestConfirm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		q := w.open(w.config(dir), nil)
		env := envelope("luis@buzon.test", "eva@buzon.test")
		env.To[0].Notify = smtp.NotifySuccess
		if err := q.Confirm(t.Context(), env, false, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		env.From = smtp.Address{} // RFC 5321 4.5.5
		if err := q.Confirm(t.Context(), env, false, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if len(w.notices) != 1 || w.noticesOf("delivered", "luis@buzon.test") != 1 || strings.Contains(w.notices[0], "eva@") {
			t.Errorf("notices: %q", w.notices)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// TestRelease is RFC 4865: nothing leaves before its time, restarts or not, and
// the days of a message count from then.
func TestRelease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 {
				return later()
			}
			return ok(to)
		}
		q := w.open(w.config(dir), nil)
		env := envelope("luis@far.test")
		env.NotBefore = time.Now().Add(6 * 24 * time.Hour)
		if _, err := q.Submit(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		pass(3 * 24 * time.Hour)
		q.stop()
		w.open(w.config(dir), nil)
		pass(3*24*time.Hour - time.Minute)
		if w.triesOf("luis@far.test") != 0 {
			t.Fatal("it has left before its time")
		}
		pass(time.Hour)
		if w.copiesOf("luis@far.test") != 1 || len(w.notices) != 0 {
			t.Errorf("%d copies, notices %q", w.copiesOf("luis@far.test"), w.notices)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// TestHeldFromTheStart: what is submitted as held waits, over restarts, until
// it is released.
func TestHeldFromTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		q := w.open(w.config(dir), nil)
		env := envelope("luis@far.test")
		env.Held = true
		id, err := q.Submit(t.Context(), env, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		q.stop()
		q = w.open(w.config(dir), nil)
		pass(time.Hour)
		if m, err := q.Show(id); err != nil || !m.Held || w.triesOf("luis@far.test") != 0 {
			t.Fatalf("%+v, %v", m, err)
		}
		if err := q.Release(id); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if w.copiesOf("luis@far.test") != 1 {
			t.Error("not delivered after the release")
		}
	})
}

// TestDeliverBy is RFC 2852: at the time that the sender gave he is told, or has
// his message back, whatever else is under way, and over restarts.
func TestDeliverBy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		by      smtp.DeliverBy // At: 10 minutes from the start
		notify  smtp.Notify
		knows   bool // the host obeys DELIVERBY
		failing time.Duration
		copies  int
		notices []string // action, and the minute from the start in which it comes
		status  string
	}{
		{"R, too late", smtp.DeliverBy{Return: true}, 0, true, time.Hour, 0, []string{"failed 9"}, "5.4.7"},
		{"R, too late, nobody wants to hear of it", smtp.DeliverBy{Return: true}, smtp.NotifyNever, true, time.Hour, 0, nil, ""},
		{"R, in time", smtp.DeliverBy{Return: true}, 0, true, time.Minute, 1, nil, ""},
		{"R with T, in time", smtp.DeliverBy{Return: true, Trace: true}, 0, true, 0, 1, []string{"relayed 0"}, "2.0.0"},
		{"N, too late", smtp.DeliverBy{}, 0, true, time.Hour, 1, []string{"delayed 9"}, "4.4.7"},
		{"N, too late, only failures are wanted", smtp.DeliverBy{}, smtp.NotifyFailure, true, time.Hour, 1, nil, ""},
		{"N, to a host that does not know it", smtp.DeliverBy{}, 0, false, 0, 1, []string{"relayed 0"}, "2.0.0"},
		{"N, the same, in silence", smtp.DeliverBy{}, smtp.NotifyNever, false, 0, 1, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, dir := newWorld(t), memoryDir(t)
				start := time.Now()
				w.answer = func(to smtp.Address, _ int) smtp.Result {
					if time.Since(start) < tt.failing {
						return smtp.Result{Recipient: to, Err: errors.New("no route")}
					}
					r := ok(to)
					r.KnowsBy = tt.knows
					return r
				}
				q := w.open(w.config(dir), nil)
				env := envelope("luis@far.test")
				env.By, env.To[0].Notify = tt.by, tt.notify
				env.By.At = start.Add(10 * time.Minute).UTC().Truncate(time.Second)
				if _, err := q.Submit(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				// Its destination cools down, and must not hide the time.
				if _, err := q.Submit(t.Context(), envelope("eva@far.test"), strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				var heard []string
				seen := 0
				for minute := range 3 * 60 {
					if minute == 7 {
						q.stop()
						q = w.open(w.config(dir), nil)
					}
					pass(time.Minute)
					w.mu.Lock()
					news := w.notices[seen:]
					seen = len(w.notices)
					w.mu.Unlock()
					for _, n := range news {
						_, action, _ := strings.Cut(n, "\r\nAction: ")
						action, _, _ = strings.Cut(action, "\r\n")
						heard = append(heard, fmt.Sprintf("%s %d", action, minute))
						if !strings.Contains(n, "\r\nStatus: "+tt.status+"\r\n") || !strings.Contains(n, "\r\nDeliver-By-Date: "+env.By.At.Format(time.RFC1123Z)+"\r\n") {
							t.Errorf("want Status: %s and the date in\n%s", tt.status, n)
						}
					}
				}
				if !slices.Equal(heard, tt.notices) || w.copiesOf("luis@far.test") != tt.copies || w.copiesOf("eva@far.test") != 1 {
					t.Errorf("heard %q, want %q; %d copies, %d of the other", heard, tt.notices, w.copiesOf("luis@far.test"), w.copiesOf("eva@far.test"))
				}
				if left := files(t, dir); len(left) > 0 {
					t.Errorf("left in the spool: %v", left)
				}
			})
		})
	}
}

// TestReturnFull is RFC 3461 4.3: who wants his message back gets it, when it
// failed, and where it can stand in a notice.
func TestReturnFull(t *testing.T) {
	const header = "From: <ana@buzon.test>\r\nSubject: hola\r\n"
	for _, tt := range []struct {
		name, ret, body, kind string
		whole                 bool
	}{
		{"not asked for", "", "hola\r\n", "text/rfc822-headers", false},
		{"only the header", "HDRS", "hola\r\n", "text/rfc822-headers", false},
		{"asked for", "FULL", "hola\r\n", "message/rfc822", true},
		{"8-bit, not UTF-8", "FULL", "\xf1and\xfa\r\n", "message/rfc822", true},
		{"too long", "FULL", strings.Repeat("hola\r\n", maxWhole/6), "text/rfc822-headers", false},
		{"long lines", "FULL", strings.Repeat("x", 999) + "\r\n", "text/rfc822-headers", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, dir := newWorld(t), memoryDir(t)
				w.answer = func(smtp.Address, int) smtp.Result { return refused() }
				q := w.open(w.config(dir), nil)
				env := envelope("luis@far.test")
				env.Return = tt.ret
				msg := header + "\r\n" + tt.body
				if _, err := q.Submit(t.Context(), env, strings.NewReader(msg)); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(w.notices) != 1 {
					t.Fatalf("%d notices", len(w.notices))
				}
				_, types, bodies := parts(t, w.notices[0])
				want := header
				if tt.whole {
					want = msg
				}
				if types[2] != tt.kind || bodies[2] != want {
					t.Errorf("returned %s %q", types[2], bodies[2])
				}
			})
		})
	}
}
