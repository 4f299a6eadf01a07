package queue

import (
	"context"
	"time"
)

// This file is what happens to jobs from outside of the schedule: the orders of
// an administrator, and the end of their entry.

// remove forgets an entry that has left the spool, and stops its attempts.
func (s *scheduler) remove(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, e.id)
	if e.by != nil {
		s.alarms.stop(&e.by.alarm)
	}
	for i := len(e.jobs) - 1; i >= 0; i-- {
		j := e.jobs[i]
		if j.phase == running {
			if j.cancel != nil {
				j.cancel()
			}
			continue // finish removes it
		}
		s.rest(j)
		s.removeJob(j)
	}
}

// hold lets no further attempt of the entry begin until it is released.
func (s *scheduler) hold(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.held = true
	for _, j := range e.jobs {
		if j.phase != running {
			s.rest(j)
		}
	}
}

// release is the end of hold. The schedule is what it was.
func (s *scheduler) release(e *entry, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.held = false
	for _, j := range e.jobs {
		if j.phase == idle {
			s.wait(j, now)
		}
	}
}

// hurry makes the entry due, unless it is held, and warms its destinations up.
func (s *scheduler) hurry(e *entry, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range e.jobs {
		if d := j.dest; d.cooling {
			s.alarms.stop(&d.alarm)
			d.cooling = false
			s.offer(d)
		}
		if j.phase == timed {
			s.rest(j)
			j.alarm.at = now
			s.wait(j, now)
		}
	}
}

// begin notes how a running attempt can be stopped. It is stopped at once when
// the entry was removed in the meantime.
func (s *scheduler) begin(j *job, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.cancel = cancel
	if s.entries[j.entry.id] != j.entry {
		cancel()
	}
}

// look returns what the scheduler knows of an entry.
func (s *scheduler) look(e *entry) (held, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range e.jobs {
		active = active || j.phase == running
	}
	return e.held, active
}

// removeJob forgets a job that is neither timed nor in line.
func (s *scheduler) removeJob(j *job) {
	e := j.entry
	for i := range e.jobs {
		if e.jobs[i] == j {
			e.jobs = append(e.jobs[:i], e.jobs[i+1:]...)
			break
		}
	}
	j.dest.jobs--
	s.forget(j.dest)
}

// forget drops a destination that nobody needs.
func (s *scheduler) forget(d *destination) {
	if d.jobs == 0 && !d.cooling {
		delete(s.destinations, d.domain)
	}
}
