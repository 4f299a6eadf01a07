package maildir

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

func TestZZDev(t *testing.T) {
	dir := os.Getenv("DEV_TREE")
	if dir == "" {
		t.Skip()
	}
	h := &harness{t: t, dir: dir}
	h.root = filepath.Join(dir, "mail", "example.org", "ana", "Maildir")
	h.cfg = Config{Mail: filepath.Join(dir, "mail"), State: filepath.Join(dir, "state"), Host: "test"}
	quiet(&h.cfg)
	defer h.close()
	if os.Getenv("DEV_FRESH") != "" {
		os.RemoveAll(h.cfg.State)
		os.Remove(filepath.Join(h.root, uidlistFile))
	}
	step := func(what string, fn func()) {
		if p := os.Getenv("DEV_PROF"); p != "" && p == what {
			f, _ := os.Create("/tmp/scale/dev.pprof")
			pprof.StartCPUProfile(f)
			defer func() { pprof.StopCPUProfile(); f.Close() }()
		}
		start := time.Now()
		fn()
		took := time.Since(start)
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		peak := ms.HeapSys >> 20
		runtime.GC()
		runtime.ReadMemStats(&ms)
		t.Logf("%-28s %10v   heap %4d MB, at most %4d MB from the system, gc %d", what, took.Round(10*time.Microsecond), ms.HeapAlloc>>20, peak, ms.NumGC)
	}
	step("open", func() { h.open() })
	n := h.inbox.State().Len()
	t.Log(n)
	step("noop", func() { h.sync(h.inbox) })
	step("close", func() { h.close() })
	step("reopen", func() { h.open() })
	uids := h.inbox.State().UIDs()[:min(n, 50_000)]
	for i := range 2 {
		step("store", func() {
			if _, err := h.inbox.Store(h.ctx(), uids, Change{Op: Add + Op(i), Flags: FlagFlagged}); err != nil {
				t.Fatal(err)
			}
		})
		step("noop after", func() { h.sync(h.inbox) })
	}
	if os.Getenv("DEV_MORE") == "" {
		return
	}
	step("close", func() { h.close() })
	name := h.files("cur")[5]
	h.rename("cur/"+name, "cur/"+name+"P")
	step("changed", func() { h.open() })
	h.rename("cur/"+name+"P", "cur/"+name)
}
