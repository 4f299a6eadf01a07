package queue

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

func TestDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		q := w.open(w.config(dir), nil)
		id := w.submit(q.Queue, "luis@far.test", "eva@far.test", "luis@far.test", "max@near.test")
		pass(time.Second)
		for _, to := range []string{"luis@far.test", "eva@far.test", "max@near.test"} {
			if w.copiesOf(to) != 1 || w.bodies[to] != text {
				t.Errorf("%s got %d copies, %q", to, w.copiesOf(to), w.bodies[to])
			}
			if n := w.logged("msg=delivered", "id="+id, "from=ana@buzon.test", "to="+to, "host=mx.", "code=250", "dur="); n != 1 {
				t.Errorf("%d log lines tell of %s", n, to)
			}
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if _, err := q.Show(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("Show after delivery: %v", err)
		}
	})
}

func TestSubmitRefuses(t *testing.T) {
	w, dir := newWorld(t), memoryDir(t)
	q := w.openOnly(w.config(dir), nil)
	defer q.Close()
	submit := func(env smtp.Envelope) error {
		_, err := q.Submit(context.Background(), env, strings.NewReader(text))
		return err
	}
	if err := submit(envelope()); !errors.Is(err, errEnvelope) {
		t.Errorf("no recipients: %v", err)
	}
	if err := submit(smtp.Envelope{To: []smtp.Recipient{{Address: smtp.Address{Local: "postmaster"}}}}); !errors.Is(err, errEnvelope) {
		t.Errorf("no domain: %v", err)
	}
	for name, s := range map[string]durable.Space{
		"bytes":  {Total: 10 << 30, Free: 99 << 20, Inodes: 1e6},
		"size":   {Total: 10 << 30, Free: 110 << 20, Inodes: 1e6},
		"inodes": {Total: 10 << 30, Free: 5 << 30, Inodes: 999},
	} {
		q.disk = func() (durable.Space, error) { return s, nil }
		env := envelope("luis@far.test")
		env.Size = 10 << 20
		if err := submit(env); !errors.Is(err, smtp.DiskFull) {
			t.Errorf("low on %s: %v", name, err)
		}
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("refused, but in the spool: %v", left)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestSubmitKeepsTheReadersError(t *testing.T) {
	w, dir := newWorld(t), memoryDir(t)
	q := w.openOnly(w.config(dir), nil)
	defer q.Close()
	_, err := q.Submit(context.Background(), envelope("luis@far.test"), brokenReader{smtp.TooBig})
	if !errors.Is(err, smtp.TooBig) {
		t.Errorf("Submit: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := q.Submit(ctx, envelope("luis@far.test"), strings.NewReader(text)); !errors.Is(err, context.Canceled) {
		t.Errorf("Submit after the client left: %v", err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// What a message's file and state look like is documented: a person can read
// them, and so can the next version.
func TestSpoolFormat(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, _ int) smtp.Result {
			if to.Local == "eva" {
				return silent()
			}
			return later()
		}
		cfg := w.config(dir)
		cfg.Schedule.Jitter = -1
		q := w.open(cfg, nil)
		env := envelope("luis@far.test", `"o k"@near.test`, "eva@away.test")
		env.EightBit, env.UTF8, env.EnvelopeID, env.Return = true, true, "x=1", "HDRS"
		env.To[0].Original, env.To[0].Notify = "rfc822;l@far.test", smtp.NotifyFailure|smtp.NotifyDelay
		id, err := q.Submit(context.Background(), env, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		expectFile(t, dir+"/message/"+id, `buzon-message 1
queued 2000-01-01T00:00:00.000Z
from <ana@buzon.test>
envid "x=1"
ret HDRS
body 8bit
smtputf8
recipient <luis@far.test>
orcpt "rfc822;l@far.test"
notify FAILURE,DELAY
recipient <"o k"@near.test>
recipient <eva@away.test>

`+text+"\nbuzon-end 00000000000000000105\n")
		expectFile(t, dir+"/state/"+id, `buzon-state 1
queued 2000-01-01T00:00:00.000Z
recipient <luis@far.test>
status waiting
attempts 1
next 2000-01-01T00:05:00.000Z
last 2000-01-01T00:00:00.000Z
host "mx.slow.test"
reply 451 4.7.1 "greylisted"
recipient <"o k"@near.test>
status waiting
attempts 1
next 2000-01-01T00:05:00.000Z
last 2000-01-01T00:00:00.000Z
host "mx.slow.test"
reply 451 4.7.1 "greylisted"
recipient <eva@away.test>
status waiting
attempts 1
next 2000-01-01T00:05:00.000Z
last 2000-01-01T00:00:00.000Z
host "mx.dead.test"
reply 451 4.4.1 "No answer from the mail host"
cause "dial tcp 192.0.2.1:25: i/o timeout"
`)
	})
}

func expectFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is\n%s\nwant\n%s", path, got, want)
	}
}

// Messages that were queued or deferred go on after a restart, with their
// schedule kept.
func TestRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 {
				return later()
			}
			return ok(to)
		}
		cfg := w.config(dir)
		cfg.Schedule.Jitter = -1
		q := w.open(cfg, nil)
		w.submit(q.Queue, "luis@far.test")
		pass(time.Second)
		q.stop()

		q = w.open(cfg, nil)
		pass(4 * time.Minute)
		if w.triesOf("luis@far.test") != 1 {
			t.Error("attempted before its time after the restart")
		}
		pass(time.Minute)
		if w.copiesOf("luis@far.test") != 1 {
			t.Error("not delivered after the restart")
		}
		q.stop()
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// The end of Run lets attempts finish; one that does not is stopped, and its
// message stays.
func TestDrain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.delay = func(domain string) time.Duration {
			if domain == "slow.test" {
				return time.Hour
			}
			return 10 * time.Second
		}
		q := w.open(w.config(dir), nil)
		w.submit(q.Queue, "luis@far.test")
		w.submit(q.Queue, "eva@slow.test")
		pass(time.Second)
		began := time.Now()
		q.stop()
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		if w.copiesOf("luis@far.test") != 1 {
			t.Error("an attempt that could finish was cut off")
		}
		w.delay = nil
		w.open(w.config(dir), nil)
		pass(6 * time.Minute)
		if w.copiesOf("eva@slow.test") != 1 {
			t.Error("the message that was cut off is lost")
		}
	})
}

// A carrier's panic, or a result that is missing, defers the message.
func TestSenderMisbehaves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			if n == 0 && to.Local == "panic" {
				panic("carrier")
			}
			return ok(to)
		}
		q := w.open(w.config(memoryDir(t)), nil)
		w.submit(q.Queue, "panic@far.test")
		pass(6 * time.Minute)
		if w.copiesOf("panic@far.test") != 1 || w.logged("sending panicked") != 1 {
			t.Errorf("after the panic: %d copies\n%s", w.copiesOf("panic@far.test"), w.logText())
		}
	})
}

// A clock that is not set makes mail wait, and then nothing expires at once.
func TestClockNotSet(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(smtp.Address, int) smtp.Result { return later() }
		cfg := w.config(dir)
		var ahead atomic.Int64
		ahead.Store(int64(-30 * 365 * 24 * time.Hour))
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		q := w.open(cfg, nil)
		w.submit(q.Queue, "luis@far.test")
		pass(time.Hour)
		if w.triesOf("luis@far.test") != 0 || w.logged("clock is not set") != 1 {
			t.Errorf("%d attempts without a clock; log: %s", w.triesOf("luis@far.test"), w.logText())
		}
		ahead.Store(0)
		pass(24 * time.Hour)
		if w.triesOf("luis@far.test") < 10 || w.noticesOf("failed", "luis@far.test") > 0 {
			t.Errorf("%d attempts, %d failure notices after the clock was set", w.triesOf("luis@far.test"), w.noticesOf("failed", "luis@far.test"))
		}
	})
}
