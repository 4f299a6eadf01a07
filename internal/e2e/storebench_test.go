package e2e_test

import (
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// TestStoreBench prints what a large folder costs, ours beside Dovecot's on equal
// trees, one after the other. `make bench-store` runs it. Its floors are those of
// a folder of a million messages.
func TestStoreBench(t *testing.T) {
	messages := fromEnv(t, "BUZON_BENCH_MESSAGES", 0)
	if messages == 0 {
		t.Skip("make bench-store runs it")
	}
	t.Setenv("GODEBUG", "gctrace=1")
	o := newOurs(t)
	mine := measureStore(t, o, messages)
	mine.heap = liveHeap(o.log.String())
	o.stop(t)
	os.RemoveAll(o.maildir())
	theirs := measureStore(t, newDovecot(t), messages)
	fmt.Printf("%d messages                            buzon      dovecot\n", messages)
	for i, row := range mine.rows {
		other := theirs.rows[i]
		fmt.Printf("%-36s %12s %12s\n", row.what, row.took, other.took)
		if row.took > other.took+time.Millisecond {
			t.Errorf("%s: slower than Dovecot", row.what)
		}
		if row.floor > 0 && row.took > row.floor {
			t.Errorf("%s: %v is above the floor of %v", row.what, row.took, row.floor)
		}
	}
	fmt.Printf("%-36s %12d %12d\n", "getdents of cur/ in an unchanged open", mine.getdents, theirs.getdents)
	fmt.Printf("%-36s %9d MB %9d MB\n", "resident, peak", mine.peak>>20, theirs.peak>>20)
	fmt.Printf("%-36s %9d MB\n", "Go heap in use, highest", mine.heap)
	if mine.getdents > 0 {
		t.Errorf("an unchanged folder is scanned: %d getdents", mine.getdents)
	}
	if mine.heap > 50 {
		t.Errorf("heap of %d MB", mine.heap)
	}
}

type storeRow struct {
	what        string
	took, floor time.Duration
}

type storeFigures struct {
	rows     []storeRow
	getdents int
	peak     int64
	heap     int // MB
}

func (f *storeFigures) add(what string, took, floor time.Duration) {
	f.rows = append(f.rows, storeRow{what, took.Round(10 * time.Microsecond), floor})
}

func measureStore(t *testing.T, p peer, messages int) *storeFigures {
	f := &storeFigures{}
	fillMaildir(t, p.maildir(), messages)
	if d, ok := p.(*dovecot); ok {
		d.own(t)
	}
	child.Command(t, 10*time.Minute, "sync").Run()
	cur := filepath.Join(p.maildir(), "cur")
	p.restart(t)
	s := p.session(t)
	f.add("first scan", s.timed("SELECT INBOX"), 5*time.Second)
	s.end()
	time.Sleep(2 * time.Second) // Dovecot trusts a directory that has been at rest

	f.add("open, unchanged", best(3, func() time.Duration {
		s := p.session(t)
		defer s.end()
		return s.timed("SELECT INBOX")
	}), 20*time.Millisecond)
	p.restart(t)
	s = p.session(t)
	f.add("open, unchanged, server restarted", s.timed("SELECT INBOX"), 0)
	s.end()
	p.restart(t)
	s = p.session(t)
	f.getdents = traceGetdents(t, p, cur, func() { s.do("SELECT INBOX") })
	f.add("NOOP", best(20, func() time.Duration { return s.timed("NOOP") }), time.Millisecond)

	name := someFile(t, cur)
	rename(t, cur, name, toggledName(name))
	f.add("NOOP after an outside change", s.timed("NOOP"), 0)
	f.add("SEARCH UNSEEN", s.timed("SEARCH UNSEEN"), 0)
	f.add("FETCH 1:* (FLAGS)", s.timed("FETCH 1:* (FLAGS)"), 0)
	s.end()

	p.restart(t)
	if o, ok := p.(*ours); ok {
		o.stop(t)
	}
	name = someFile(t, cur)
	rename(t, cur, name, toggledName(name))
	if o, ok := p.(*ours); ok {
		o.start(t)
	}
	s = p.session(t)
	f.add("open after an outside change", s.timed("SELECT INBOX"), 0)

	// Others flag a thousand files under an open session, which reads the last of them.
	uid := 0
	entries, err := os.ReadDir(cur)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries[:min(1000, len(entries))] {
		rename(t, cur, e.Name(), toggledName(e.Name()))
		_, after, _ := strings.Cut(e.Name(), "P77Q")
		n, _, _ := strings.Cut(after, ".")
		uid, _ = strconv.Atoi(n)
	}
	f.add("BODY[] after 1000 outside flags", s.timed("UID FETCH %d BODY.PEEK[]", uid+1), 0)

	other := p.session(t)
	other.do("SELECT INBOX")
	var worst time.Duration
	quit := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				worst = max(worst, other.timed("UID SEARCH UID 7"))
			}
		}
	})
	time.Sleep(50 * time.Millisecond)
	f.add("STORE of 50 000 messages", s.timed("UID STORE 1:%d +FLAGS.SILENT (\\Answered)", min(50_000, messages)), 0)
	f.peak = peakMemory(p.pids())
	close(quit)
	asking.Wait()
	f.add("another session meanwhile, longest", worst, 200*time.Millisecond)
	other.end()
	f.add("NOOP after the own STORE", s.timed("NOOP"), 0)
	s.end()
	return f
}

func best(n int, measure func() time.Duration) time.Duration {
	var all []time.Duration
	for range n {
		all = append(all, measure())
	}
	return slices.Min(all)
}

func someFile(t *testing.T, dir string) string {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	if err != nil {
		t.Fatal(err)
	}
	return names[0]
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func toggledName(name string) string {
	base, letters, _ := strings.Cut(name, ":2,")
	if strings.Contains(letters, "F") {
		return base + ":2," + strings.Replace(letters, "F", "", 1)
	}
	return base + ":2,F" + letters // before R and S
}

// traceGetdents counts how often the server reads dir while do runs.
func traceGetdents(t *testing.T, p peer, dir string, do func()) int {
	t.Helper()
	need(t, "strace")
	out := filepath.Join(t.TempDir(), "trace")
	args := []string{"-f", "-qq", "-y", "-e", "trace=getdents64", "-o", out}
	for _, pid := range p.pids() {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	cmd := child.Command(t, 10*time.Minute, "strace", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // strace says nothing when it is ready
	do()
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), dir+">")
}

func peakMemory(pids []int) (total int64) {
	for _, pid := range pids {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); m != nil {
			kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
			total += kb << 10
		}
	}
	return total
}

// liveHeap is the highest heap in use after a collection, in MB, of a program
// that ran with GODEBUG=gctrace=1.
func liveHeap(log string) (highest int) {
	for _, m := range regexp.MustCompile(`\d+->\d+->(\d+) MB`).FindAllStringSubmatch(log, -1) {
		n, _ := strconv.Atoi(m[1])
		highest = max(highest, n)
	}
	return highest
}

// TestDeliveryBench compares deliveries over SMTP with a bare program that only
// does what any safe delivery must: create, write, fsync, rename, fsync of the
// directory. `make bench-store` runs it.
func TestDeliveryBench(t *testing.T) {
	during := time.Duration(fromEnv(t, "BUZON_BENCH_SECONDS", 0)) * time.Second
	if during == 0 {
		t.Skip("make bench-store runs it")
	}
	o := newOurs(t)
	o.start(t)
	o.session(t).end() // makes the folders
	text := "Subject: bench\r\n\r\n" + strings.Repeat("a line of text that is not very long\r\n", 80)
	fmt.Printf("delivery of %d bytes, per second; load average %s\n", len(text), loadAverage())
	for _, connections := range []int{1, 20} {
		var ratios []float64
		for round := range deliveryRounds {
			var bare, smtp float64
			for range deliverySlices { // in turns: what else the machine does meets both
				bare += perSecond(connections, during/deliverySlices, bareDeliveries(t, text)) / deliverySlices
				smtp += perSecond(connections, during/deliverySlices, o.deliveries(t, text)) / deliverySlices
			}
			ratios = append(ratios, smtp/bare)
			fmt.Printf("%2d connections, round %d: buzon %6.0f, bare program %6.0f, %3.0f %%\n", connections, round+1, smtp, bare, 100*smtp/bare)
		}
		slices.Sort(ratios)
		median := ratios[len(ratios)/2]
		fmt.Printf("%2d connections, median:  %3.0f %%, wanted 60 %%; load average %s\n", connections, 100*median, loadAverage())
		if median < 0.6 {
			t.Errorf("%d connections: %.0f %% of the bare program", connections, 100*median)
		}
	}
}

const (
	deliveryRounds = 5 // odd, for the sake of the median
	deliverySlices = 3
)

// perSecond runs workers for a while and says how often they did it, together.
func perSecond(workers int, during time.Duration, worker func(i int, more func() bool)) float64 {
	var done atomic.Int64
	deadline := time.Now().Add(during)
	var all sync.WaitGroup
	start := time.Now()
	for i := range workers {
		all.Go(func() {
			worker(i, func() bool {
				if time.Now().After(deadline) {
					return false
				}
				done.Add(1)
				return true
			})
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

func bareDeliveries(t *testing.T, text string) func(int, func() bool) {
	dir := t.TempDir()
	for _, d := range []string{"tmp", "new"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return func(i int, more func() bool) {
		into, err := os.Open(filepath.Join(dir, "new"))
		if err != nil {
			t.Error(err)
			return
		}
		defer into.Close()
		for n := 0; more(); n++ {
			name := fmt.Sprintf("%d.%d", i, n)
			f, err := os.OpenFile(filepath.Join(dir, "tmp", name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = f.WriteString(text)
			}
			if err == nil {
				err = f.Sync()
			}
			if err == nil {
				err = f.Close()
			}
			if err == nil {
				err = os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name))
			}
			if err == nil {
				err = into.Sync()
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// deliveries sends messages over one connection for each worker.
func (o *ours) deliveries(t *testing.T, text string) func(int, func() bool) {
	return func(_ int, more func() bool) {
		c, err := textproto.Dial("tcp", o.Addr("smtp"))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		say := func(code int, format string, args ...any) {
			if format != "" {
				if err := c.PrintfLine(format, args...); err != nil {
					t.Error(err)
				}
			}
			if _, _, err := c.ReadResponse(code); err != nil {
				t.Error(err)
			}
		}
		say(220, "")
		say(250, "EHLO bench.far.test")
		for more() && !t.Failed() {
			say(250, "MAIL FROM:<eva@far.test>")
			say(250, "RCPT TO:<%s>", benchAccount)
			say(354, "DATA")
			say(250, "%s.", text)
		}
	}
}
