package maildir

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// parseAheadLeast is how many messages are worth starting goroutines for.
const parseAheadLeast = 8

// ParseAhead parses those of the messages that never were, to the depth asked for, on
// all processors, so that Parsed has them at hand. It reports nothing: a message that
// cannot be read, or worse, meets Parsed again.
func (m *Mailbox) ParseAhead(ctx context.Context, uids []UID, depth Depth) {
	m.parseAhead(ctx, uids, parseGoal{depth: depth})
}

func (m *Mailbox) parseAhead(ctx context.Context, uids []UID, goal parseGoal) {
	s := m.State()
	cache := m.parseFile()
	if cache == nil {
		return
	}
	rows := make([]int, 0, len(uids))
	for _, uid := range uids {
		if i, ok := s.Find(uid); ok {
			rows = append(rows, i)
		}
	}
	missing := cache.missing(s, rows, goal)
	if len(missing) < parseAheadLeast {
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxParsers) {
		wg.Go(func() {
			defer func() { _ = recover() }() // the caller's goroutine will meet it, and tell
			var parsed Parsed
			var buffer ParsedBuffer
			buffers := &m.user.buffers
			batch := parseBatch{records: buffers.get(parseBatchBytes + parseBatchBytes/2)[:0]}
			defer func() { buffers.put(batch.records) }()
			for k := next.Add(1) - 1; int(k) < len(missing) && ctx.Err() == nil; k = next.Add(1) - 1 {
				p := cache.get(s, missing[k], &buffer)
				if p == nil || !p.complete(goal) {
					p = &parsed
					if _, err := m.parse(ctx, s, missing[k], goal, p); err != nil {
						continue
					}
				}
				batch.add(cache, s, missing[k], p)
			}
			batch.flush()
		})
	}
	wg.Wait()
}

// maxParsers bounds the processors that one session may keep busy.
const maxParsers = 8
