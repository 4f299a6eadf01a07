package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
	bare, smtp := bareDelivery(t, text), o.delivery(t, text)
	perSecond(t, 1, during/deliverySlices, smtp) // who has sent mail is greeted sooner
	fmt.Printf("delivery of %d bytes, per second; load average %s\n", len(text), loadAverage())
	for _, connections := range []int{1, 20} {
		var ratios, costs []float64
		for round := range deliveryRounds {
			var mine, theirs float64
			for slice := range deliverySlices { // in turns, ABBA: what else the machine does meets both
				var b, s, cost float64
				measure := []func(){
					func() { b, _ = perSecond(t, connections, during/deliverySlices, bare) },
					func() { s, cost = perSecond(t, connections, during/deliverySlices, smtp, o.pids()...) },
				}
				if slice%2 == 1 {
					slices.Reverse(measure)
				}
				for _, one := range measure {
					one()
				}
				theirs, mine = theirs+b/deliverySlices, mine+s/deliverySlices
				ratios, costs = append(ratios, s/b), append(costs, cost)
			}
			fmt.Printf("%2d connections, round %d: buzon %6.0f, bare program %6.0f, %3.0f %%\n", connections, round+1, mine, theirs, 100*mine/theirs)
		}
		slices.Sort(ratios)
		slices.Sort(costs)
		median := ratios[len(ratios)/2]
		fmt.Printf("%2d connections, median of %d pairs: %3.0f %% (%.0f to %.0f in the middle half), wanted 60 %%; %.0f us of the server's processor time for each message; load average %s\n",
			connections, len(ratios), 100*median, 100*ratios[len(ratios)/4], 100*ratios[len(ratios)*3/4], costs[len(costs)/2], loadAverage())
		if median < 0.6 {
			t.Errorf("%d connections: %.0f %% of the bare program", connections, 100*median)
		}
	}
}

const (
	deliveryRounds = 5
	deliverySlices = 7 // odd, as the rounds are, for the sake of the median
)

// A benchWorker prepares itself, and returns what it does again and again, and what
// ends it.
type benchWorker func(i int) (once func() error, end func())

// perSecond runs workers for a while and says how often they did it, together, and
// how many microseconds of processor time each time cost the processes.
func perSecond(t *testing.T, workers int, during time.Duration, worker benchWorker, pids ...int) (rate, cost float64) {
	t.Helper()
	all := make([]func() error, workers)
	for i := range all {
		var end func()
		all[i], end = worker(i)
		defer end()
	}
	var done atomic.Int64
	var failed atomic.Bool
	var running sync.WaitGroup
	used := totalTime(pids)
	start := time.Now()
	for _, once := range all {
		running.Go(func() {
			for time.Since(start) < during {
				if err := once(); err != nil {
					t.Error(err)
					failed.Store(true)
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	took := time.Since(start)
	n := float64(done.Load())
	if failed.Load() || n == 0 {
		t.FailNow()
	}
	return n / took.Seconds(), float64((totalTime(pids) - used).Microseconds()) / n
}

// totalTime is what processes have used together.
func totalTime(pids []int) (total time.Duration) {
	for _, used := range processorTime(pids) {
		total += used
	}
	return total
}

// bareDelivery makes files, all of them in one directory, as ours are.
func bareDelivery(t *testing.T, text string) benchWorker {
	dir := t.TempDir()
	for _, d := range []string{"tmp", "new"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var serial atomic.Int64
	return func(int) (func() error, func()) {
		into, err := os.Open(filepath.Join(dir, "new"))
		if err != nil {
			t.Fatal(err)
		}
		return func() error {
			name := fmt.Sprintf("%d.bare", serial.Add(1))
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
			return err
		}, func() { into.Close() }
	}
}

// delivery sends messages over one connection for each worker, with the commands up
// to DATA at once as mail hosts do (PIPELINING, RFC 2920). It does no more than it
// must: its time is taken from the server's.
func (o *ours) delivery(t *testing.T, text string) benchWorker {
	return func(int) (func() error, func()) {
		conn, err := net.Dial("tcp", o.Addr("smtp"))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		hears := func(codes ...string) error {
			for len(codes) > 0 {
				reply, err := r.ReadSlice('\n')
				switch {
				case err != nil:
					return err
				case len(reply) < 4 || string(reply[:3]) != codes[0]:
					return fmt.Errorf("%q instead of %s", reply, codes[0])
				case reply[3] == ' ':
					codes = codes[1:]
				}
			}
			return nil
		}
		says := func(text string, codes ...string) error {
			if _, err := conn.Write([]byte(text)); err != nil {
				return err
			}
			return hears(codes...)
		}
		if err = hears("220"); err == nil {
			err = says("EHLO bench.far.test\r\n", "250")
		}
		if err != nil {
			t.Fatal(err)
		}
		envelope := "MAIL FROM:<eva@far.test>\r\nRCPT TO:<" + benchAccount + ">\r\nDATA\r\n"
		return func() error {
			if err := says(envelope, "250", "250", "354"); err != nil {
				return err
			}
			return says(text+".\r\n", "250")
		}, func() { conn.Close() }
	}
}
