package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// taker takes everything at once.
type taker struct{ taken atomic.Int64 }

func (s *taker) Send(_ context.Context, env smtp.Envelope, _ io.ReaderAt, _ int64) []smtp.Result {
	out := make([]smtp.Result, len(env.To))
	for i, r := range env.To {
		out[i] = ok(r.Address)
	}
	s.taken.Add(1)
	return out
}

func benchQueue(b *testing.B, dir string, s Sender) *Queue {
	b.Helper()
	q, err := Open(Config{Dir: dir, Sender: s, Hostname: "mx.buzon.test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { q.Close() })
	return q
}

// BenchmarkSubmit is one client that submits messages of 4 KiB, one after the
// other, to the disk that TMPDIR is on.
func BenchmarkSubmit(b *testing.B) {
	q := benchQueue(b, b.TempDir(), &taker{})
	body := strings.Repeat("x", 4<<10)
	for b.Loop() {
		if _, err := q.Submit(b.Context(), envelope("luis@far.test"), strings.NewReader(body)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelay is 20 clients that submit, while what they submit is sent:
// the time of a message from Submit until it has left the spool.
func BenchmarkRelay(b *testing.B) {
	s := &taker{}
	q := benchQueue(b, b.TempDir(), s)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	body := strings.Repeat("x", 4<<10)
	b.SetParallelism(10)
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			if _, err := q.Submit(ctx, envelope(fmt.Sprintf("luis@d%d.test", n%8)), strings.NewReader(body)); err != nil {
				b.Error(err)
			}
		}
	})
	for q.Len() > 0 {
		time.Sleep(time.Millisecond) // the tail of the last messages
	}
	cancel()
	<-done
}

// BenchmarkQueueScan opens a spool of 100 000 messages, nine of ten deferred.
func BenchmarkQueueScan(b *testing.B) {
	const messages = 100_000
	dir := b.TempDir()
	fill(b, dir, messages)
	var before, after runtime.MemStats
	b.ResetTimer()
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		q := benchQueue(b, dir, &taker{})
		if n := q.Len(); n != messages {
			b.Fatalf("%d messages", n)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/messages, "B/message")
		runtime.KeepAlive(q)
	}
}

// BenchmarkFreshAmongDead is the time until a message to a live host has left a
// queue of 100 000, all of it due and nine of ten for hosts that do not answer.
func BenchmarkFreshAmongDead(b *testing.B) {
	const messages = 100_000
	dir := b.TempDir()
	fill(b, dir, messages)
	s := &deadWorld{fresh: make(chan struct{}, 1)}
	q := benchQueue(b, dir, s)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	for !q.running.Load() {
		time.Sleep(time.Millisecond)
	}
	if _, err := q.RetryAll(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := q.Submit(ctx, envelope("luis@live.test"), strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		<-s.fresh
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// deadWorld has one live host; the others take the time of a connection's
// time-out.
type deadWorld struct{ fresh chan struct{} }

func (w *deadWorld) Send(ctx context.Context, env smtp.Envelope, _ io.ReaderAt, _ int64) []smtp.Result {
	if env.To[0].Address.Domain == "live.test" {
		w.fresh <- struct{}{}
		return []smtp.Result{ok(env.To[0].Address)}
	}
	select {
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
	}
	r := silent()
	r.Recipient = env.To[0].Address
	return []smtp.Result{r}
}

// fill writes a spool as the queue would, without waiting for the disk.
func fill(b *testing.B, dir string, messages int) {
	b.Helper()
	benchQueue(b, dir, &taker{}) // makes the directories
	now := stamp(time.Now())
	for i := range messages {
		h := head{Queued: now, Envelope: envelope(fmt.Sprintf("u%d@d%d.test", i, i%1000))}
		var msg bytes.Buffer
		if _, err := writeMessage(&msg, h, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		id := formatID(uint64(now.UnixMicro()+int64(i)), 0)
		write(b, dir+"/message/"+id, msg.Bytes())
		if i%10 == 0 {
			continue
		}
		st := newState(h)
		r := &st.Recipients[0]
		r.Attempts, r.Next = 3, now.Add(time.Hour)
		r.Last = outcome{At: now, Host: "mx.far.test", Reply: smtp.NewReply(451, [3]int{4, 4, 1}, "No answer from the mail host"), Cause: "dial tcp: i/o timeout"}
		write(b, dir+"/state/"+id, st.format())
	}
}

func write(b *testing.B, path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
}
