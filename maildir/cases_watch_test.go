package maildir

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The cases of this file are about directories that are not watched, and about events
// that are lost.

// Without inotify a removal waits until it is certain, and not for long: others rename
// all the while, and some messages are removed meanwhile. Nobody else's end is told, and
// when it is quiet theirs is, within 3 s where the machine has time.
func TestCase04NoWatchWithholdsRemovals(t *testing.T) {
	f := &faults{blind: true, chunk: ifLong(0, 4096)} // few files are read at once, and none would be missed
	h := faulty(t, f, quiet, func(c *Config) { c.PollInterval = 50 * time.Millisecond })
	h.fillTree(ifLong(30_000, 3000))
	h.open()
	first := h.inbox.State()
	n := first.Len()
	var removed sync.Map
	isRemoved := func(uid UID) bool { _, ok := removed.Load(uid); return ok }
	stopWatching := h.watchForOtherExpunges(isRemoved)
	stop := h.churn(0)
	victims := 0
	remove := func() {
		uid := first.uids[7+victims*97]
		removed.Store(uid, true)
		h.removeMoving(first, uid)
		victims++
	}
	during := ifLong(30*time.Second, time.Second)
	for start := time.Now(); time.Since(start) < during; {
		h.rescan()
		if victims < 4 && time.Since(start) >= during*time.Duration(victims+1)/5 {
			remove()
		}
	}
	early := n - h.inbox.State().Len()
	remove()
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

// Events are lost where nobody takes them in time: the kernel's queue is full, or ours is,
// as somebody is long at work on the mailbox. One scan tells the rest.
func TestCase05EventQueueOverflows(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil {
		t.Fatal(err)
	}
	for whose, renames := range map[string]int{"kernel": max(ifLong(100_000, 0), kernels/2+1000), "ours": maxQueuedEvents/2 + 1} {
		t.Run(whose, func(t *testing.T) {
			if whose == "kernel" && renames > 1_000_000 {
				t.Skip("the kernel's queue is too long here")
			}
			if whose == "ours" && !long() {
				t.Skip("200 000 events are for the long form")
			}
			testOverflow(t, whose == "kernel", renames)
		})
	}
}

func testOverflow(t *testing.T, kernels bool, renames int) {
	f := &faults{}
	h := faulty(t, f, quiet)
	h.fillTree(500)
	h.open()
	before := h.sync(h.inbox)
	if !h.inbox.disk.live {
		t.Fatal("the mailbox is not watched")
	}
	var scans atomic.Int32
	f.on(func(op operation) error {
		if op.kind == "scan" && op.dir == "example.org/ana/Maildir/cur" {
			scans.Add(1)
		}
		return nil
	})
	w := h.store.watch
	if kernels {
		w.mu.Lock() // nobody reads what the kernel has
	}
	names := h.files("cur")
	for i := range renames {
		k := i % len(names)
		to := toggled(names[k])
		h.rename("cur/"+names[k], "cur/"+to)
		names[k] = to
	}
	h.remove("cur/" + names[3])
	h.put("new/1900000000.M1P1.x", testMessage(1))
	if kernels {
		w.mu.Unlock()
	}
	_ = w.silent(h.inbox) // reads what there is
	w.mu.Lock()
	lost := h.inbox.queue.lost
	w.mu.Unlock()
	s := h.lookNow(false)
	if n := scans.Load(); !lost || n != 1 {
		t.Errorf("after %d renames events were lost: %v; cur/ was read %d times, want once", renames, lost, n)
	}
	if s.Len() != 500 || s.UIDNext() != before.UIDNext()+1 {
		t.Errorf("%d messages, UIDNEXT %d after %d", s.Len(), s.UIDNext(), before.UIDNext())
	}
	h.agrees(s)
	// From then on events tell again.
	h.rename("cur/"+names[0], "cur/"+toggled(names[0]))
	h.agrees(h.lookNow(false))
	if scans.Load() != 1 {
		t.Errorf("cur/ was read %d times, want once", scans.Load())
	}
}
