package queue

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/durable"
	"buzon/internal/durable/crashfs"
	"buzon/internal/smtp"
)

// The life of four messages is stopped after every step that changes the disk,
// by the death of the process and by the end of the power, and the queue opened
// again: the spool is in a state that docs/queue.md calls legal, whoever was
// acknowledged gets his message or his sender a notice, and only an attempt that
// was under way is repeated.
func TestStopAfterEveryStep(t *testing.T) {
	for _, how := range []struct {
		name  string
		mode  crashfs.Mode
		seeds uint64
	}{{"kill", crashfs.Everything, 1}, {"nothing", crashfs.Nothing, 1}, {"ordered", crashfs.Ordered, 1}, {"random", crashfs.Random, 3}} {
		t.Run(how.name, func(t *testing.T) {
			steps := liveAndDie(t, -1, how.mode, 0)
			if steps < 100 {
				t.Fatalf("a life has %d steps: they are not counted", steps)
			}
			for seed := range how.seeds {
				for last := range steps {
					t.Run(fmt.Sprintf("%03d-%d", last, seed), func(t *testing.T) { liveAndDie(t, last, how.mode, seed) })
				}
			}
		})
	}
}

// liveAndDie runs the story up to the step, checks what is left on the disk,
// lets a second queue finish, and checks the outcome. It returns the steps made.
func liveAndDie(t *testing.T, last int, how crashfs.Mode, seed uint64) (steps int) {
	inBubble(t, func(t *testing.T) {
		disk := crashfs.New(time.Now())
		if last >= 0 {
			disk.CutAfter(last)
		}
		w := newWorld(t)
		w.dead = disk.Dead
		w.answer = script
		acknowledged := firstLife(w, disk)
		steps = disk.Ops()
		if last >= 0 {
			disk = disk.Restart(how, rand.New(rand.NewPCG(seed, uint64(last))))
			checkLegal(t, disk)
		}
		w.dead = disk.Dead
		before := tallies(w)
		q := w.open(shortLife(w), disk.Root())
		if id, ok := acknowledged[3]; ok {
			_ = q.Release(id) // it may be held still, or delivered
		}
		pass(2 * time.Hour)
		q.stop()
		checkOutcome(w, acknowledged, before)
		if left := slices.DeleteFunc(disk.Tree(), isSegment); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		if left := journalled(t, disk); len(left) > 0 {
			t.Errorf("left in the journal: %v", left)
		}
	})
	return steps
}

// shortLife is a configuration under which the story ends within two hours.
func shortLife(w *world) Config {
	cfg := w.config("")
	cfg.Limits.Segment = crashSegment
	cfg.Schedule = Schedule{Retry: []time.Duration{10 * time.Minute, 20 * time.Minute}, WarnAfter: 20 * time.Minute, GiveUpAfter: time.Hour}
	return cfg
}

// crashSegment is a file of the journal that has room for a few messages, so that
// others are begun and used again.
const crashSegment = 8 << 10

// script is what the hosts say: one takes at once, one refuses, one takes at
// the third attempt, one never answers.
func script(to smtp.Address, n int) smtp.Result {
	switch {
	case to.Local == "refused":
		return refused()
	case to.Local == "grey" && n < 2, to.Local == "held" && n < 1:
		return later()
	case to.Domain == "dead.test":
		return silent()
	}
	return ok(to)
}

// story is who gets the messages.
var story = [][]string{
	{"plain@live.test"},
	{"both@live.test", "refused@live.test", "grey@live.test", "also@other.test"},
	{"lost@dead.test", "split@live.test"},
	{"held@live.test"},
}

// firstLife submits the story's messages and runs the queue until it dies, or
// for two hours. It returns the ids of those that were acknowledged.
func firstLife(w *world, disk *crashfs.FS) (acknowledged map[int]string) {
	acknowledged = make(map[int]string)
	q, err := openIn(disk.Root(), shortLife(w))
	if err != nil {
		if !disk.Dead() {
			w.t.Fatal(err)
		}
		return acknowledged
	}
	q.disk = func() (durable.Space, error) { return durable.Space{Total: 1 << 40, Free: 1 << 39, Inodes: -1}, nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	for i, to := range story {
		id, err := q.Submit(context.Background(), envelope(to...), stringsReader(text))
		if err != nil && !disk.Dead() {
			w.t.Fatal(err)
		}
		if err == nil {
			acknowledged[i] = id
		}
		pass(time.Second)
	}
	held := acknowledged[3]
	_ = q.Hold(held)
	for n := range 12 {
		if pass(10 * time.Minute); disk.Dead() {
			break
		}
		if n == 3 {
			_ = q.Release(held)
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
	_ = q.Close()
	synctest.Wait()
	return acknowledged
}

// tally is what has reached somebody.
type tally struct{ copies, failed, delayed int }

func (w *world) tallyOf(to string) tally {
	return tally{w.copiesOf(to), w.noticesOf(actionFailed, to), w.noticesOf(actionDelayed, to)}
}

func tallies(w *world) map[string]tally {
	out := make(map[string]tally)
	for _, to := range slices.Concat(story...) {
		out[to] = w.tallyOf(to)
	}
	return out
}

// checkOutcome compares what has reached everybody with what was promised, and
// with how it stood when the first life ended.
func checkOutcome(w *world, acknowledged map[int]string, before map[string]tally) {
	w.t.Helper()
	twice := 0
	for i, to := range story {
		for _, r := range to {
			got, was := w.tallyOf(r), before[r]
			fails := strings.HasPrefix(r, "refused") || strings.HasPrefix(r, "lost")
			if _, promised := acknowledged[i]; promised && (fails && got.failed == 0 || !fails && got.copies == 0) {
				w.t.Errorf("%s was acknowledged: %+v", r, got)
			}
			if fails && got.copies > 0 || !fails && got.failed > 0 {
				w.t.Errorf("%s: %+v", r, got)
			}
			for _, n := range [][2]int{{got.copies, was.copies}, {got.failed, was.failed}, {got.delayed, was.delayed}} {
				twice += max(0, n[0]-1)
				// What comes twice has come once before the stop.
				if n[0] > 1 && (n[0] > 2 || n[1] != 1) {
					w.t.Errorf("%s: %+v before the stop, %+v in the end", r, was, got)
				}
			}
		}
	}
	// Only what was under way is repeated: one attempt, for two recipients here.
	if twice > 2 {
		w.t.Errorf("%d duplicates", twice)
	}
}

// checkLegal compares the spool on disk with the table of legal states in
// docs/queue.md.
func checkLegal(t *testing.T, disk *crashfs.FS) {
	t.Helper()
	places := make(map[string][]string) // id → directories
	for _, id := range journalled(t, disk) {
		places[id] = append(places[id], "journal")
	}
	for _, f := range slices.DeleteFunc(disk.Tree(), isSegment) {
		place, id, ok := strings.Cut(strings.TrimPrefix(f, "/"), "/")
		if !ok {
			t.Errorf("%s lies in the spool", f)
		}
		if strings.HasPrefix(id, ".") && place == "state" {
			continue // the next state, being written
		}
		places[id] = append(places[id], place)
	}
	for id, in := range places {
		in = slices.DeleteFunc(in, func(place string) bool { return place == "tmp" }) // alone, or beside message/
		slices.Sort(in)
		switch strings.Join(in, " ") {
		case "", // being submitted
			"journal",                                                     // queued, or being attempted for the first time
			"active journal", "journal message", "active journal message", // on its way from there to message/
			"message",                         // queued, never attempted to the end
			"active message",                  // being attempted for the first time
			"message state",                   // deferred, held
			"active message state",            // being attempted again
			"active", "state", "active state": // done: what remains is litter
		default:
			t.Errorf("%s lies in %v", id, in)
		}
		if slices.Contains(in, "message") || slices.Contains(in, "journal") {
			checkWhole(t, disk, id)
		}
	}
}

// checkWhole reads an entry as the queue would.
func checkWhole(t *testing.T, disk *crashfs.FS, id string) {
	t.Helper()
	s := opened(t, disk)
	defer s.close()
	l, err := s.open(id)
	if err != nil {
		t.Errorf("message %s: %v", id, err)
		return
	}
	defer l.Close()
	if _, err := s.readState(id, l.head); err != nil {
		t.Errorf("state %s: %v", id, err)
	}
}

// opened opens the spool for reading, its journal included.
func opened(t *testing.T, disk *crashfs.FS) *spool {
	t.Helper()
	s, err := openSpool(disk.Root(), crashSegment, nil)
	check(t, err)
	names, err := s.names(s.records, func(string) bool { return true })
	check(t, err)
	check(t, s.journal.load(names,
		func(text []byte) error { t.Errorf("gap in the journal: %q", text); return nil },
		func(name string, why error) { t.Errorf("file %s of the journal: %v", name, why) }))
	return s
}

// journalled returns the entries of the journal.
func journalled(t *testing.T, disk *crashfs.FS) []string {
	t.Helper()
	s := opened(t, disk)
	defer s.close()
	return slices.Sorted(maps.Keys(s.journal.records))
}
