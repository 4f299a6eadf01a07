package queue

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// ErrNotFound is the answer to an id that is not in the queue (any more).
var ErrNotFound = errors.New("no such message in the queue")

// Message is a queued message as people see it.
type Message struct {
	ID         string      `json:"id"`
	From       string      `json:"from"` // "": the null reverse-path, of notices
	Queued     time.Time   `json:"queued"`
	Size       int64       `json:"size"`   // bytes
	Held       bool        `json:"held"`   // no attempt is made until it is released
	Active     bool        `json:"active"` // an attempt is under way
	Recipients []Recipient `json:"recipients"`
}

// Recipient is how far a message has come for one recipient.
type Recipient struct {
	Address  string    `json:"address"`
	Status   Status    `json:"status"`
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next,omitzero"` // of the next attempt; zero: at once, or none
	Last     time.Time `json:"last,omitzero"` // of the latest one; zero: none yet
	Host     string    `json:"host,omitempty"`
	Reply    string    `json:"reply,omitempty"` // of the host, or why there is none
}

// Next is when the message is attempted next: the zero time when it is due, or
// when nobody waits.
func (m *Message) Next() time.Time {
	var next time.Time
	found := false
	for _, r := range m.Recipients {
		if r.Status == Waiting && (!found || r.Next.Before(next)) {
			next, found = r.Next, true
		}
	}
	return next
}

// Len returns the number of messages in the queue.
func (q *Queue) Len() int { return q.sched.size() }

// List returns everything in the queue, the oldest first. It reads the spool.
func (q *Queue) List() []Message {
	all := q.sched.all()
	slices.SortFunc(all, func(a, b *entry) int { return strings.Compare(a.id, b.id) })
	out := make([]Message, 0, len(all))
	for _, e := range all {
		if m, err := q.show(e); err == nil {
			out = append(out, m)
		}
	}
	return out
}

// Show returns one message of the queue, or ErrNotFound.
func (q *Queue) Show(id string) (Message, error) {
	e, err := q.find(id)
	if err != nil {
		return Message{}, err
	}
	return q.show(e)
}

// Text opens the message itself as it was submitted, or returns ErrNotFound.
func (q *Queue) Text(id string) (io.ReadCloser, error) {
	e, err := q.find(id)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l, _, err := q.read(e)
	if err != nil {
		return nil, notFound(id, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{l.Body, l}, nil
}

// Retry makes a message due at once, and lets its destinations be tried even
// if they did not answer a moment ago. A held message stays held. Where Run does
// not run, the message is due for the Run that comes.
func (q *Queue) Retry(id string) error {
	e, err := q.find(id)
	if err != nil {
		return err
	}
	err = q.hurry(e)
	q.poke()
	return notFound(id, err)
}

// RetryAll is Retry for everything, and returns how many messages that is.
func (q *Queue) RetryAll() (n int, err error) {
	var errs []error
	for _, e := range q.sched.all() {
		if err := q.hurry(e); err == nil {
			n++
		} else if !errors.Is(err, errGone) {
			errs = append(errs, notFound(e.id, err))
		}
	}
	q.poke()
	return n, errors.Join(errs...)
}

// hurry makes an entry due: in memory, and on the disk if it is for a later Run.
func (q *Queue) hurry(e *entry) error {
	q.sched.hurry(e, q.now())
	if q.running.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l, st, err := q.read(e)
	if err != nil {
		return err
	}
	defer l.Close()
	change := false
	for i := range st.Recipients {
		r := &st.Recipients[i]
		change = change || !r.Next.IsZero()
		r.Next = time.Time{}
	}
	if !change {
		return nil
	}
	return q.spool.writeState(e.id, st)
}

// Hold keeps a message in the queue without attempts, over restarts too. An
// attempt under way goes on to its end. It does nothing to a held message.
func (q *Queue) Hold(id string) error {
	return q.setHeld(id, true, q.sched.hold)
}

// Release is the end of Hold: the message is back in its schedule.
func (q *Queue) Release(id string) error {
	err := q.setHeld(id, false, func(e *entry) { q.sched.release(e, q.now()) })
	q.poke()
	return err
}

func (q *Queue) setHeld(id string, held bool, then func(*entry)) error {
	e, err := q.find(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l, st, err := q.read(e)
	if err != nil {
		return notFound(id, err)
	}
	defer l.Close()
	if st.Held == held {
		return nil
	}
	st.Held = held
	if err := q.spool.writeState(id, st); err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	then(e)
	q.log.Info(map[bool]string{true: "held", false: "released"}[held], "id", id, "from", l.Envelope.From.String())
	return nil
}

// Drop removes a message for good, without a notice. An attempt under way is
// told to stop; it may have been too late for that.
func (q *Queue) Drop(id string) error {
	e, err := q.find(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return notFound(id, errGone)
	}
	if err := q.spool.remove(id, true); err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	e.gone = true
	q.sched.remove(e)
	if e.marked == 0 {
		q.spool.unmark(id)
	}
	q.log.Info("dropped", "id", id)
	return nil
}

func (q *Queue) find(id string) (*entry, error) {
	if e := q.sched.find(id); e != nil {
		return e, nil
	}
	return nil, notFound(id, errGone)
}

// notFound tells whose error it is, and errGone as people know it.
func notFound(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errGone):
		err = ErrNotFound
	}
	return fmt.Errorf("message %s: %w", id, err)
}

func (q *Queue) show(e *entry) (Message, error) {
	e.mu.Lock()
	l, st, err := q.read(e)
	e.mu.Unlock()
	if err != nil {
		return Message{}, notFound(e.id, err)
	}
	defer l.Close()
	held, active := q.sched.look(e)
	m := Message{
		ID: e.id, From: l.Envelope.From.String(), Queued: l.Queued, Size: l.Body.Size(),
		Held: held, Active: active, Recipients: make([]Recipient, len(st.Recipients)),
	}
	for i := range st.Recipients {
		m.Recipients[i] = describe(&st.Recipients[i])
	}
	return m, nil
}

func describe(r *recipient) Recipient {
	return Recipient{Address: r.Address.String(), Status: r.Status, Attempts: r.Attempts, Next: r.Next, Last: r.Last.At, Host: r.Last.Host, Reply: r.Last.String()}
}
