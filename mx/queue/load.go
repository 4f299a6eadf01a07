package queue

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"buzon/internal/durable"
)

// readers is how many files Open reads at once: on a disk whose pages are cold
// it waits for many of them together.
const readers = 16

// load brings the spool into a legal state after whatever happened, and its
// entries to the scheduler.
func (q *Queue) load() error {
	began := time.Now()
	if err := q.spool.sweep(); err != nil {
		return err
	}
	ids, active, states, err := q.spool.index()
	if err != nil {
		return err
	}
	if err := q.spool.loadJournal(ids, active); err != nil {
		return err
	}
	for id := range ids {
		if err := q.reconcile(id, ids); err != nil {
			return err
		}
	}
	q.loadAll(ids, active, states)
	if len(ids) > 0 {
		q.log.Info("queue read", "messages", q.Len(), "dur", time.Since(began))
	}
	return nil
}

// sweep removes what was being written when the process stopped, and puts
// aside what is not ours.
func (s *spool) sweep() error {
	ours := make(map[string]bool)
	for _, f := range s.folders() {
		ours[f.name] = true
	}
	var foreign []string
	err := s.root.Scan(func(e durable.Entry) error {
		if !ours[string(e.Name)] {
			foreign = append(foreign, string(e.Name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range foreign {
		s.putAside(s.root, name, damaged("not a file of the queue's"))
	}
	// Whoever submitted what lies here was never told that it is queued.
	unfinished, err := s.names(s.tmp, func(string) bool { return true })
	for _, name := range unfinished {
		err = errors.Join(err, s.tmp.Remove(name))
	}
	return err
}

// index returns the ids of all entries, of those that were being attempted, and
// of those that have a state. States and marks without a message are litter that remove left.
func (s *spool) index() (ids, active, states map[string]bool, err error) {
	valid := func(name string) bool {
		_, _, _, ok := splitID(name)
		return ok
	}
	ids, active, states = make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, part := range []struct {
		folder folder
		found  func(id string)
	}{
		{s.message, func(id string) { ids[id] = true }},
		{s.state, func(id string) { states[id] = true }},
		{s.active, func(id string) { active[id] = true }},
	} {
		names, err := s.names(part.folder, valid)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, id := range names {
			part.found(id)
			if ids[id] {
				continue
			}
			if err := part.folder.Remove(id); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	return ids, active, states, nil
}

// loadJournal reads the journal, and adds its entries to ids and active. What was
// moved to message/ is finished here.
func (s *spool) loadJournal(ids, active map[string]bool) error {
	names, err := s.names(s.records, func(name string) bool {
		n, err := strconv.Atoi(name)
		return err == nil && strconv.Itoa(n) == name && n > 0
	})
	if err != nil {
		return err
	}
	damages := 0
	err = s.journal.load(names, func(text []byte) error {
		damages++
		return s.keepAside(fmt.Sprintf("part%d", damages), text, damaged("not what was written"))
	}, func(name string, why error) { s.putAside(s.records, name, why) })
	if err != nil {
		return err
	}
	for id, letter := range s.journal.all() {
		if letter == recordActive {
			active[id] = true
		}
		if ids[id] {
			if err := s.journal.finish(id); err != nil {
				return err
			}
		}
		ids[id] = true
	}
	return s.journal.sync()
}

// reconcile writes that a notice is made which exists, should the process have
// stopped before it did so.
func (q *Queue) reconcile(notice string, ids map[string]bool) error {
	id, mark, number, _ := splitID(notice)
	if mark == "" || !ids[id] {
		return nil
	}
	e := &entry{id: id}
	l, st, err := q.read(e)
	if errors.Is(err, errGone) {
		delete(ids, id)
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	n, err := strconv.Atoi(number)
	if err != nil || n >= len(st.Recipients) || !st.noted(mark, n) {
		return nil
	}
	if err := q.commit(e, st); err != nil {
		return err
	}
	if e.gone {
		q.spool.unmark(id)
		delete(ids, id)
	}
	return nil
}

// noted marks recipient n, or all that wait with it, as told of. It reports
// whether that is a change.
func (st *state) noted(mark string, n int) bool {
	first := &st.Recipients[n]
	if mark == failureMark || mark == successMark {
		was := first.Status
		switch {
		case was == Failed && mark == failureMark:
			first.Status = Bounced
		case was == Relayed && mark == successMark:
			first.Status = Delivered
		}
		return was != first.Status
	}
	change := false
	for i := range st.Recipients {
		r := &st.Recipients[i]
		if r.Status == Waiting && !r.Warned && r.Address.Domain == first.Address.Domain {
			r.Warned = true
			change = true
		}
	}
	return change
}

// loadAll reads the entries and gives them to the scheduler.
func (q *Queue) loadAll(ids, active, states map[string]bool) {
	queue := make(chan string, readers)
	var work sync.WaitGroup
	var debts sync.Mutex
	for range readers {
		work.Go(func() {
			for id := range queue {
				if e := q.loadOne(id, active[id], states[id]); e != nil {
					debts.Lock()
					q.debts = append(q.debts, e)
					debts.Unlock()
				}
			}
		})
	}
	for id := range ids {
		queue <- id
	}
	close(queue)
	work.Wait()
}

// loadOne reads an entry. It returns it when a notice is owed.
func (q *Queue) loadOne(id string, interrupted, attempted bool) *entry {
	e := &entry{id: id}
	st := q.quickState(id, attempted)
	if st == nil {
		l, whole, err := q.read(e)
		if err != nil {
			if !errors.Is(err, errGone) {
				q.log.Error("message stays out of the queue until the next start", "id", id, "err", err)
			}
			return nil
		}
		defer l.Close()
		st = whole
	}
	if interrupted {
		q.pushOut(id, st)
	}
	if st.settled() { // not by our doing, but the meaning is clear
		if err := q.commit(e, st); err != nil {
			q.log.Error("finished message is not removed", "id", id, "err", err)
		}
		return nil
	}
	e = newEntry(id, st.Queued)
	e.backlog = true
	q.sched.add(e, st, q.now())
	if st.owes() {
		return e
	}
	return nil
}

// quickState is the state of an entry that was attempted before: all that the
// scheduler must know. nil: the message itself is needed too. Should that be
// damaged, its next attempt finds out. Half of a start's work is saved so.
func (q *Queue) quickState(id string, attempted bool) *state {
	if !attempted {
		return nil
	}
	f, err := q.spool.state.Open(id)
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := scanState(f)
	if err != nil || st.Queued.IsZero() {
		return nil
	}
	st.saved = true
	return st
}

// pushOut counts an attempt during which the process died, so that a message
// that kills us, or a host, is not met again at once, start after start.
func (q *Queue) pushOut(id string, st *state) {
	now := q.now()
	due := false
	for i := range st.Recipients {
		r := &st.Recipients[i]
		if r.Status != Waiting || r.Next.After(now) {
			continue
		}
		due = true
		r.Attempts++
		r.Next = q.cfg.Schedule.next(r.Attempts, now, time.Time{})
		r.Last = outcome{At: stamp(now), Cause: "the attempt was interrupted"}
	}
	if due {
		if err := q.spool.writeState(id, st); err != nil {
			q.log.Error("interrupted attempt is not written", "id", id, "err", err)
			return
		}
	}
	q.spool.unmark(id)
}
