package queue

import (
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
		if err := q.Confirm(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		env.From = smtp.Address{} // RFC 5321 4.5.5
		if err := q.Confirm(t.Context(), env, strings.NewReader(text)); err != nil {
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
