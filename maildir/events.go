package maildir

import (
	"iter"
	"strings"

	"golang.org/x/sys/unix"
)

// event is one change of a directory's names.
type event struct {
	isNew   bool
	name    string
	present bool
	remade  bool // a file was made or removed, not renamed
}

// eventQueue is what happened in a mailbox and was not looked at yet. It is
// guarded by watcher.mu. A large STORE brings two events for each of its renames:
// their names lie one behind the other in memory that the next queue gets.
type eventQueue struct {
	list  []queuedEvent
	names []byte
	// lost: events are missing, or the directory itself was moved or removed.
	lost bool
	// halves are the cookies of MOVED_FROM events without their MOVED_TO: the
	// file left the mailbox, or the other event is about to come.
	halves map[uint32]bool
}

type queuedEvent struct {
	end                    uint32 // of its name
	isNew, present, remade bool
}

const (
	// maxQueuedEvents bounds a queue that nobody empties; beyond it a scan is cheaper.
	maxQueuedEvents = 200_000
	// maxSpareNames is the largest memory for names that is kept for the next queue.
	maxSpareNames = 256 << 10
)

func (q *eventQueue) put(x *watch, e *unix.InotifyEvent, name []byte) {
	switch {
	case e.Mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
		q.lost = true
	case len(q.list) >= maxQueuedEvents:
		*q = eventQueue{lost: true}
	case q.lost || e.Mask&unix.IN_ISDIR != 0:
	default:
		if e.Mask&unix.IN_MOVED_FROM != 0 {
			if q.halves == nil {
				q.halves = map[uint32]bool{}
			}
			q.halves[e.Cookie] = true
		} else {
			delete(q.halves, e.Cookie)
		}
		present := e.Mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0
		q.names = append(q.names, name...)
		q.list = append(q.list, queuedEvent{uint32(len(q.names)), x.isNew, present, e.Mask&(unix.IN_CREATE|unix.IN_DELETE) != 0})
	}
}

// all yields the events. Their names are valid until the queue is given back.
func (q *eventQueue) all() iter.Seq[event] {
	return func(yield func(event) bool) {
		start := uint32(0)
		for _, e := range q.list {
			if !yield(event{e.isNew, borrowed(q.names[start:e.end]), e.present, e.remade}) {
				return
			}
			start = e.end
		}
	}
}

// kept returns the events with names of their own.
func (q *eventQueue) kept() []event {
	out := make([]event, 0, len(q.list))
	for e := range q.all() {
		e.name = strings.Clone(e.name)
		out = append(out, e)
	}
	return out
}

// give takes the memory of a queue that was looked at, for the next one.
func (w *watcher) give(q eventQueue) {
	if w == nil || len(q.list) == 0 || cap(q.names) > maxSpareNames {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(q.halves)
	w.spare = eventQueue{list: q.list[:0], names: q.names[:0], halves: q.halves}
}

// skim takes events off m's queue from its beginning, as long as they are the caller's
// own. It reports whether the first that is not is one that he has to look at now, not
// later. The caller holds m's lock.
func (w *watcher) skim(m *Mailbox, what func(event) (own, later bool)) (foreign bool) {
	told := w.readFor(m)
	defer kickAll(told)
	defer w.mu.Unlock()
	q := &m.queue
	n := 0
	for e := range q.all() {
		own, later := what(e)
		if !own {
			foreign = !later
			break
		}
		n++
	}
	q.drop(n)
	return foreign || q.lost
}

// drop takes the first n events away.
func (q *eventQueue) drop(n int) {
	if n == 0 {
		return
	}
	gone := q.list[n-1].end
	q.names = q.names[:copy(q.names, q.names[gone:])]
	q.list = q.list[:copy(q.list, q.list[n:])]
	for k := range q.list {
		q.list[k].end -= gone
	}
}
