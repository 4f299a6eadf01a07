package queue

import (
	"sync"
	"time"
)

// groupSync lets one fsync of a file or directory serve everybody who waits for it.
// Whoever comes while one runs waits for the next, which begins after him.
type groupSync struct {
	sync func() error

	running sync.Mutex // held while an fsync runs
	mu      sync.Mutex
	next    *syncRound // that has not begun; nil: none
}

type syncRound struct {
	done chan struct{}
	err  error
}

// Sync returns once everything that was done to it before the call
// is durable.
func (g *groupSync) Sync() error {
	g.mu.Lock()
	if r := g.next; r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r := &syncRound{done: make(chan struct{})}
	g.next = r
	g.mu.Unlock()

	g.running.Lock()
	defer g.running.Unlock()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	r.err = g.sync()
	close(r.done)
	return r.err
}

// laterTime is how long a laterSync lets others join: what a power cut may undo.
const laterTime = 50 * time.Millisecond

// laterSync makes durable, soon, what nobody waits for.
type laterSync struct {
	sync func()

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	asked  bool
	closed bool
	work   sync.WaitGroup
}

// ask wants a sync.
func (l *laterSync) ask() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked || l.closed {
		return
	}
	l.asked = true
	l.work.Add(1)
	l.timer = time.AfterFunc(laterTime, func() {
		defer l.work.Done()
		l.mu.Lock()
		l.asked = false
		l.mu.Unlock()
		l.sync()
	})
}

// close makes what was asked for happen now.
func (l *laterSync) close() {
	l.mu.Lock()
	l.closed = true
	pending := l.asked && l.timer.Stop()
	l.mu.Unlock()
	if pending {
		l.sync()
		l.work.Done()
	}
	l.work.Wait()
}
