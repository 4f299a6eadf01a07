package queue

import (
	"sync"

	"buzon/internal/durable"
)

// groupSync lets one fsync of a directory serve everybody who waits for it.
// Whoever comes while one runs waits for the next, which begins after him.
type groupSync struct {
	dir durable.Dir

	running sync.Mutex // held while an fsync runs
	mu      sync.Mutex
	next    *syncRound // that has not begun; nil: none
}

type syncRound struct {
	done chan struct{}
	err  error
}

// Sync returns once everything that was done to the directory before the call
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
	r.err = g.dir.Sync()
	close(r.done)
	return r.err
}
