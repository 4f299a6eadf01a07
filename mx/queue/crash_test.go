package queue

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// The life of four messages is stopped after every step that changes the disk,
// and the queue opened again: the spool is in a state that docs/queue.md calls
// legal, whoever was acknowledged gets his message or his sender a notice, and
// only an attempt that was under way is repeated.
func TestStopAfterEveryStep(t *testing.T) {
	steps := liveAndDie(t, 0)
	if steps < 100 {
		t.Fatalf("a life has %d steps: the hook does not count", steps)
	}
	for last := int64(1); last <= steps; last++ {
		if ok := t.Run(fmt.Sprintf("%03d", last), func(t *testing.T) { liveAndDie(t, last) }); !ok && testing.Short() {
			return
		}
	}
}

// liveAndDie runs the story up to the step, checks what lies on the disk, lets
// a second queue finish, and checks the outcome. It returns the steps made.
func liveAndDie(t *testing.T, last int64) (steps int64) {
	inBubble(t, func(t *testing.T) {
		dir := memoryDir(t)
		m := &mortal{last: last}
		w := newWorld(t)
		w.dead = m.dead
		w.answer = script
		acknowledged := firstLife(w, m, dir)
		if last > 0 {
			checkLegal(t, dir)
		}
		w.dead = func() bool { return false }
		before := tallies(w)
		q := w.open(shortLife(w, dir), nil)
		if id, ok := acknowledged[3]; ok {
			_ = q.Release(id) // it may be held still, or delivered
		}
		pass(2 * time.Hour)
		q.stop()
		checkOutcome(w, acknowledged, before)
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		steps = m.steps.Load()
	})
	return steps
}

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

// shortLife is a configuration under which the story ends within two hours.
func shortLife(w *world, dir string) Config {
	cfg := w.config(dir)
	cfg.Schedule = Schedule{Retry: []time.Duration{10 * time.Minute, 20 * time.Minute}, WarnAfter: 20 * time.Minute, GiveUpAfter: time.Hour}
	return cfg
}

// firstLife submits the story's messages and runs the queue until it dies, or
// for two hours. It returns the ids of those that were acknowledged.
func firstLife(w *world, m *mortal, dir string) (acknowledged map[int]string) {
	root, err := durable.OpenDir(dir)
	check(w.t, err)
	acknowledged = make(map[int]string)
	q, err := openIn(m.dir(root), shortLife(w, dir))
	if err != nil {
		if !m.dead() {
			w.t.Fatal(err)
		}
		return acknowledged
	}
	q.disk = func() (space, error) { return space{Total: 1 << 40, Free: 1 << 39, Inodes: -1}, nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	for i, to := range story {
		id, err := q.Submit(context.Background(), envelope(to...), stringsReader(text))
		if err != nil && !m.dead() {
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
		if pass(10 * time.Minute); m.dead() {
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
func checkLegal(t *testing.T, dir string) {
	t.Helper()
	places := make(map[string][]string) // id → directories
	for _, f := range files(t, dir) {
		place, id, ok := strings.Cut(f, "/")
		if !ok {
			t.Errorf("%s lies in the spool", f)
		}
		if strings.HasPrefix(id, ".") && place == "state" {
			continue // the next state, being written
		}
		places[id] = append(places[id], place)
	}
	for id, in := range places {
		slices.Sort(in)
		switch strings.Join(in, " ") {
		case "tmp", // being submitted
			"message",                         // queued, never attempted to the end
			"active message",                  // being attempted for the first time
			"message state",                   // deferred, held
			"active message state",            // being attempted again
			"active", "state", "active state": // done: what remains is litter
		default:
			t.Errorf("%s lies in %v", id, in)
		}
		if slices.Contains(in, "message") {
			if _, err := os.Stat(dir + "/message/" + id); err != nil {
				t.Error(err)
			}
			checkWhole(t, dir, id)
		}
	}
}

// checkWhole reads an entry as the queue would.
func checkWhole(t *testing.T, dir, id string) {
	t.Helper()
	root, err := durable.OpenDir(dir)
	check(t, err)
	s, err := openSpool(root, nil)
	check(t, err)
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
