package maildir

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestMillion prints what a folder of BUZON_MILLION messages costs.
func TestMillion(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("BUZON_MILLION"))
	if err != nil {
		t.Skip("set BUZON_MILLION to the number of messages")
	}
	h := newHarness(t, quiet)
	h.fillTree(n)
	step := func(what string, fn func()) {
		start := time.Now()
		fn()
		took := time.Since(start)
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		peak := ms.HeapSys >> 20
		runtime.GC()
		runtime.ReadMemStats(&ms)
		t.Logf("%-28s %10v   heap %4d MB, at most %4d MB from the system", what, took.Round(10*time.Microsecond), ms.HeapAlloc>>20, peak)
	}
	step("first look", func() { h.open() })
	step("noop", func() { h.sync(h.inbox) })
	step("close", func() { h.close() })
	step("open unchanged", func() { h.open() })
	step("noop", func() { h.sync(h.inbox) })
	uids := h.inbox.State().UIDs()[:min(n, 50_000)]
	step("store of 50 000", func() {
		if _, err := h.inbox.Store(h.ctx(), uids, Change{Op: Add, Flags: FlagFlagged}); err != nil {
			t.Fatal(err)
		}
	})
	step("noop after it", func() { h.sync(h.inbox) })
	step("open one message", func() { h.read(h.inbox, uids[7]) })
	step("expunge one", func() {
		if _, err := h.inbox.Expunge(h.ctx(), uids[:1]); err != nil {
			t.Fatal(err)
		}
	})
	step("close", func() { h.close() })
	name := h.files("cur")[5]
	h.rename("cur/"+name, "cur/"+name+"P")
	step("open after a change outside", func() { h.open() })
	if h.inbox.State().Len() != n-1 {
		t.Errorf("%d messages", h.inbox.State().Len())
	}
}
