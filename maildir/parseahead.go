package maildir

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// parseAheadLeast is how many messages are worth starting goroutines for.
const parseAheadLeast = 8

// ParseAhead parses those of the messages that never were, on all processors, so
// that Parsed has them at hand. It reports nothing: a message that cannot be read,
// or worse, meets Parsed again.
func (m *Mailbox) ParseAhead(ctx context.Context, uids []UID) {
	s := m.State()
	if m.parseFile() == nil {
		return
	}
	var missing []UID
	for _, uid := range uids {
		if i, ok := s.Find(uid); ok && !s.parsedBefore(i) {
			missing = append(missing, uid)
		}
	}
	if len(missing) < parseAheadLeast {
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxParsers) {
		wg.Go(func() {
			defer func() { _ = recover() }() // the caller's goroutine will meet it, and tell
			for i := next.Add(1) - 1; int(i) < len(missing) && ctx.Err() == nil; i = next.Add(1) - 1 {
				_, _ = m.Parsed(ctx, missing[i])
			}
		})
	}
	wg.Wait()
}

// maxParsers bounds the processors that one session may keep busy.
const maxParsers = 8

// parsedBefore says whether the cache knew row i.
func (s *State) parsedBefore(i int) bool {
	sl := s.slot(i)
	return s.blocks[sl.block()].loadCached(sl.row()) > 0
}
