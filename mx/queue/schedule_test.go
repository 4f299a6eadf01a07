package queue

import (
	"testing"
	"time"

	"buzon/internal/smtp"
)

// A host that defers for a week: the attempts follow the documented schedule,
// the sender is warned once after 4 hours and told once after 5 days.
func TestWeekOfRetries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(smtp.Address, int) smtp.Result { return later() }
		q := w.open(w.config(dir), nil)
		id := w.submit(q.Queue, "luis@far.test")
		began := time.Now()
		pass(4 * time.Hour)
		if n := w.noticesOf("delayed", "luis@far.test"); n != 0 {
			t.Errorf("%d warnings before 4 h", n)
		}
		pass(3 * time.Hour)
		if n := w.noticesOf("delayed", "luis@far.test"); n != 1 {
			t.Errorf("%d warnings after 7 h", n)
		}
		pass(5*24*time.Hour - 7*time.Hour - time.Minute)
		if n := w.noticesOf("failed", "luis@far.test"); n != 0 {
			t.Errorf("%d failure notices before 5 days", n)
		}
		pass(2 * time.Minute)
		if n := w.noticesOf("failed", "luis@far.test"); n != 1 {
			t.Errorf("%d failure notices after 5 days", n)
		}
		pass(2 * 24 * time.Hour)
		if d, f := w.noticesOf("delayed", "luis@far.test"), w.noticesOf("failed", "luis@far.test"); d != 1 || f != 1 || len(w.notices) != 2 {
			t.Errorf("after a week: %d warnings, %d failure notices, %d in all", d, f, len(w.notices))
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if n := w.logged("msg=bounced", "id="+id, "to=luis@far.test", "code=451"); n != 1 {
			t.Errorf("%d log lines tell of the bounce", n)
		}
		checkPauses(t, began, w.times)
	})
}

func checkPauses(t *testing.T, began time.Time, times []time.Time) {
	t.Helper()
	want := []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, 2 * time.Hour}
	if len(times) < 60 || len(times) > 72 {
		t.Errorf("%d attempts in 5 days", len(times))
	}
	distinct := make(map[time.Duration]bool)
	for i := 1; i < len(times); i++ {
		pause, about := times[i].Sub(times[i-1]), want[min(i, len(want))-1]
		last := i == len(times)-1 // falls on the deadline
		if pause > about*11/10 || pause < about*9/10 && !last {
			t.Errorf("pause %d is %v, want %v ±10 %%", i, pause, about)
		}
		distinct[pause] = true
	}
	if len(distinct) < len(times)/2 {
		t.Error("the pauses have no jitter")
	}
	if end := times[len(times)-1].Sub(began); end < 5*24*time.Hour-time.Millisecond || end > 5*24*time.Hour+time.Second {
		t.Errorf("the last attempt was at %v", end)
	}
}

func TestScheduleFromConfig(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(smtp.Address, int) smtp.Result { return silent() }
		cfg := w.config(dir)
		cfg.Schedule = Schedule{Retry: []time.Duration{time.Second}, WarnAfter: 2 * time.Second, GiveUpAfter: 4 * time.Second}
		q := w.open(cfg, nil)
		w.submit(q.Queue, "luis@far.test")
		pass(5 * time.Second)
		if d, f := w.noticesOf("delayed", "luis@far.test"), w.noticesOf("failed", "luis@far.test"); d != 1 || f != 1 {
			t.Errorf("%d warnings, %d failure notices; attempts %v", d, f, w.times)
		}
		if n := len(w.times); n != 5 && n != 6 {
			t.Errorf("%d attempts in 4 s", n)
		}
	})
}

// A machine that was off for a week does not return its mail because of the one
// attempt that it makes before its network is up.
func TestOldMailAfterRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n < 2 {
				return silent()
			}
			return ok(to)
		}
		q := w.open(w.config(dir), nil)
		w.submit(q.Queue, "luis@far.test")
		pass(time.Minute)
		q.stop()
		pass(7 * 24 * time.Hour)
		w.open(w.config(dir), nil)
		pass(time.Hour)
		if w.copiesOf("luis@far.test") != 1 || w.noticesOf("failed", "luis@far.test") != 0 {
			t.Errorf("%d attempts, %d copies, %d failure notices", w.triesOf("luis@far.test"), w.copiesOf("luis@far.test"), w.noticesOf("failed", "luis@far.test"))
		}
	})
}

// RFC 5321 4.5.5: nothing is ever sent in answer to the null reverse-path. A
// notice that cannot be delivered is dropped after a day, with a line in the log.
func TestNoticeOfNotice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, _ int) smtp.Result {
			if to.Domain == "sender.test" {
				return silent()
			}
			return refused()
		}
		q := w.open(w.config(dir), nil)
		env := envelope("luis@far.test")
		env.From = address("guest@sender.test") // not ours: his notice goes out through the queue
		id, err := q.Submit(t.Context(), env, stringsReader(text))
		if err != nil {
			t.Fatal(err)
		}
		pass(7 * 24 * time.Hour)
		if n := w.logged("notice dropped", "id="+id+"-f0", "to=guest@sender.test"); n != 1 || w.triesOf("guest@sender.test") < 10 {
			t.Errorf("%d log lines, %d attempts for the notice", n, w.triesOf("guest@sender.test"))
		}
		if at := w.times[len(w.times)-1].Sub(w.times[0]); at > 25*time.Hour {
			t.Errorf("the notice was tried for %v", at)
		}
		if left := files(t, dir); len(left) > 0 || len(w.notices) > 0 {
			t.Errorf("left in the spool: %v; notices: %q", left, w.notices)
		}
	})
}

// NOTIFY (RFC 3461 4.1) is obeyed.
func TestNotify(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(smtp.Address, int) smtp.Result { return later() }
		q := w.open(w.config(memoryDir(t)), nil)
		env := envelope("never@far.test", "failure@far.test", "delay@far.test", "success@far.test", "default@far.test")
		for i, n := range []smtp.Notify{smtp.NotifyNever, smtp.NotifyFailure, smtp.NotifyDelay, smtp.NotifySuccess, 0} {
			env.To[i].Notify = n
		}
		if _, err := q.Submit(t.Context(), env, stringsReader(text)); err != nil {
			t.Fatal(err)
		}
		pass(6 * 24 * time.Hour)
		for name, want := range map[string][2]int{"never": {0, 0}, "failure": {0, 1}, "delay": {1, 0}, "success": {0, 0}, "default": {1, 1}} {
			got := [2]int{w.noticesOf("delayed", name+"@far.test"), w.noticesOf("failed", name+"@far.test")}
			if got != want {
				t.Errorf("NOTIFY %s: %v (delayed, failed), want %v", name, got, want)
			}
		}
	})
}
