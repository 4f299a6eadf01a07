// Package heap gives memory back to the system when nothing is done any longer. The
// collector itself does so only when the heap has doubled, which on a host where
// everybody is asleep is not before morning: the check of one password alone leaves
// 19 MiB behind. It knows nothing of who uses the memory.
package heap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// calmAfter is how long the server has to do nearly nothing before the garbage is
	// given back to the system, and calmBytes how much that is.
	calmAfter = 3 * time.Second
	calmBytes = 512 << 10
	// worthwhile is how much must have been allocated since the last time: what was alive
	// at a collection meanwhile may be garbage by now.
	worthwhile = 2 << 20
)

// Keep looks after the heap until ctx ends.
func Keep(ctx context.Context) {
	tick := time.NewTicker(calmAfter)
	defer tick.Stop()
	k := keeper{}
	for {
		select {
		case <-tick.C:
			k.rest()
		case <-ctx.Done():
			return
		}
	}
}

type keeper struct {
	seen uint64 // bytes that had ever been allocated at the last look
	tidy uint64 // and when memory was given back
}

// rest gives memory back when something was done once, and nothing since the last look.
func (k *keeper) rest() (gave bool) {
	allocated := allocatedBytes()
	calm := allocated-k.seen < calmBytes
	k.seen = allocated
	if !calm || allocated-k.tidy < worthwhile {
		return false
	}
	k.tidy = allocated
	debug.FreeOSMemory()
	return true
}

// allocatedBytes counts all that was ever allocated.
func allocatedBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
