package maildir

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// The cases of this file are about directories that are not watched.

// Without inotify a removal waits until it is certain, and not for long: others rename
// all the while, and some messages are removed meanwhile. Nobody else's end is told, and
// when it is quiet theirs is, within 3 s where the machine has time.
func TestCase04NoWatchWithholdsRemovals(t *testing.T) {
	f := &faults{blind: true}
	h := faulty(t, f, quiet, func(c *Config) { c.PollInterval = 50 * time.Millisecond })
	h.fillTree(ifLong(30_000, 3000))
	h.open()
	first := h.inbox.State()
	n := first.Len()
	var removed sync.Map
	isRemoved := func(uid UID) bool { _, ok := removed.Load(uid); return ok }
	stopWatching := h.watchForOtherExpunges(isRemoved)
	stop := h.churn(0)
	during, victims := ifLong(30*time.Second, time.Second), 0
	for start := time.Now(); time.Since(start) < during; {
		h.rescan()
		// The last ones go right before it is quiet.
		if victims < 5 && time.Since(start) >= during*time.Duration(victims+1)/6 {
			uid := first.uids[7+victims*97]
			removed.Store(uid, true)
			h.removeMoving(first, uid)
			victims++
		}
	}
	early := n - h.inbox.State().Len()
	renames := stop()
	since := time.Now()
	for h.sync(h.inbox).Len() != n-victims {
		if time.Since(since) > 30*time.Second {
			t.Fatalf("%d removals of %d are told", n-h.inbox.State().Len(), victims)
		}
		time.Sleep(10 * time.Millisecond) // a poll, as there are no events to wait for
	}
	took := time.Since(since)
	stopWatching()
	t.Logf("%d removals in %d renames, %d were certain before it was quiet, all were told %v after", victims, renames, early, took)
	if victims == 0 {
		t.Error("nothing was removed")
	}
	if long() && took > 3*time.Second {
		t.Errorf("the removals were told %v after it was quiet", took)
	}
	for _, uid := range first.uids {
		if _, ok := h.inbox.State().Find(uid); ok == isRemoved(uid) {
			t.Errorf("UID %d: shown %v, removed %v", uid, ok, isRemoved(uid))
		}
	}
	h.agrees(h.inbox.State())

	// One that goes when it is quiet.
	uid := first.uids[n-1]
	removed.Store(uid, true)
	h.removeMoving(first, uid)
	since = time.Now()
	for h.sync(h.inbox).Len() != n-victims-1 {
		if time.Since(since) > 30*time.Second {
			t.Fatal("the removal was not told")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if took = time.Since(since); long() && took > 3*time.Second {
		t.Errorf("the removal was told after %v", took)
	}
	h.agrees(h.inbox.State())
}

// removeMoving removes the file of a message, which somebody may rename meanwhile.
func (h *harness) removeMoving(s *State, uid UID) {
	h.t.Helper()
	i, _ := s.Find(uid)
	base, _, _ := s.file(i)
	h.eventually("a removal of "+base, func() bool {
		now, _ := filepath.Glob(h.path("cur/" + base + ":*"))
		return len(now) == 1 && os.Remove(now[0]) == nil
	})
}

// A STORE or EXPUNGE without inotify, under churn, finds its file or says that
// it did nothing: it never claims that a message is gone that is there.
func TestCase04NoWatchChangesUnderChurn(t *testing.T) {
	f := &faults{blind: true}
	h := faulty(t, f, quiet)
	h.fillTree(ifLong(20_000, 2000))
	h.open()
	stop := h.churn(0)
	rng := rand.New(rand.NewPCG(3, 4))
	uids := h.inbox.State().UIDs()
	for range ifLong(2000, 100) {
		uid := uids[rng.IntN(len(uids))]
		res, err := h.inbox.Store(h.ctx(), []UID{uid}, Change{Op: Add, Flags: FlagAnswered})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Gone) > 0 {
			t.Errorf("STORE says that %d is gone", uid)
		}
		msg, err := h.inbox.OpenMessage(h.ctx(), uid)
		if err != nil {
			t.Error("open:", err)
			continue
		}
		msg.Close()
	}
	stop()
	if s := h.rescan(); s.Len() != len(uids) {
		t.Errorf("%d messages of %d", s.Len(), len(uids))
	}
}
