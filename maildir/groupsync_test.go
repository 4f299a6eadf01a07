package maildir

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/durable"
)

// slowDir counts its syncs, which take a second.
type slowDir struct {
	durable.Dir
	syncs atomic.Int64
	fail  error
}

func (d *slowDir) Sync() error {
	d.syncs.Add(1)
	time.Sleep(time.Second)
	return d.fail
}

// Twenty who come while one syncs need one more fsync together, which begins after
// they came.
func TestGroupSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g groupSyncs
		d := &slowDir{}
		var all sync.WaitGroup
		start := time.Now()
		all.Go(func() { _ = g.sync(d, 1) })
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				came := time.Now()
				if err := g.sync(d, 1); err != nil || time.Since(came) < time.Second {
					t.Errorf("%v after %v", err, time.Since(came))
				}
			})
		}
		all.Wait()
		if n := d.syncs.Load(); n != 2 || time.Since(start) != 2*time.Second {
			t.Errorf("%d syncs in %v", n, time.Since(start))
		}
		if len(g.all) > 0 {
			t.Error("something is left")
		}
	})
}

// A failed fsync fails everybody whom it was for, and nobody after them.
func TestGroupSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g groupSyncs
		broken := errors.New("broken")
		d := &slowDir{fail: broken}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := g.sync(d, 1); !errors.Is(err, broken) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d.fail = nil
		if err := g.sync(d, 1); err != nil {
			t.Error(err)
		}
	})
}
