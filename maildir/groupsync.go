package maildir

import (
	"context"
	"sync"

	"buzon/internal/durable"
)

// groupSyncs lets deliveries into one directory share its fsyncs: one that begins
// after a name was put there makes it durable, whoever asked for it. They are kept
// by inode, as each delivery opens the directory by its name.
type groupSyncs struct {
	mu  sync.Mutex
	all map[uint64]*groupSync
}

// groupSync is one directory.
type groupSync struct {
	users   int         // guarded by groupSyncs.mu
	running contextLock // held during an fsync
	mu      sync.Mutex  // guards next
	next    *syncBatch  // those whom the next fsync is for; nil: nobody yet
}

// syncBatch is whoever waits for the same fsync.
type syncBatch struct {
	done bool // guarded by groupSync.running, as is err
	err  error
}

// sync returns when what was put into dir, of that inode, before the call is durable.
// An error is that of the fsync that should have made it so.
func (g *groupSyncs) sync(dir durable.Dir, ino uint64) error {
	g.mu.Lock()
	s := g.all[ino]
	if s == nil {
		if g.all == nil {
			g.all = map[uint64]*groupSync{}
		}
		s = &groupSync{running: newContextLock()}
		g.all[ino] = s
	}
	s.users++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(g.all, ino)
		}
	}()
	return s.sync(dir)
}

func (s *groupSync) sync(dir durable.Dir) error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &syncBatch{}
	}
	b := s.next
	s.mu.Unlock()
	_ = s.running.lock(context.Background())
	defer s.running.unlock()
	if b.done {
		return b.err
	}
	s.mu.Lock()
	s.next = nil // who comes from now on may come too late for this one
	s.mu.Unlock()
	b.err, b.done = dir.Sync(), true
	return b.err
}
