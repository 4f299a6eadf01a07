package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// benchText is a message of 4 KiB.
var benchText = "From: <ana@a.test>\r\nTo: <eva@far.test>\r\nSubject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 50)

// contest measures two servers in turns.
type contest struct {
	messages     int // that each is sent with each number of connections
	ours, theirs contestant
	send         func(*smtp.Client, *contestant) error // one message
	arrived      func(*contestant) int64               // messages so far
}

// contestant is a server that is measured.
type contestant struct {
	name string
	pids []int // of its processes, and of all below them
	to   string
	dial func() (*smtp.Client, error)
}

// contestRounds are the turns: the first one warms up, and of the others the median
// counts, for the machine does other things too.
const contestRounds = 8

func (c contest) run(t *testing.T) {
	t.Helper()
	fmt.Printf("load average %s\n%-8s %11s %11s %11s %13s\n", loadAverage(), "", "connections", "accepted/s", "delivered/s", "cpu a message")
	for _, connections := range []int{1, 20} {
		var results [2][]turn
		for round := range contestRounds {
			for i, server := range []*contestant{&c.ours, &c.theirs} {
				r := c.turn(t, server, connections, max(connections, c.messages/(contestRounds-1)))
				if round > 0 {
					results[i] = append(results[i], r)
				}
			}
		}
		var ratios []float64
		for round := range results[0] {
			ratios = append(ratios, results[0][round].delivered/results[1][round].delivered)
		}
		for i, server := range []*contestant{&c.ours, &c.theirs} {
			fmt.Printf("%-8s %11d %11.0f %11.0f %13s\n", server.name, connections, medianOf(results[i], func(r turn) float64 { return r.accepted }),
				medianOf(results[i], func(r turn) float64 { return r.delivered }),
				time.Duration(medianOf(results[i], func(r turn) float64 { return float64(r.cpu) })).Round(10*time.Microsecond))
		}
		slices.Sort(ratios)
		fmt.Printf("%-8s %11d %23.2fx (%.2f to %.2f)\n", "ratio", connections, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	fmt.Printf("load average %s\n", loadAverage())
}

// turn is what one server has done in one turn.
type turn struct {
	accepted, delivered float64       // a second
	cpu                 time.Duration // of the server, for each message
}

func medianOf(turns []turn, of func(turn) float64) float64 {
	var all []float64
	for _, r := range turns {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// turn sends messages over so many connections and waits until they have arrived.
func (c contest) turn(t *testing.T, server *contestant, connections, messages int) (r turn) {
	t.Helper()
	clients := make([]*smtp.Client, connections)
	for i := range clients {
		var err error
		if clients[i], err = server.dial(); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	before, used := c.arrived(server), treeTime(server.pids)
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(messages))
	var work sync.WaitGroup
	for _, client := range clients {
		work.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.send(client, server); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	r.accepted = float64(messages) / time.Since(began).Seconds()
	eventually(t, 10*patience, func() error {
		if n := c.arrived(server) - before; n < int64(messages) {
			return fmt.Errorf("%d of %d messages have arrived at %s", n, messages, server.name)
		}
		return nil
	})
	r.delivered = float64(messages) / time.Since(began).Seconds()
	r.cpu = (treeTime(server.pids) - used) / time.Duration(messages)
	return r
}

// treeTime is the processor time that processes and those below them have used, the
// ended ones included.
func treeTime(pids []int) (total time.Duration) {
	children := make(map[int][]int)
	used := make(map[int]time.Duration)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		head, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		id, err := strconv.Atoi(strings.Fields(head + " -")[0])
		if err != nil || len(f) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], id)
		for _, ticks := range f[11:15] {
			n, _ := strconv.Atoi(ticks)
			used[id] += time.Duration(n) * 10 * time.Millisecond
		}
	}
	for below := slices.Clone(pids); len(below) > 0; below = below[1:] {
		total += used[below[0]]
		below = append(below, children[below[0]]...)
	}
	return total
}
