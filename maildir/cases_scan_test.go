package maildir

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"buzon/internal/durable"
)

// The cases of this file are about scans of a directory that others change
// meanwhile. The long runs are those of `make test-store`.

// long reports that the test has minutes, not a second.
func long() bool { return os.Getenv("BUZON_STORE_TESTS") == "long" }

func ifLong[T any](yes, no T) T {
	if long() {
		return yes
	}
	return no
}

// churn is another program that toggles flags by renaming files in cur/, as fast
// as rate says (renames per second; 0: as it can), until it is stopped. stop
// returns how many it made.
func (h *harness) churn(rate int) (stop func() int) {
	h.t.Helper()
	names := h.files("cur")
	dir := filepath.Join(h.root, "cur")
	quit, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { ended <- n }()
		rng := rand.New(rand.NewPCG(1, 1))
		var tick <-chan time.Time
		if rate > 0 {
			t := time.NewTicker(time.Second / time.Duration(rate))
			defer t.Stop()
			tick = t.C
		}
		for {
			select {
			case <-quit:
				return
			default:
			}
			if tick != nil {
				<-tick
			}
			i := rng.IntN(len(names))
			base, info := splitName(names[i])
			in := parseInfo(info)
			to := base + in.with(in.flags^FlagFlagged, in.letters)
			err := os.Rename(filepath.Join(dir, names[i]), filepath.Join(dir, to))
			if os.IsNotExist(err) { // the store was faster: the name is looked up
				if now, _ := filepath.Glob(filepath.Join(dir, base+":*")); len(now) == 1 {
					names[i] = filepath.Base(now[0])
				} else if len(now) == 0 && len(names) > 1 { // removed: a look-up each time would be a pause
					names = slices.Delete(names, i, i+1)
				}
				continue
			}
			if err != nil {
				h.t.Error(err)
				return
			}
			names[i] = to
			n++
		}
	}()
	return func() int { close(quit); return <-ended }
}

// watchForExpunges follows a mailbox as an idling client does, until it is
// stopped, and complains of every message that vanishes.
func (h *harness) watchForExpunges() (stop func()) {
	return h.watchForOtherExpunges(func(UID) bool { return false })
}

// watchForOtherExpunges is that where some messages may vanish: those that are removed.
func (h *harness) watchForOtherExpunges(removed func(UID) bool) (stop func()) {
	changed, done := listen(h.inbox)
	quit, ended := make(chan struct{}), make(chan struct{})
	last := h.inbox.State()
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			case <-changed:
			}
			now := h.inbox.State()
			c := h.inbox.Changes(last, now)
			c.Vanished = slices.DeleteFunc(c.Vanished, removed)
			if len(c.Vanished) > 0 || len(c.Added) > 0 {
				h.t.Errorf("%d messages vanished and %d came, and nobody removed any", len(c.Vanished), len(c.Added))
				return
			}
			last = now
		}
	}()
	return func() { close(quit); <-ended; done() }
}

// agrees checks that the state is what the names on disk say.
func (h *harness) agrees(s *State) {
	h.t.Helper()
	disk := map[string]string{}
	for _, d := range []string{"new", "cur"} {
		for _, name := range h.files(d) {
			base, info := splitName(name)
			disk[base] = d + info
		}
	}
	for i := range s.Len() {
		base, in, isNew := s.file(i)
		want := "cur" + in.raw
		if isNew {
			want = "new" + in.raw
		}
		if got, ok := disk[base]; !ok || got != want {
			h.t.Errorf("UID %d is %s on disk, and %s in the state", s.uids[i], got, want)
		}
		delete(disk, base)
	}
	for base := range disk {
		h.t.Errorf("%s is on disk only", base)
	}
	h.invariants(s)
}

// rescan has the next Sync read the directories as if it knew nothing of events.
func (h *harness) rescan() *State {
	h.t.Helper()
	return h.lookNow(true)
}

// lookNow is Sync without its patience: a slow machine may be at another look, for the
// poll, and Sync would not wait for it.
func (h *harness) lookNow(anew bool) *State {
	h.t.Helper()
	m := h.inbox
	if err := m.lock.lock(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
	defer m.lock.unlock()
	if anew {
		m.disk.scanned, m.disk.live = false, false
		m.settled.Store(false)
	}
	s, err := m.syncLocked(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func testChurn(t *testing.T, files, rate int, during time.Duration) {
	h := newHarness(t, quiet)
	h.fillTree(files)
	h.open()
	before := h.inbox.State()
	stopWatching := h.watchForExpunges()
	stop := h.churn(rate)
	// Scans, not events alone: a client that comes, a queue that overflows.
	scans := 0
	for deadline := time.Now().Add(during); time.Now().Before(deadline); scans++ {
		h.rescan()
	}
	renames := stop()
	var s *State
	h.eventually("the last flags", func() bool { s = h.lookNow(false); return h.inbox.quiet() })
	stopWatching()
	t.Logf("%d renames, %d scans", renames, scans)
	if s.Len() != files || s.UIDNext() != before.UIDNext() || s.UIDValidity() != before.UIDValidity() {
		t.Errorf("%d messages, UIDNEXT %d; there were %d, and %d", s.Len(), s.UIDNext(), files, before.UIDNext())
	}
	h.agrees(s)
}

func TestCase01FlagRenamesExpungeNothing(t *testing.T) {
	testChurn(t, ifLong(30_000, 2000), ifLong(50, 400), ifLong(60*time.Second, time.Second))
}

func TestCase02UnthrottledRenames(t *testing.T) {
	testChurn(t, ifLong(30_000, 2000), 0, ifLong(60*time.Second, time.Second))
}

// Every file is renamed at every boundary between two reads of the directories.
func TestCase03RenameInsideAScan(t *testing.T) {
	for _, how := range []string{"watched", "by stamps"} {
		t.Run(how, func(t *testing.T) {
			f := &faults{chunk: 512, blind: how == "by stamps"}
			h := faulty(t, f, quiet)
			files := ifLong(50, 16)
			h.fillTree(files)
			h.open()
			first := h.inbox.State()
			chunks := 0
			f.on(func(op operation) error {
				if op.kind == "chunk" {
					chunks++
				}
				return nil
			})
			h.rescan()
			names := h.files("cur")
			for at := range chunks {
				for i, name := range names {
					seen := 0
					to := toggled(name)
					f.on(func(op operation) error {
						if op.kind == "chunk" {
							if seen == at {
								h.rename("cur/"+name, "cur/"+to)
							}
							seen++
						}
						return nil
					})
					s := h.rescan()
					f.on(nil)
					names[i] = to
					if s.Len() != files || s.UIDNext() != first.UIDNext() {
						t.Fatalf("file %d at chunk %d: %d messages, UIDNEXT %d", i, at, s.Len(), s.UIDNext())
					}
					h.agrees(h.sync(h.inbox))
				}
			}
			t.Logf("%d renames in scans of %d chunks", chunks*files, chunks)
		})
	}
}

func toggled(name string) string {
	base, info := splitName(name)
	in := parseInfo(info)
	return base + in.with(in.flags^FlagFlagged, in.letters)
}

// A reader moves files between new/ and cur/ while the two are scanned.
func TestCase06MovesBetweenNewAndCur(t *testing.T) {
	for _, how := range []string{"watched", "by stamps"} {
		t.Run(how, func(t *testing.T) {
			f := &faults{chunk: 512, blind: how == "by stamps"}
			h := faulty(t, f, quiet).open()
			for i := range 12 {
				h.put(fmt.Sprintf("new/17000000%02d.M1P1.x", i), testMessage(i))
			}
			first := h.rescan()
			chunks := 0
			for at := 0; at <= chunks; at++ {
				for i := range 12 {
					seen := 0
					name := fmt.Sprintf("17000000%02d.M1P1.x", i)
					f.on(func(op operation) error {
						if op.kind != "chunk" {
							return nil
						}
						if seen++; seen != at+1 {
							return nil
						}
						// neomutt: forth when it is read, and back when it is
						// marked as new again.
						if _, err := os.Stat(filepath.Join(h.root, "new", name)); err == nil {
							h.rename("new/"+name, "cur/"+name+":2,S")
						} else {
							h.rename("cur/"+name+":2,S", "new/"+name)
						}
						return nil
					})
					s := h.rescan()
					f.on(nil)
					chunks = max(chunks, seen)
					if s.Len() != 12 || s.UIDNext() != first.UIDNext() {
						t.Fatalf("file %d at chunk %d: %d messages, UIDNEXT %d", i, at, s.Len(), s.UIDNext())
					}
					h.agrees(h.sync(h.inbox))
				}
			}
		})
	}
}

// The clock of the directories ticks so slowly that a change leaves no mark.
func TestCase13CoarseTimestamps(t *testing.T) {
	for _, granule := range []time.Duration{10 * time.Millisecond, time.Second} {
		t.Run(granule.String(), func(t *testing.T) {
			f := &faults{blind: true, remote: granule == time.Second}
			round := func(ns int64) int64 { return ns / int64(granule) * int64(granule) }
			h := faulty(t, f, quiet)
			h.before = chain(h.before, func(c *Config) {
				dir := c.MailDir.(*faultDir)
				dir.faults.self = func(in durable.Info) durable.Info {
					in.Mtime, in.Ctime = round(in.Mtime), round(in.Ctime)
					return in
				}
			})
			h.fillTree(5)
			h.open()
			for i := range 20 {
				name := h.files("cur")[i%5]
				h.sync(h.inbox)
				h.rename("cur/"+name, "cur/"+toggled(name)) // in the granule of the stamp just taken
				if i%2 == 0 {
					h.restart()
				}
				h.agrees(h.sync(h.inbox))
			}
			h.put("cur/1900000000.M1P1.x:2,", testMessage(1))
			h.restart()
			h.agrees(h.inbox.State())
		})
	}
}

func chain(all ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, f := range all {
			f(c)
		}
	}
}
