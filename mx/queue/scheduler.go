package queue

import (
	"sync"
	"time"

	"buzon/internal/smtp"
)

// The scheduler decides what is attempted next. It knows no disk and starts
// nothing; time is told to it.
//
// A message is cut into jobs, one for each destination (domain). A job waits on
// an alarm for its time, then in its destination's line, and is taken from there
// when its turn comes:
//
//	timed ──alarm──▶ ready ──take──▶ running ──done──▶ timed, or gone
//	                                           idle: held
//
// Turns go around the destinations, not the messages, so ten thousand messages
// to one host do not stand before one message to another. There are two circles,
// one of first attempts and one of repeated ones, that take turns; repeated ones
// never fill all slots, for most of them meet dead hosts and wait for time-outs.
// A destination begins with two attempts at once and earns more by being
// reachable. One that was not reached cools down: its line stands still, then
// one attempt tells for all whether it is back.

// firstWindow is how many attempts a destination gets before it was reached.
const firstWindow = 2

type scheduler struct {
	limits   Limits
	schedule Schedule

	mu           sync.Mutex
	entries      map[string]*entry
	destinations map[string]*destination
	alarms       alarms
	circle       [circles][]*destination
	running      [circles]int
	turn         int
	late         []*job // whose senders are to be told, running; takeLate's
}

func newScheduler(limits Limits, schedule Schedule) *scheduler {
	return &scheduler{
		limits: limits, schedule: schedule,
		entries: make(map[string]*entry), destinations: make(map[string]*destination),
	}
}

func (s *scheduler) has(id string) bool { return s.find(id) != nil }

// find returns the entry, or nil.
func (s *scheduler) find(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[id]
}

// size returns the number of entries.
func (s *scheduler) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// all returns the entries that are known now, in no order.
func (s *scheduler) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	return out
}

// add takes an entry in, with a job for every destination that st has
// recipients waiting for.
func (s *scheduler) add(e *entry, st *state, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[e.id] = e
	e.held = st.Held
	if e.limit(st.By); e.by != nil {
		s.alarms.set(&e.by.alarm)
	}
	if e.queued.Before(clockFloor) {
		e.queued = stamp(now)
	}
	for i := range st.Recipients {
		r := &st.Recipients[i]
		if r.Status != Waiting {
			continue
		}
		j := e.job(r.Address.Domain)
		if j == nil {
			d := s.destination(r.Address.Domain)
			d.jobs++
			j = &job{entry: e, dest: d, alarm: alarm{at: r.Next, index: -1}, attempts: r.Attempts}
			j.alarm.job = j
			e.jobs = append(e.jobs, j)
		}
		j.alarm.at = earlier(j.alarm.at, r.Next)
		j.attempts = max(j.attempts, r.Attempts)
		j.deadline = earlier(j.deadline, s.deadline(e, r))
	}
	if e.held {
		return
	}
	for _, j := range e.jobs {
		s.wait(j, now)
	}
}

// limit sets the time of an entry that has one, before it is added.
func (e *entry) limit(by smtp.DeliverBy) {
	if by.IsZero() {
		return
	}
	e.by = &deadline{DeliverBy: by}
	e.by.alarm = alarm{at: by.At, index: -1, entry: e}
}

// clockSet is told when a clock that had not been set is set. Ages that were
// counted from the old time begin anew.
func (s *scheduler) clockSet(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.queued.Before(clockFloor) {
			e.queued = stamp(now)
			for _, j := range e.jobs {
				j.deadline = now.Add(s.schedule.lifetime(e.notice))
			}
		}
	}
}

// queuedAt is when the entry's age began.
func (s *scheduler) queuedAt(e *entry) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.queued
}

// deadlineOf is deadline for those who do not hold the mutex.
func (s *scheduler) deadlineOf(e *entry, r *recipient) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline(e, r)
}

// deadline is when somebody has to be told of the recipient.
func (s *scheduler) deadline(e *entry, r *recipient) time.Time {
	giveUp, warn := e.queued.Add(s.schedule.lifetime(e.notice)), e.queued.Add(s.schedule.WarnAfter)
	switch {
	case e.by == nil:
	case e.by.Return:
		giveUp = earlier(giveUp, e.by.At)
	default:
		warn = e.by.At
	}
	if e.notice || r.Warned {
		return giveUp
	}
	return earlier(warn, giveUp)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// destination returns the destination, made where it is not known. Its jobs
// must be counted by the caller.
func (s *scheduler) destination(domain string) *destination {
	d := s.destinations[domain]
	if d == nil {
		d = &destination{domain: domain, window: min(firstWindow, s.limits.PerDestination), alarm: alarm{index: -1}}
		d.alarm.dest = d
		s.destinations[domain] = d
	}
	return d
}

// wait puts an idle job on its alarm, or in line when its time has come.
func (s *scheduler) wait(j *job, now time.Time) {
	if j.alarm.at.After(now) {
		j.phase = timed
		s.alarms.set(&j.alarm)
		return
	}
	j.phase, j.circle = ready, retry
	if j.attempts == 0 && j.tries == 0 && !j.entry.backlog {
		j.circle = fresh
	}
	j.place = j.dest.lines[j.circle].PushBack(j)
	s.offer(j.dest)
}

// rest takes a job from its alarm or line and makes it idle.
func (s *scheduler) rest(j *job) {
	switch j.phase {
	case timed:
		s.alarms.stop(&j.alarm)
	case ready:
		j.dest.lines[j.circle].Remove(j.place)
		j.place = nil
	}
	j.phase = idle
}

// offer lets the destination stand in the circles that it has something for.
func (s *scheduler) offer(d *destination) {
	if d.cooling || d.running >= d.window {
		return
	}
	for c := range circles {
		if d.lines[c].Len() > 0 && !d.offered[c] {
			d.offered[c] = true
			s.circle[c] = append(s.circle[c], d)
		}
	}
}

// ring moves everything whose time has come into line, and returns when there
// will be something more.
func (s *scheduler) ring(now time.Time) (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		a := s.alarms.first()
		if a == nil {
			return time.Time{}, false
		}
		if a.at.After(now) {
			return a.at, true
		}
		s.alarms.stop(a)
		if a.job != nil {
			s.wait(a.job, now)
			continue
		}
		if a.entry != nil {
			s.runOut(a.entry)
			continue
		}
		a.dest.cooling = false
		s.offer(a.dest)
		s.forget(a.dest)
	}
}

// runOut collects the jobs of an entry whose time has come. Attempts that are
// under way see for themselves, and so does what is held, when it is released.
func (s *scheduler) runOut(e *entry) {
	for _, j := range e.jobs {
		if j.phase == timed || j.phase == ready {
			s.rest(j)
			j.phase = running
			s.late = append(s.late, j)
		}
	}
}

// takeLate returns the jobs whose time has come, running; finished gives them
// back.
func (s *scheduler) takeLate() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := s.late
	s.late = nil
	return late
}

// take returns the job whose turn it is, now running, or nil.
func (s *scheduler) take() *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range circles {
		c := s.turn
		s.turn = (s.turn + 1) % circles
		if j := s.takeFrom(c); j != nil {
			return j
		}
	}
	return nil
}

func (s *scheduler) takeFrom(c int) *job {
	all := s.running[fresh] + s.running[retry]
	if all >= s.limits.Attempts || c == retry && s.running[retry] >= s.limits.retries() {
		return nil
	}
	for len(s.circle[c]) > 0 {
		d := s.circle[c][0]
		s.circle[c][0] = nil
		s.circle[c] = s.circle[c][1:]
		d.offered[c] = false
		if d.cooling || d.running >= d.window || d.lines[c].Len() == 0 {
			continue // it is offered again when this changes
		}
		j := d.lines[c].Front().Value.(*job)
		s.rest(j)
		j.phase = running
		d.running++
		s.running[c]++
		s.offer(d)
		return j
	}
	return nil
}

// retries is how many repeated attempts there may be at once: the rest is for
// messages that have never been tried.
func (l Limits) retries() int { return max(1, l.Attempts-l.Attempts/4) }

// ended is what an attempt leaves of a job.
type ended struct {
	next     time.Time // of the next attempt; zero: the job is done
	deadline time.Time
	attempts int
}

// done gives back the slot of a running job, and the job what is left of it.
func (s *scheduler) done(j *job, end ended, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.dest.running--
	s.running[j.circle]--
	s.finish(j, end, now)
	s.offer(j.dest)
}

// finish ends the running phase of a job.
func (s *scheduler) finish(j *job, end ended, now time.Time) {
	j.phase = idle
	j.cancel = nil
	j.tries++
	j.attempts = end.attempts
	j.deadline = end.deadline
	j.alarm.at = end.next
	switch {
	case end.next.IsZero():
		s.removeJob(j)
	case !j.entry.held:
		s.wait(j, now)
	}
}

// reached notes that a host of the destination has answered.
func (s *scheduler) reached(d *destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.failures = 0
	d.window = min(d.window+1, s.limits.PerDestination)
	s.offer(d)
}

// unreached notes that no host of the destination could be spoken to. It
// returns the jobs in its line for which that is news to be told, running: they
// share the outcome, and finished gives them back. Attempts that were under way
// when the destination began to cool count as one.
func (s *scheduler) unreached(d *destination, now time.Time) (overdue []*job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.cooling {
		return nil
	}
	d.failures++
	d.window = 1
	d.cooling = true
	d.alarm.at = now.Add(s.schedule.cooling(d.failures))
	s.alarms.set(&d.alarm)
	for c := range circles {
		for el := d.lines[c].Front(); el != nil; {
			j := el.Value.(*job)
			el = el.Next()
			if !j.deadline.After(now) {
				s.rest(j)
				j.phase = running
				overdue = append(overdue, j)
			}
		}
	}
	return overdue
}

// finished is done for a job that came from unreached.
func (s *scheduler) finished(j *job, end ended, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finish(j, end, now)
}

// firm reports whether a message that is past its time may be given up: not
// because of one attempt after the process was down or had no network.
func (s *scheduler) firm(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.tries >= 1 || j.dest.failures >= 2
}
