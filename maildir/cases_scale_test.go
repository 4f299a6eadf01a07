package maildir

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Case 38 in numbers is `make bench-store`, beside Dovecot. Here is what makes those
// numbers: nothing that is done for every command grows with the folder.

// opening lists what the disk is asked when a user comes back to a folder of n
// messages that nobody touched, has a look, changes one and reads it.
func opening(t *testing.T, n int) (open, noop, change []string) {
	f := &faults{}
	h := faulty(t, f, quiet)
	h.fillTree(n)
	h.open()
	h.restart() // the first look is in the index
	h.close()
	asked := func(do func()) (all []string) {
		f.on(func(op operation) error {
			_, where, _ := strings.Cut(op.dir, "Maildir")
			all = append(all, op.kind+" "+where)
			return nil
		})
		defer f.on(nil)
		do()
		return all
	}
	open = asked(func() { h.open() })
	if h.inbox.State().Len() != n {
		t.Fatalf("%d messages of %d", h.inbox.State().Len(), n)
	}
	noop = asked(func() { h.sync(h.inbox) })
	change = asked(func() {
		if _, err := h.inbox.Store(h.ctx(), []UID{UID(n / 2)}, Change{Op: Replace, Flags: FlagDraft}); err != nil {
			t.Fatal(err)
		}
		h.sync(h.inbox)
		h.read(h.inbox, UID(n/2))
	})
	return open, noop, change
}

func TestCase38NothingGrowsWithTheFolder(t *testing.T) {
	smallOpen, smallNoop, smallChange := opening(t, 20)
	open, noop, change := opening(t, ifLong(30_000, 4000))
	for _, both := range []struct {
		what         string
		small, large []string
	}{{"opening", smallOpen, open}, {"NOOP", smallNoop, noop}, {"STORE and FETCH of one", smallChange, change}} {
		if !slices.Equal(both.small, both.large) {
			t.Errorf("%s of a small folder asks the disk\n\t%s\nand of a large one\n\t%s", both.what, strings.Join(both.small, "\n\t"), strings.Join(both.large, "\n\t"))
		}
		for _, op := range both.large {
			if op == "scan /cur" || op == "scan /new" {
				t.Errorf("%s reads the directory: %s", both.what, op)
			}
		}
	}
	if len(noop) > 0 {
		t.Errorf("NOOP asks the disk: %q", noop)
	}
	if !slices.Contains(change, "rename /cur") || !slices.Contains(change, "open /cur") {
		t.Errorf("the test sees nothing of a STORE and a FETCH: %q", change)
	}
}

// What a folder needs on the heap is less than 50 bytes a message: its columns and
// names are in mapped memory.
func TestCase38Heap(t *testing.T) {
	n := ifLong(100_000, 10_000)
	h := newHarness(t, quiet)
	h.fillTree(n)
	h.open()
	h.close()
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what had finalizers goes at the second
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return int64(ms.HeapAlloc)
	}
	before := heap()
	h.open()
	h.sync(h.inbox)
	if each := (heap() - before) / int64(n); each > 50 {
		t.Errorf("an open folder of %d messages takes %d bytes of the heap for each", n, each)
	}
	if h.inbox.State().Len() != n {
		t.Errorf("%d messages of %d", h.inbox.State().Len(), n)
	}
}

// While one session changes many flags, the others have their answers.
func TestCase38OthersAreServedDuringAStore(t *testing.T) {
	f := &faults{}
	h := faulty(t, f, quiet)
	h.fillTree(2000)
	h.open()
	inside, goOn := make(chan struct{}), make(chan struct{})
	renames := 0
	f.on(func(op operation) error {
		if op.kind == "rename" && strings.HasSuffix(op.dir, "/cur") {
			if renames++; renames == 700 { // in the second of its parts
				close(inside)
				<-goOn
			}
		}
		return nil
	})
	stored := make(chan error, 1)
	go func() {
		_, err := h.inbox.Store(h.ctx(), h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagFlagged})
		stored <- err
	}()
	served := make(chan struct{})
	go func() {
		defer close(served)
		<-inside
		s := h.sync(h.inbox)
		if s.Len() != 2000 || s.Message(0).Flags&FlagFlagged == 0 || s.Message(1999).Flags&FlagFlagged != 0 {
			t.Error("a session does not see the part that is done, and no more")
		}
		h.read(h.inbox, 3)
		h.read(h.inbox, 1990)
		if _, err := h.user.Status(h.ctx(), "INBOX"); err != nil {
			t.Error(err)
		}
		h.deliver(testMessage(7))
	}()
	select {
	case <-served:
	case <-time.After(2 * time.Minute):
		t.Error("others wait for the whole STORE")
	}
	close(goOn)
	if err := <-stored; err != nil {
		t.Error(err)
	}
	f.on(nil)
	if s := h.sync(h.inbox); s.Len() != 2001 || s.Message(1999).Flags&FlagFlagged == 0 {
		t.Errorf("%d messages in the end", s.Len())
	}
	h.agrees(h.sync(h.inbox))
}
