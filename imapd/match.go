package imapd

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"buzon/maildir"
)

const (
	matchBatch  = 64 // messages that a goroutine looks at before it takes more
	maxMatchers = 8  // goroutines of one search
)

// A matching is a search at work: where it reads messages, on all processors.
type matching struct {
	s     *session
	key   searchKey
	reads textReading
	parts spans        // what to look at, in batches
	next  atomic.Int64 // batch that nobody has taken yet
	found [][]int      // by batch
	gone  atomic.Bool  // some messages could not be looked at any more

	mu  sync.Mutex
	err error // the first
}

// matching returns the indices of the messages that match, in order.
func (s *session) matching(r *request, key searchKey) ([]int, error) {
	n := s.view.len()
	m := &matching{s: s, key: key, parts: batches(spans{{0, n}})}
	if key.within != nil {
		m.parts = batches(key.within(s.view))
	}
	m.found = make([][]int, len(m.parts))
	m.reads.box, m.reads.state = s.view.box, s.view.state
	var helpers sync.WaitGroup
	if key.cost >= costHeader {
		for range min(runtime.GOMAXPROCS(0), maxMatchers, len(m.found)) - 1 {
			helpers.Go(func() { m.work(nil) })
		}
	}
	m.work(newProgress(s, r, n))
	helpers.Wait()
	m.reads.end()
	var crash *crashError
	if errors.As(m.err, &crash) {
		panic(crash)
	}
	if m.err != nil {
		return nil, m.err
	}
	if m.gone.Load() {
		r.code = "EXPUNGEISSUED" // RFC 5530 3
	}
	all := make([]int, 0, n/16)
	for _, found := range m.found {
		all = append(all, found...)
	}
	return all, nil
}

// batches cuts spans into pieces of at most matchBatch messages.
func batches(ss spans) spans {
	cut := make(spans, 0, ss.len()/matchBatch+len(ss))
	for _, s := range ss {
		for lo := s.lo; lo < s.hi; lo += matchBatch {
			cut = append(cut, span{lo, min(lo+matchBatch, s.hi)})
		}
	}
	return cut
}

// crashError is a panic in a goroutine that is not the session's own, which is where it must end.
type crashError struct {
	value any
	stack []byte
}

func (e *crashError) Error() string { return fmt.Sprintf("%v\n%s", e.value, e.stack) }

// work looks at one batch after the other; the session's own goroutine reports the progress.
func (m *matching) work(p *progress) {
	c := &candidate{s: m.s, content: content{s: m.s, box: m.s.view.box}, reads: &m.reads}
	defer c.content.close()
	c.content.buffer.Gather()
	defer c.content.buffer.Flush()
	defer func() {
		if v := recover(); v != nil {
			m.fail(&crashError{v, debug.Stack()})
		}
	}()
	for k := 0; ; k++ {
		b := int(m.next.Add(1)) - 1
		if b >= len(m.found) {
			return
		}
		if p != nil && k%4 == 0 {
			if err := p.at(m.parts[b].lo); err != nil {
				m.fail(err)
				return
			}
		}
		if err := m.batch(c, b); err != nil {
			m.fail(err)
			return
		}
	}
}

// fail ends the search.
func (m *matching) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	m.next.Store(int64(len(m.found)))
}

func (m *matching) batch(c *candidate, b int) error {
	v := m.s.view
	for i := m.parts[b].lo; i < m.parts[b].hi; i++ {
		c.look(i, m.key.cost > costIndex)
		ok, err := m.key.match(c)
		switch {
		case errors.Is(err, maildir.ErrExpunged): // gone meanwhile: it matches nothing
			m.gone.Store(true)
		case errors.Is(err, maildir.ErrUnreadable): // one bad file must not hide the others
			m.s.log.Warn("message left out of a search", "user", string(m.s.account.ID), "mailbox", v.box.Name(), "err", err)
		case err != nil:
			return err
		case ok:
			m.found[b] = append(m.found[b], i)
		}
	}
	return nil
}
