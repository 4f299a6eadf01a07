package queue

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// settlement is the outcome of an attempt on its way to the disk:
//
//  1. delivered, failed and waiting recipients are written (or, when all are
//     final, the entry is removed);
//  2. notices are made for those that failed or wait too long;
//  3. that the notices are made is written;
//  4. the notices are scheduled.
//
// After a stop at any point the next start goes on from there. A notice that
// exists is never made again, because it is not sent before 3.
type settlement struct {
	entry    *entry
	domain   string // whose recipients were attempted
	attempts int    // this one included
	results  []smtp.Result
	share    *smtp.Result // instead of results: the outcome of each
	firm     bool         // too old means given up
	late     bool         // instead of an attempt: the time is up that the sender gave
	dur      time.Duration
	marked   bool // the entry is marked as active for this attempt, until the end
	applied  bool // step 1 is done, or there was no attempt
}

// errGone is the answer to reading an entry that is not there any more.
var errGone = errors.New("gone from the queue")

// read opens an entry's files; the caller holds e.mu. What is damaged is put
// aside and, like what was removed, errGone.
func (q *Queue) read(e *entry) (*letter, *state, error) {
	if e.gone {
		return nil, nil, errGone
	}
	l, err := q.spool.open(e.id)
	if err == nil {
		var st *state
		if st, err = q.spool.readState(e.id, l.head); err == nil {
			return l, st, nil
		}
		l.Close()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		q.log.Warn("message was removed from the spool by somebody else", "id", e.id)
		q.spool.unmark(e.id)
	case errors.Is(err, errDamaged) || errors.Is(err, durable.ErrNotRegular):
		q.spool.putEntryAside(e.id, err)
	default:
		q.log.Error("message is not readable", "id", e.id, "err", err)
		return nil, nil, err
	}
	e.gone = true
	q.sched.remove(e)
	return nil, nil, errGone
}

// retryWrite is the pause before an outcome that could not be written is tried
// again. Until then its attempt keeps its slot: with a disk that takes nothing,
// the fewer attempts the better.
const retryWrite = time.Minute

// conclude settles s, however often it takes, and returns what is left to do.
func (q *Queue) conclude(ctx context.Context, s *settlement) ended {
	for {
		end, err := q.settle(s)
		if errors.Is(err, errGone) {
			return ended{}
		}
		if err == nil {
			return end
		}
		q.log.Error("outcome of an attempt is not written yet", "id", s.entry.id, "err", err)
		select {
		case <-time.After(retryWrite):
		case <-ctx.Done():
			return ended{next: q.now().Add(q.cfg.Schedule.pause(1)), attempts: s.attempts}
		}
	}
}

// settle takes s through its steps.
func (q *Queue) settle(s *settlement) (ended, error) {
	e := s.entry
	e.mu.Lock()
	defer e.mu.Unlock()
	l, st, err := q.read(e)
	if errors.Is(err, errGone) {
		q.unmark(s)
		q.logLate(s)
	}
	if err != nil {
		return ended{}, err
	}
	defer l.Close()
	now := q.now()
	age := now.Sub(q.sched.queuedAt(e))
	if !s.applied {
		touched := q.apply(s, l, st, now, age)
		if err := q.commit(e, st); err != nil {
			return ended{}, err
		}
		s.applied = true
		for _, i := range touched {
			q.logOutcome(s, l, &st.Recipients[i])
		}
	}
	if err := q.notify(s, l, st, age); err != nil {
		return ended{}, err
	}
	q.unmark(s)
	return q.left(s, st), nil
}

// unmark ends the attempt in active/.
func (q *Queue) unmark(s *settlement) {
	if !s.marked {
		return
	}
	s.marked = false
	if s.entry.marked--; s.entry.marked == 0 {
		q.spool.unmark(s.entry.id)
	}
}

// commit writes the state, or removes the entry when nothing is left to do.
func (q *Queue) commit(e *entry, st *state) error {
	if !st.settled() {
		return q.spool.writeState(e.id, st)
	}
	if err := q.spool.remove(e.id, st.saved); err != nil {
		return err
	}
	e.gone = true
	q.sched.remove(e)
	return nil
}

// apply puts the results into the state and returns whom they concern.
func (q *Queue) apply(s *settlement, l *letter, st *state, now time.Time, age time.Duration) (touched []int) {
	deadline := now.Add(q.cfg.Schedule.lifetime(s.entry.notice) - age)
	by := l.Envelope.By
	if by.Return {
		deadline = earlier(deadline, by.At)
	}
	next := q.cfg.Schedule.next(s.attempts, now, deadline)
	for i := range st.Recipients {
		r := &st.Recipients[i]
		if r.Status != Waiting || r.Address.Domain != s.domain {
			continue
		}
		touched = append(touched, i)
		if s.late {
			r.expire(l.Envelope, i, now)
			continue
		}
		result := s.resultFor(r.Address)
		r.Attempts++
		r.Next = time.Time{}
		r.Last = outcomeOf(result, now)
		wants := wantsNotice(l.Envelope.From, l.Envelope.To[i].Notify)
		switch {
		case result.Done() && (wants&smtp.NotifySuccess != 0 && !result.Notifies || tellsOfHost(by, wants, result)):
			r.Status = Relayed // RFC 3461 5.2.2
		case result.Done():
			r.Status = Delivered
		case by.Passed(now) && !result.Permanent():
			r.expire(l.Envelope, i, now)
		case result.Permanent() || s.firm && !now.Before(deadline):
			r.Status = Failed
			if wants&smtp.NotifyFailure == 0 {
				r.Status = Bounced
			}
		default:
			r.Next = next
			if q.waitsLong(l.Envelope, now, age) && wants&smtp.NotifyDelay == 0 {
				r.Warned = true // there is nobody to be told
			}
		}
	}
	return touched
}

// errLate is why a message comes back that could not be there in time.
var errLate = errors.New("the time that the sender gave is over")

// expire gives a recipient up whose sender has asked for that by now.
func (r *recipient) expire(env smtp.Envelope, i int, now time.Time) {
	r.Next = time.Time{}
	if r.Last.At.IsZero() {
		r.Last = outcome{At: stamp(now), Cause: errLate.Error()}
	}
	r.Status = Failed
	if wantsNotice(env.From, env.To[i].Notify)&smtp.NotifyFailure == 0 {
		r.Status = Bounced
	}
}

// tellsOfHost reports whether DELIVERBY wants the sender to hear that a host has
// the message: one that does not keep the time, or each (RFC 2852 4.1.4).
func tellsOfHost(by smtp.DeliverBy, wants smtp.Notify, result smtp.Result) bool {
	return !by.IsZero() && wants != 0 && wants&smtp.NotifyNever == 0 && (by.Trace || !by.Return && !result.KnowsBy)
}

// waitsLong reports whether a sender is to be told that his message waits: when
// he has said, or after the usual time.
func (q *Queue) waitsLong(env smtp.Envelope, now time.Time, age time.Duration) bool {
	if by := env.By; !by.IsZero() && !by.Return {
		return !now.Before(by.At)
	}
	return age >= q.cfg.Schedule.WarnAfter
}

// errNoResult stands in for a result that the Sender did not give.
var errNoResult = errors.New("the attempt had no result")

func (s *settlement) resultFor(a smtp.Address) smtp.Result {
	if s.share != nil {
		r := *s.share
		r.Recipient = a
		return r
	}
	for _, r := range s.results {
		if r.Recipient.Equal(a) {
			return r
		}
	}
	return smtp.Result{Recipient: a, Err: errNoResult}
}

// wantsNotice tells of what a sender is to be told: never the null
// reverse-path (RFC 5321 4.5.5), else what NOTIFY says (RFC 3461 4.1).
func wantsNotice(from smtp.Address, n smtp.Notify) smtp.Notify {
	switch {
	case from.IsNull():
		return 0
	case n == 0:
		return smtp.NotifyFailure | smtp.NotifyDelay
	}
	return n
}

// maxReason bounds, in bytes, what a state keeps of a host's reply: it is
// written again with every attempt, for every recipient.
const maxReason = 512

func outcomeOf(r smtp.Result, now time.Time) outcome {
	o := outcome{At: stamp(now), Host: clean(r.Host, 255)}
	if r.Reply != nil {
		o.Reply = &smtp.Reply{Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: clean(r.Reply.Text, maxReason)}
	} else if r.Err == nil {
		r.Err = errNoResult
	}
	if r.Err != nil {
		o.Cause = clean(r.Err.Error(), maxReason)
	}
	return o
}

// clean makes one line of foreign text, at most limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}

// left is what remains to do for the settlement's destination.
func (q *Queue) left(s *settlement, st *state) ended {
	end := ended{attempts: s.attempts}
	for i := range st.Recipients {
		r := &st.Recipients[i]
		if r.Status == Waiting && r.Address.Domain == s.domain {
			next := r.Next
			if next.IsZero() { // at once: it was never attempted
				next = q.now()
			}
			end.next = earlier(end.next, next)
			end.deadline = earlier(end.deadline, q.sched.deadlineOf(s.entry, r))
		}
	}
	return end
}

// logLate tells of recipients who got the message although it was dropped.
func (q *Queue) logLate(s *settlement) {
	for _, r := range s.results {
		if r.Done() {
			q.log.Info("delivered", "id", s.entry.id, "to", r.Recipient.String(), "host", r.Host, "dur", s.dur, "code", r.Reply.Code,
				"reply", clean(r.Reply.Text, maxReason), "late", true)
		}
	}
}

// logOutcome writes the one line that tells of an attempt for a recipient.
func (q *Queue) logOutcome(s *settlement, l *letter, r *recipient) {
	attrs := []any{"id", s.entry.id, "from", l.Envelope.From.String(), "to", r.Address.String(), "host", r.Last.Host, "dur", s.dur}
	if result := s.resultFor(r.Address); result.Policy != "" {
		attrs = append(attrs, "policy", result.Policy, "tls", result.TLS)
	}
	if r.Last.Reply != nil {
		attrs = append(attrs, "code", r.Last.Reply.Code, "reply", r.Last.Reply.Text)
	}
	if r.Last.Cause != "" {
		attrs = append(attrs, "err", r.Last.Cause)
	}
	switch {
	case r.Status == Delivered || r.Status == Relayed:
		q.log.Info("delivered", attrs...)
	case r.Status == Waiting:
		q.log.Info("deferred", append(attrs, "next", r.Next)...)
	case s.entry.notice:
		q.log.Warn("notice dropped", attrs...)
	default:
		q.log.Info("bounced", attrs...)
	}
}
