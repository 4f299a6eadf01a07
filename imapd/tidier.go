package imapd

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A tidier gives memory back to the system after many sessions have come to rest or to their end: the
// collector does so only when the heap has doubled, which on a host where all clients wait is never.
type tidier struct {
	calm   atomic.Int64 // sessions that did since the last time
	active atomic.Bool
}

const (
	// calmCrowd is how many sessions' leavings are worth a collection.
	calmCrowd = 100
	// tidyShare is what a collection may take of the time: one part in so many.
	tidyShare = 50
)

// calmed counts a session that rests, or has ended.
func (t *tidier) calmed() {
	if t.calm.Add(1) >= calmCrowd && t.active.CompareAndSwap(false, true) {
		time.AfterFunc(restAfter/2, t.tidy) // others do at the same time
	}
}

func (t *tidier) tidy() {
	t.calm.Store(0)
	start := time.Now()
	debug.FreeOSMemory()
	time.AfterFunc(max(restAfter/2, tidyShare*time.Since(start)), func() {
		if t.calm.Load() >= calmCrowd {
			t.tidy()
			return
		}
		t.active.Store(false)
	})
}
