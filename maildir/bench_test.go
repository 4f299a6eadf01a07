package maildir

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

func quiet(c *Config) { c.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fillTree writes n small messages into cur/ as another server would have them.
func (h *harness) fillTree(n int) {
	h.t.Helper()
	dir := filepath.Join(h.root, "cur")
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(h.root, d), 0o700); err != nil {
			h.t.Fatal(err)
		}
	}
	text := []byte("a: b\r\n\r\n")
	for i := range n {
		name := fmt.Sprintf("%d.M%dP77Q%dR0123456789abcdef.host,S=8,W=8:2,%s", 1700000000+i/10, i%1000000, i, []string{"", "S", "RS"}[i%3])
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

// BenchmarkDeliver compares a delivery with the bare system calls that any safe
// delivery needs: create, write, fsync, rename, fsync of the directory.
func BenchmarkDeliver(b *testing.B) {
	text := strings.Repeat("Subject: x\r\n", 10) + "\r\n" + strings.Repeat("line of text\r\n", 200)
	for _, parallel := range []int{1, 20} {
		b.Run(fmt.Sprintf("store-%d", parallel), func(b *testing.B) {
			h := newHarness(b, quiet).open()
			b.SetParallelism((parallel + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			deliver := func() {
				st, err := h.user.Stage(h.ctx(), strings.NewReader(text))
				if err == nil {
					_, err = h.user.Deliver(h.ctx(), st, "INBOX", 0)
				}
				if err != nil {
					b.Error(err)
				}
			}
			runEach(b, parallel, deliver)
		})
		b.Run(fmt.Sprintf("bare-%d", parallel), func(b *testing.B) {
			dir, err := durable.OpenDir(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer dir.Close()
			tmp, _ := openOrMake(dir, "tmp", 0o700)
			fresh, _ := openOrMake(dir, "new", 0o700)
			b.SetParallelism((parallel + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			var n atomic.Int64
			runEach(b, parallel, func() {
				name := fmt.Sprint(n.Add(1))
				err := durable.CreateFile(tmp, name, []byte(text), 0o600)
				if err == nil {
					err = tmp.Rename(name, fresh, name)
				}
				if err == nil {
					err = fresh.Sync()
				}
				if err != nil {
					b.Error(err)
				}
			})
		})
	}
}

func runEach(b *testing.B, parallel int, fn func()) {
	if parallel == 1 {
		for b.Loop() {
			fn()
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			fn()
		}
	})
}

// BenchmarkSync100k is the first look at a folder that another server made.
func BenchmarkSync100k(b *testing.B) { benchmarkFirstScan(b, 100_000) }

func benchmarkFirstScan(b *testing.B, n int) {
	h := newHarness(b, quiet)
	h.fillTree(n)
	for b.Loop() {
		b.StopTimer()
		h.close()
		os.RemoveAll(h.cfg.State)
		os.Remove(filepath.Join(h.root, uidlistFile))
		b.StartTimer()
		h.open()
		if h.inbox.State().Len() != n {
			b.Fatal(h.inbox.State().Len())
		}
	}
}

// BenchmarkOpenUnchanged opens a folder of 100 000 messages from its index.
func BenchmarkOpenUnchanged(b *testing.B) { benchmarkOpen(b, 100_000) }

func benchmarkOpen(b *testing.B, n int) {
	h := newHarness(b, quiet)
	h.fillTree(n)
	h.open()
	for b.Loop() {
		b.StopTimer()
		h.close()
		b.StartTimer()
		h.open()
		if h.inbox.State().Len() != n {
			b.Fatal(h.inbox.State().Len())
		}
	}
}

// BenchmarkNoop100k is what NOOP costs in a large folder.
func BenchmarkNoop100k(b *testing.B) {
	h := newHarness(b, quiet)
	h.fillTree(100_000)
	h.open()
	for b.Loop() {
		if _, err := h.inbox.Sync(h.ctx()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStoreOne100k sets and clears a flag in a large folder.
func BenchmarkStoreOne100k(b *testing.B) {
	h := newHarness(b, quiet)
	h.fillTree(100_000)
	h.open()
	op := Add
	for b.Loop() {
		if _, err := h.inbox.Store(h.ctx(), []UID{777}, Change{Op: op, Flags: FlagFlagged}); err != nil {
			b.Fatal(err)
		}
		op = Add + Remove - op
	}
}

// BenchmarkLoadSnapshot1M maps and checks the index of a million messages.
func BenchmarkLoadSnapshot1M(b *testing.B) {
	m := &Mailbox{infoIDs: map[string]fileInfo{}}
	m.state.Store(&State{mailbox: m, next: 1, validity: 1})
	d := m.draft()
	for i := range 1_000_000 {
		base := fmt.Sprintf("%d.M%dP77Q%dR0123456789abcdef.host,S=1204,W=1204", 1700000000+i/10, i%1000000, i)
		d.add(row{uid: UID(i + 1), base: base, where: d.info(":2,S"), flags: FlagSeen, modseq: ModSeq(i), size: 1204, stored: 1204})
	}
	dir, err := durable.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	h := &snapshotHead{validity: 1, next: d.next, infos: rawInfos(m.infos), uids: uidlist{header: uidHeader{version: 3, validity: 1, next: 1}}}
	if err := writeSnapshot(dir, 1, d.State, h); err != nil {
		b.Fatal(err)
	}
	load := func(b *testing.B, trusted func(fileStamp) bool) {
		for b.Loop() {
			h, blocks, uids, err := readSnapshot(dir, 1, durable.File.Map, trusted)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := h.state(m, blocks, uids); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("load", func(b *testing.B) { load(b, func(fileStamp) bool { return true }) })
	b.Run("check", func(b *testing.B) { load(b, func(fileStamp) bool { return false }) })
	h, blocks, uids, err := readSnapshot(dir, 1, durable.File.Map, func(fileStamp) bool { return true })
	if err != nil {
		b.Fatal(err)
	}
	s, _ := h.state(m, blocks, uids)
	s.infos = m.infos
	b.Run("flags", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for i := range s.Len() {
				if s.Message(i).Flags&FlagSeen != 0 {
					n++
				}
			}
		}
	})
	b.Run("names", func(b *testing.B) {
		for b.Loop() {
			var t nameTable
			t.build(s)
		}
	})
}

// BenchmarkParseAhead reads messages of 17 KiB that were never parsed. It says what
// one costs all processors together.
func BenchmarkParseAhead(b *testing.B) {
	h := newHarness(b, quiet)
	h.fillTree(0)
	header := strings.Repeat("Received: from relay.far.test (relay.far.test [192.0.2.1])\n\tby mx.example.org with ESMTPS id 1234;\n\tMon, 02 Jan 2006 15:04:05 +0000\n", 4) +
		"DKIM-Signature: v=1; a=rsa-sha256; d=far.test; s=s1;\n\tb=" + strings.Repeat("abcdEFGH", 42) + "\nFrom: Person 1 <p1@far.test>\nTo: ana@example.org\nSubject: invoice 12\n" +
		"Date: Mon, 02 Jan 2006 15:04:05 +0000\nMessage-ID: <1@far.test>\nReferences: <0@far.test> <4@far.test>\nMIME-Version: 1.0\n"
	body := strings.Repeat("every letter of our house is delivered with care\n", 170)
	text := header + "Content-Type: multipart/alternative; boundary=alt\n\n--alt\nContent-Type: text/plain\n\n" + body + "\n--alt\nContent-Type: text/html\n\n" + body + "\n--alt--\n"
	const messages = 2000
	for i := range messages {
		h.put(fmt.Sprintf("cur/%d.M%dP77Q%d.host:2,S", 1700000000+i, i, i), text)
	}
	h.open()
	for _, depth := range []Depth{ParseFields, ParseEnvelope, ParseAll, ParsePreview} {
		b.Run(fmt.Sprintf("depth-%d", depth), func(b *testing.B) {
			var spent int64
			for b.Loop() {
				x, s := h.inbox.index.Load(), h.inbox.State()
				x.cache.close()
				_ = x.dir.Remove(parseFileName)
				for i := range s.Len() {
					s.setCached(i, -1)
				}
				x.cache = openParseFile(x.dir, s, 0)
				before := processorTime()
				h.inbox.ParseAhead(h.ctx(), s.UIDs(), depth)
				spent += processorTime() - before
			}
			b.ReportMetric(float64(spent)/1000/float64(b.N)/messages, "cpu-µs/message")
		})
	}
}

// processorTime is what the process has used, in nanoseconds.
func processorTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkNotice measures how long a session waits for a delivery's notice, alone and
// while the text index of another mailbox is made.
func BenchmarkNotice(b *testing.B) {
	h := newHarness(b, quiet).open()
	if err := h.user.Create(h.ctx(), "Large", ""); err != nil {
		b.Fatal(err)
	}
	large := h.mailbox("Large")
	defer large.Close()
	text := strings.Repeat("every letter of our house is delivered with care, and number %d also\r\n", 200)
	for i := range 3000 {
		st := h.stage("Subject: x\r\n\r\n" + strings.ReplaceAll(text, "%d", fmt.Sprint(i)))
		if _, err := large.Append(h.ctx(), []Append{{Staged: st}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, indexing := range []bool{false, true, false, true} {
		b.Run(fmt.Sprintf("indexing-%t", indexing), func(b *testing.B) {
			changed, done := listen(h.inbox)
			defer done()
			again := func() {
				q := &h.store.texts
				q.mu.Lock()
				idle := !q.running
				q.mu.Unlock()
				if x := large.index.Load(); idle && indexing {
					for _, seg := range x.texts.open() {
						x.texts.drop(seg)
					}
					large.KeepTexts()
				}
			}
			var took []time.Duration
			for b.Loop() {
				again()
				for len(changed) > 0 {
					<-changed
				}
				start := time.Now()
				h.deliver("Subject: news\r\n\r\ntext\r\n")
				<-changed
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
