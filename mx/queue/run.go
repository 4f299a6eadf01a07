package queue

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"buzon/internal/smtp"
)

// clockCheck is how often Run looks at the wall clock although no alarm is due:
// it may have been set, or the machine may have slept, which timers do not see.
const clockCheck = time.Minute

// Run makes attempts until ctx ends. Then no new one begins; those in flight
// may finish within Limits.Grace and are told to stop after it. Whatever is not
// finished then is in the spool and tried again after the next Open. Run may be
// called once.
func (q *Queue) Run(ctx context.Context) error {
	q.running.Store(true)
	defer q.running.Store(false)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	q.attempts.Go(func() { q.payDebts(ctx) })
	q.attempts.Go(func() { q.emptyJournal(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(q.start(ctx, work))
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	return q.drain(stop)
}

// start starts what is due and returns when to look again. ctx is Run's, work
// lasts longer: it is the attempts'.
func (q *Queue) start(ctx, work context.Context) time.Duration {
	now := q.now()
	if now.Before(clockFloor) {
		if !q.clockless {
			q.clockless = true
			q.log.Error("the clock is not set: mail waits in the queue", "now", now)
		}
		return time.Second
	}
	if q.clockless {
		q.clockless = false
		q.sched.clockSet(now)
	}
	next, ok := q.sched.ring(now)
	if late := q.sched.takeLate(); len(late) > 0 {
		q.attempts.Go(func() {
			for _, j := range late {
				q.sched.finished(j, q.runOut(ctx, j), q.now())
			}
			q.poke()
		})
	}
	for j := q.sched.take(); j != nil; j = q.sched.take() {
		q.attempts.Go(func() {
			q.attempt(ctx, work, j)
			q.poke()
		})
	}
	if !ok {
		return clockCheck
	}
	return min(next.Sub(now), clockCheck)
}

// errStuck is Run's answer when a Sender does not obey its context.
var errStuck = errors.New("queue: attempts in flight did not end")

// stopTime is how long attempts may take to return once they are told to stop.
const stopTime = 5 * time.Second

// drain waits for the attempts in flight.
func (q *Queue) drain(stop context.CancelFunc) error {
	done := make(chan struct{})
	go func() {
		q.attempts.Wait()
		close(done)
	}()
	grace := time.NewTimer(q.cfg.Limits.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return nil
	case <-grace.C:
		stop()
	}
	last := time.NewTimer(stopTime)
	defer last.Stop()
	select {
	case <-done:
		return nil
	case <-last.C:
		return errStuck
	}
}

// payDebts makes the notices that were still owed when the spool was opened.
func (q *Queue) payDebts(ctx context.Context) {
	for _, e := range q.debts {
		q.conclude(ctx, &settlement{entry: e, applied: true})
	}
	q.debts = nil
}

// attempt makes one attempt and writes down how it ended.
func (q *Queue) attempt(ctx, work context.Context, j *job) {
	// What remains of the job after trouble of our own.
	end := ended{next: q.now().Add(q.cfg.Schedule.pause(1)), attempts: j.attempts, deadline: j.deadline}
	defer func() {
		if r := recover(); r != nil {
			q.log.Error("attempt panicked", "id", j.entry.id, "err", r, "stack", string(debug.Stack()))
		}
		q.sched.done(j, end, q.now())
	}()

	limited, cancel := context.WithTimeout(work, q.cfg.Limits.AttemptTime)
	defer cancel()
	q.sched.begin(j, cancel)
	began := q.now()
	if by := j.entry.by; by != nil && by.Passed(began) {
		end = q.runOut(ctx, j)
		return
	}
	results, err := q.send(limited, j)
	if errors.Is(err, errGone) {
		end = ended{}
	}
	if err != nil {
		return
	}
	var overdue []*job
	if limited.Err() == nil {
		overdue = q.learn(j.dest, results)
	}
	end = q.conclude(ctx, &settlement{entry: j.entry, domain: j.dest.domain, attempts: j.attempts + 1,
		results: results, firm: q.sched.firm(j), dur: q.now().Sub(began), marked: true})
	for _, o := range overdue {
		left := q.conclude(ctx, &settlement{entry: o.entry, domain: o.dest.domain, attempts: o.attempts + 1,
			share: &results[0], firm: q.sched.firm(o)})
		q.sched.finished(o, left, q.now())
	}
}

// runOut does what a sender has asked for who gave a time, which has come
// (RFC 2852): his message goes back to him, or he is told that it waits.
func (q *Queue) runOut(ctx context.Context, j *job) ended {
	return q.conclude(ctx, &settlement{entry: j.entry, domain: j.dest.domain, attempts: j.attempts, late: true, applied: !j.entry.by.Return})
}

// send hands the message to its carrier. It has marked the entry as active
// when it returns results.
func (q *Queue) send(ctx context.Context, j *job) ([]smtp.Result, error) {
	e := j.entry
	e.mu.Lock()
	l, st, err := q.read(e)
	if err != nil {
		e.mu.Unlock()
		return nil, err
	}
	defer l.Close()
	err = q.spool.mark(e.id)
	if err == nil {
		e.marked++
	}
	e.mu.Unlock()
	if err != nil {
		q.log.Error("attempt not begun", "id", e.id, "err", err)
		return nil, err
	}
	env := l.Envelope
	env.ID = e.id
	env.Size = l.Body.Size()
	env.To = nil
	for i, r := range st.Recipients {
		if r.Status == Waiting && r.Address.Domain == j.dest.domain {
			env.To = append(env.To, l.Envelope.To[i])
		}
	}
	q.log.Debug("attempt", "id", e.id, "to", j.dest.domain, "recipients", len(env.To))
	return q.carry(ctx, e, env, l), nil
}

// carry hands the message over. A panic of the carrier's is an attempt without
// results.
func (q *Queue) carry(ctx context.Context, e *entry, env smtp.Envelope, l *letter) (results []smtp.Result) {
	defer func() {
		if r := recover(); r != nil {
			q.log.Error("sending panicked", "id", e.id, "err", r, "stack", string(debug.Stack()))
		}
	}()
	if !e.notice || q.cfg.Notifier == nil || q.cfg.LocalDomain == nil || !q.cfg.LocalDomain(env.To[0].Address.Domain) {
		return q.cfg.Sender.Send(ctx, env, l.Body, l.Body.Size())
	}
	to := env.To[0].Address // a notice has one recipient
	reply := smtp.NewReply(250, [3]int{2, 0, 0}, "delivered")
	if err := q.cfg.Notifier.Notify(ctx, to, l.Body, l.Body.Size()); err != nil {
		reply = smtp.ReplyFor(err)
		if err != error(reply) {
			q.log.Error("local notice not delivered", "id", e.id, "to", to.String(), "err", err)
		}
	}
	return []smtp.Result{{Recipient: to, Reply: reply, Host: q.cfg.Hostname}}
}

// learn tells the scheduler whether the destination was reached. If it was not,
// it returns the jobs that have waited for it too long: the results are theirs
// too.
func (q *Queue) learn(d *destination, results []smtp.Result) (overdue []*job) {
	for _, r := range results {
		// RFC 5321 3.8: 421 is the end of the connection, whatever it answers.
		silent := r.Err != nil || r.Reply == nil || r.Reply.Code == 421
		if !r.Temporary() || !silent {
			q.sched.reached(d)
			return nil
		}
	}
	if len(results) == 0 {
		return nil
	}
	return q.sched.unreached(d, q.now())
}
