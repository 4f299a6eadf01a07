package queue

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"buzon/internal/smtp"
)

func TestHoldAndRelease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 {
				return later()
			}
			return ok(to)
		}
		q := w.open(w.config(dir), nil)
		id := w.submit(q.Queue, "luis@far.test")
		pass(time.Second)
		check(t, q.Hold(id))
		check(t, q.Hold(id))
		pass(time.Hour)
		q.stop()
		q = w.open(w.config(dir), nil) // the hold is kept
		check(t, q.Retry(id))
		pass(time.Hour)
		if m, err := q.Show(id); err != nil || !m.Held || m.Active || w.triesOf("luis@far.test") != 1 {
			t.Errorf("%+v, %v, %d attempts", m, err, w.triesOf("luis@far.test"))
		}
		check(t, q.Release(id))
		checkAgain(t, q.Release(id))
		pass(time.Second)
		if w.copiesOf("luis@far.test") != 1 {
			t.Error("not delivered after the release")
		}
	})
}

// checkAgain checks an order that is given twice: by now the message may have
// been delivered.
func checkAgain(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestRetryNow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 {
				return silent()
			}
			return ok(to)
		}
		q := w.open(w.config(memoryDir(t)), nil)
		id := w.submit(q.Queue, "luis@far.test")
		pass(time.Second)
		check(t, q.Retry(id))
		checkAgain(t, q.Retry(id))
		pass(time.Second)
		if w.copiesOf("luis@far.test") != 1 {
			t.Error("not attempted at once")
		}
		w.submit(q.Queue, "eva@far.test")
		w.submit(q.Queue, "max@near.test")
		pass(time.Second)
		if n, err := q.RetryAll(); n != 2 || err != nil {
			t.Errorf("RetryAll: %d, %v", n, err)
		}
		pass(time.Second)
		if w.copiesOf("eva@far.test") != 1 || w.copiesOf("max@near.test") != 1 {
			t.Error("not everything was attempted at once")
		}
	})
}

// Without Run, as in the command line beside a server that is down, a retry is
// kept for the next start.
func TestRetryOffline(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 {
				return silent()
			}
			return ok(to)
		}
		q := w.open(w.config(dir), nil)
		one, _ := w.submit(q.Queue, "luis@far.test"), w.submit(q.Queue, "eva@near.test")
		pass(time.Second)
		q.stop()
		off := w.openOnly(w.config(dir), nil)
		check(t, off.Retry(one))
		check(t, off.Close())
		q = w.open(w.config(dir), nil)
		pass(time.Second)
		if w.copiesOf("luis@far.test") != 1 || w.copiesOf("eva@near.test") != 0 || q.Len() != 1 {
			t.Errorf("%d, %d copies, %d queued", w.copiesOf("luis@far.test"), w.copiesOf("eva@near.test"), q.Len())
		}
		q.stop()
		off = w.openOnly(w.config(dir), nil)
		if n, err := off.RetryAll(); n != 1 || err != nil {
			t.Errorf("RetryAll: %d, %v", n, err)
		}
		check(t, off.Close())
		w.open(w.config(dir), nil)
		pass(time.Second)
		if w.copiesOf("eva@near.test") != 1 {
			t.Error("RetryAll was not kept")
		}
	})
}

func TestDrop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.delay = func(string) time.Duration { return time.Hour }
		w.tooLate = func(domain string) bool { return domain == "near.test" }
		q := w.open(w.config(dir), nil)
		id := w.submit(q.Queue, "luis@far.test", "eva@near.test")
		pass(time.Second)
		if m, err := q.Show(id); err != nil || !m.Active {
			t.Errorf("Show: %+v, %v", m, err)
		}
		check(t, q.Drop(id))
		if err := q.Drop(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("second Drop: %v", err)
		}
		pass(time.Second) // the attempts are told to stop
		if w.all != 0 {
			t.Error("an attempt goes on")
		}
		if left := files(t, dir); len(left) > 0 || len(w.notices) > 0 {
			t.Errorf("left in the spool: %v; notices: %q", left, w.notices)
		}
		if w.logged("msg=dropped", "id="+id) != 1 || w.logged("msg=delivered", "to=eva@near.test", "late=true") != 1 {
			t.Errorf("log:\n%s", w.logText())
		}
	})
}

func TestUnknownID(t *testing.T) {
	w := newWorld(t)
	q := w.open(w.config(memoryDir(t)), nil)
	for name, do := range map[string]func(string) error{
		"retry": q.Retry, "hold": q.Hold, "release": q.Release, "drop": q.Drop,
		"show": func(id string) error { _, err := q.Show(id); return err },
		"text": func(id string) error { _, err := q.Text(id); return err },
	} {
		for _, id := range []string{"0000000000000", "", "../../etc/passwd"} {
			if err := do(id); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s %q: %v", name, id, err)
			}
		}
	}
}

func TestListAndText(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(smtp.Address, int) smtp.Result { return later() }
		cfg := w.config(memoryDir(t))
		cfg.Schedule.Jitter = -1
		q := w.open(cfg, nil)
		first := w.submit(q.Queue, "luis@far.test")
		pass(time.Second)
		second := w.submit(q.Queue, "eva@far.test", "max@near.test")
		pass(time.Second)
		list := q.List()
		if len(list) != 2 || list[0].ID != first || list[1].ID != second {
			t.Fatalf("List: %+v", list)
		}
		m := list[0]
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		if m.From != "ana@buzon.test" || m.Size != int64(len(text)) || !m.Queued.Equal(start) || !m.Next().Equal(start.Add(5*time.Minute)) {
			t.Errorf("%+v", m)
		}
		if r := m.Recipients[0]; r.Address != "luis@far.test" || r.Status != Waiting || r.Attempts != 1 || r.Host != "mx.slow.test" || r.Reply != "451 4.7.1 greylisted" {
			t.Errorf("%+v", r)
		}
		rc, err := q.Text(first)
		check(t, err)
		defer rc.Close()
		if b, err := io.ReadAll(rc); err != nil || string(b) != text {
			t.Errorf("Text: %q, %v", b, err)
		}
	})
}

// Everything at once, under the race detector: submitting, attempts that end in
// every way, and an administrator who does what he likes.
func TestTogether(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.delay = func(domain string) time.Duration { return time.Duration(len(domain)) * 100 * time.Millisecond }
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n > 3 {
				return ok(to)
			}
			return []smtp.Result{later(), silent(), ok(to), refused()}[(len(to.Local)+n)%4]
		}
		q := w.open(w.config(dir), nil)
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				for i := range 30 {
					id := w.submit(q.Queue, fmt.Sprintf("%0*d@a%d.test", i+1, i, i%3), fmt.Sprintf("%0*d@bbbb%d.test", i+1, i, n))
					time.Sleep(time.Duration(n) * time.Second)
					for _, do := range []func(string) error{q.Hold, q.Retry, q.Release, q.Retry} {
						checkAgain(t, do(id))
					}
					if i%10 == 9 {
						checkAgain(t, q.Drop(id))
					}
					q.List()
				}
			})
		}
		all.Wait()
		pass(6 * 24 * time.Hour)
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if n := len(q.sched.destinations) + len(q.sched.entries) + q.sched.running[fresh] + q.sched.running[retry]; n != 0 {
			t.Errorf("%d things are left in the scheduler", n)
		}
	})
}
