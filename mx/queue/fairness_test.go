package queue

import (
	"fmt"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// Ten thousand messages to a domain that does not answer do not hold up one to
// a domain that does, whether they are new or wait for their next attempt.
func TestDeadDestination(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScheduler(Limits{}.withDefaults(), Schedule{}.withDefaults())
		sim := simulation{t: t, s: s, now: time.Now(), dead: map[string]bool{"dead.test": true}, timeout: 2 * time.Minute}
		for i := range 10_000 {
			sim.add(fmt.Sprintf("d%d", i), "dead.test")
		}
		sim.add("live0", "live.test")
		sim.run(time.Second)
		sim.expectGone("live0")
		if n := len(sim.attempts["dead.test"]); n > firstWindow {
			t.Errorf("%d attempts for a domain that was not reached yet", n)
		}
		sim.run(24 * time.Hour)
		sim.add("live1", "live.test")
		sim.run(time.Second)
		sim.expectGone("live1")
		// One in half an hour, more often in the beginning.
		if n := len(sim.attempts["dead.test"]); n < 24 || n > 80 {
			t.Errorf("%d attempts for the dead domain in a day", n)
		}
		// It comes back: the line moves, slowly at first, never with more than the limit.
		sim.dead["dead.test"] = false
		sim.run(time.Hour)
		if n := len(s.all()); n > 0 {
			t.Errorf("%d messages are still queued an hour after the domain came back", n)
		}
		if sim.most["dead.test"] != 5 {
			t.Errorf("%d attempts at once for one domain", sim.most["dead.test"])
		}
	})
}

// A thousand dead domains whose mail is due again leave room for a message
// that has never been tried.
func TestManyDeadDestinations(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScheduler(Limits{}.withDefaults(), Schedule{}.withDefaults())
		sim := simulation{t: t, s: s, now: time.Now(), dead: make(map[string]bool), timeout: 2 * time.Minute}
		for i := range 1000 {
			domain := fmt.Sprintf("dead%d.test", i)
			sim.dead[domain] = true
			sim.addTried(fmt.Sprintf("d%d", i), domain, 3)
		}
		sim.run(time.Minute)
		sim.add("live", "live.test")
		sim.run(time.Second)
		sim.expectGone("live")
		if sim.mostAll != 16 { // 15 that are repeated, and the live one
			t.Errorf("%d attempts at once", sim.mostAll)
		}
	})
}

// Everybody has his turn: no destination waits for the end of another's line.
func TestTurns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScheduler(Limits{Attempts: 4}.withDefaults(), Schedule{}.withDefaults())
		sim := simulation{t: t, s: s, now: time.Now(), timeout: time.Second}
		for i := range 300 {
			sim.add(fmt.Sprintf("a%d", i), "a.test")
		}
		for i := range 3 {
			sim.add(fmt.Sprintf("b%d", i), "b.test")
			sim.add(fmt.Sprintf("c%d", i), "c.test")
		}
		sim.run(10 * time.Second)
		for i := range 3 {
			sim.expectGone(fmt.Sprintf("b%d", i))
			sim.expectGone(fmt.Sprintf("c%d", i))
		}
		if sim.mostAll != 4 {
			t.Errorf("%d attempts at once", sim.mostAll)
		}
	})
}

// The limits hold in the whole queue too, with files and goroutines.
func TestLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.delay = func(string) time.Duration { return time.Second }
		q := w.open(w.config(dir), nil)
		for i := range 120 {
			w.submit(q.Queue, fmt.Sprintf("u%d@d%d.test", i, i%8))
		}
		pass(time.Minute)
		if w.maxAll != 20 || w.maxDomain > 5 || w.maxDomain < 3 {
			t.Errorf("%d attempts at once, %d for one domain", w.maxAll, w.maxDomain)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// A message to several domains is delivered where it can be, while it waits
// elsewhere, and those who have it are not sent it again.
func TestSplitByDomain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(to smtp.Address, n int) smtp.Result {
			switch {
			case to.Domain == "dead.test" && n < 3:
				return silent()
			case to.Local == "grey" && n < 2:
				return later()
			case to.Local == "gone":
				return refused()
			}
			return ok(to)
		}
		q := w.open(w.config(dir), nil)
		id := w.submit(q.Queue, "luis@dead.test", "eva@live.test", "grey@live.test", "gone@live.test", "max@live.test")
		pass(time.Second)
		m, err := q.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []Status{Waiting, Delivered, Waiting, Bounced, Delivered} {
			if got := m.Recipients[i].Status; got != want {
				t.Errorf("%s is %s, want %s", m.Recipients[i].Address, got, want)
			}
		}
		pass(2 * time.Hour)
		for to, tries := range map[string]int{"luis@dead.test": 4, "eva@live.test": 1, "grey@live.test": 3, "gone@live.test": 1, "max@live.test": 1} {
			if w.triesOf(to) != tries {
				t.Errorf("%d attempts for %s, want %d", w.triesOf(to), to, tries)
			}
		}
		if w.noticesOf("failed", "gone@live.test") != 1 || len(w.notices) != 1 {
			t.Errorf("notices: %q", w.notices)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// A destination that did not answer for hours is probed by one message at a
// time; the others' senders hear of it all the same.
func TestNoticesOfThoseInLine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(smtp.Address, int) smtp.Result { return silent() }
		w.delay = func(string) time.Duration { return time.Minute }
		q := w.open(w.config(dir), nil)
		for i := range 100 {
			w.submit(q.Queue, fmt.Sprintf("u%d@dead.test", i))
		}
		pass(6 * 24 * time.Hour)
		for i := range 100 {
			to := fmt.Sprintf("u%d@dead.test", i)
			if d, f := w.noticesOf("delayed", to), w.noticesOf("failed", to); d != 1 || f != 1 {
				t.Errorf("%s: %d warnings, %d failure notices", to, d, f)
			}
		}
		if n := len(w.times); n > 500 {
			t.Errorf("%d attempts for a dead domain in 5 days", n)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}

// simulation drives a scheduler without a disk: attempts take no time where the
// destination lives, and the timeout where it is dead.
type simulation struct {
	t        *testing.T
	s        *scheduler
	now      time.Time
	dead     map[string]bool
	timeout  time.Duration
	flying   []flight
	attempts map[string][]time.Time
	most     map[string]int
	mostAll  int
}

type flight struct {
	j    *job
	ends time.Time
}

func (m *simulation) add(id, domain string) { m.addTried(id, domain, 0) }

func (m *simulation) addTried(id, domain string, attempts int) {
	h := head{Queued: m.now, Envelope: envelope("x@" + domain)}
	st := newState(h)
	st.Recipients[0].Attempts = attempts
	m.s.add(newEntry(id, h.Queued), st, m.now)
}

func (m *simulation) expectGone(id string) {
	m.t.Helper()
	if m.s.has(id) {
		m.t.Errorf("%s is still queued", id)
	}
}

// run lets time pass.
func (m *simulation) run(d time.Duration) {
	if m.attempts == nil {
		m.attempts, m.most = make(map[string][]time.Time), make(map[string]int)
	}
	end := m.now.Add(d)
	for {
		next, ok := m.s.ring(m.now)
		for j := m.s.take(); j != nil; j = m.s.take() {
			m.begin(j)
		}
		if !ok {
			next = end
		}
		for _, f := range m.flying {
			next = earlier(next, f.ends)
		}
		if !m.now.Before(end) || next.After(end) {
			m.now = end
			return
		}
		m.now = earlier(next, end)
		m.land()
	}
}

func (m *simulation) begin(j *job) {
	domain := j.dest.domain
	f := flight{j, m.now.Add(10 * time.Millisecond)}
	if m.dead[domain] {
		f.ends = m.now.Add(m.timeout)
	}
	m.attempts[domain] = append(m.attempts[domain], m.now)
	m.flying = append(m.flying, f)
	n := 0
	for _, f := range m.flying {
		if f.j.dest.domain == domain {
			n++
		}
	}
	m.most[domain], m.mostAll = max(m.most[domain], n), max(m.mostAll, len(m.flying))
}

func (m *simulation) land() {
	var still []flight
	for _, f := range m.flying {
		switch {
		case f.ends.After(m.now):
			still = append(still, f)
		case m.dead[f.j.dest.domain]:
			late := m.s.unreached(f.j.dest, m.now)
			for _, j := range append(late, f.j) {
				end := ended{next: m.s.schedule.next(j.attempts+1, m.now, time.Time{}), attempts: j.attempts + 1, deadline: m.now.Add(100 * time.Hour)}
				if j == f.j {
					m.s.done(j, end, m.now)
				} else {
					m.s.finished(j, end, m.now)
				}
			}
		default:
			m.s.reached(f.j.dest)
			m.s.remove(f.j.entry)
			m.s.done(f.j, ended{}, m.now)
		}
	}
	m.flying = still
}
