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
	// A collection is followed by a pause of so many times as long, and no longer than
	// tidyPause: on a machine that has no time for us it lasts because it waits.
	tidyShare = 20
	tidyPause = 2 * time.Second
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
	time.AfterFunc(min(max(restAfter/2, tidyShare*time.Since(start)), tidyPause), func() {
		if t.calm.Load() >= calmCrowd {
			t.tidy()
			return
		}
		t.active.Store(false)
	})
}
