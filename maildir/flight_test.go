package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// inFlight is a mailbox of 2000 messages, and something that happens just before the
// 900th rename of a STORE of all of them, when flocks before it and behind are in flight.
func inFlight(t *testing.T, blind bool, happen func(h *harness, f *faults) error) *harness {
	f := &faults{blind: blind}
	h := faulty(t, f, quiet)
	h.fillTree(2000)
	h.open()
	var renames atomic.Int32
	f.on(func(op operation) error {
		if op.kind == "rename" && strings.HasSuffix(op.dir, "/cur") && renames.Add(1) == 900 {
			return happen(h, f)
		}
		return nil
	})
	return h
}

// fileOf is a message's file at this moment, as it is on the disk.
func (h *harness) fileOf(uid UID) string {
	h.t.Helper()
	return h.onlyFile(fmt.Sprintf("cur/*P77Q%dR*", uid-1))
}

func (h *harness) onlyFile(pattern string) string {
	h.t.Helper()
	names, _ := filepath.Glob(h.path(pattern))
	if len(names) != 1 {
		h.t.Fatalf("%s: %q", pattern, names)
	}
	name, _ := filepath.Rel(h.root, names[0])
	return name
}

// Others flag, remove, hide and add messages while files are in flight: those that are
// renamed, those that are published and those whose turn comes.
func TestOthersChangeWhatIsInFlight(t *testing.T) {
	touched := []UID{3, 450, 700, 850, 899, 901, 950, 1100, 1300, 1999}
	removed := []UID{5, 460, 750, 880, 910, 1010, 1200, 1400, 1998}
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprint("blind=", blind), func(t *testing.T) {
			h := inFlight(t, blind, func(h *harness, _ *faults) error {
				for _, uid := range touched {
					name := h.fileOf(uid)
					base, letters, _ := strings.Cut(name, ":2,")
					h.rename(name, base+":2,F"+letters)
				}
				for _, uid := range removed {
					h.remove(h.fileOf(uid))
				}
				h.put("tmp/1700009999.M1P1.x", testMessage(1))
				h.rename("tmp/1700009999.M1P1.x", "cur/1700009999.M1P1.x:2,T")
				return nil
			})
			before := h.inbox.State()
			res, err := h.inbox.Store(h.ctx(), before.UIDs(), Change{Op: Add, Flags: FlagDraft})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(res.Gone) {
				t.Errorf("gone: %v", res.Gone)
			}
			s := h.rescan()
			for _, uid := range before.UIDs() {
				i, ok := s.Find(uid)
				if ok == slices.Contains(removed, uid) {
					t.Errorf("UID %d is there: %v", uid, ok)
					continue
				}
				if !ok {
					continue
				}
				if fl := s.Message(i).Flags; fl&FlagDraft == 0 || fl&FlagFlagged != 0 != slices.Contains(touched, uid) {
					t.Errorf("UID %d has %s", uid, flagText(fl))
				}
			}
			for _, uid := range res.Gone {
				if !slices.Contains(removed, uid) {
					t.Errorf("UID %d is said to be gone", uid)
				}
			}
			if s.Len() != 2001-len(removed) || s.UIDNext() != 2002 {
				t.Errorf("%d messages, UIDNEXT %d", s.Len(), s.UIDNext())
			}
			h.agrees(s)
			h.invariants(s)
		})
	}
}

// What others do is told while a large STORE goes on, not at its end.
func TestNewsOfOthersDuringAStore(t *testing.T) {
	var h *harness
	told := make(chan struct{})
	var seen atomic.Bool
	h = inFlight(t, false, func(h *harness, f *faults) error {
		name := h.fileOf(7)
		h.rename(name, name+"T")
		more := 0
		f.on(func(op operation) error {
			if op.kind == "rename" && strings.HasSuffix(op.dir, "/cur") {
				// A thousand are left: the news must come before the last.
				if more++; more == 1000 {
					seen.Store(h.inbox.State().Message(6).Flags&FlagDeleted != 0)
					close(told)
				}
			}
			return nil
		})
		return nil
	})
	if _, err := h.inbox.Store(h.ctx(), h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagDraft}); err != nil {
		t.Fatal(err)
	}
	<-told
	if !seen.Load() {
		t.Error("the STORE kept the news of others to itself")
	}
	h.agrees(h.rescan())
}

// Who waits for the mailbox gets it before a large STORE is through.
func TestAFlightLandsForWhoWaits(t *testing.T) {
	waiting := make(chan error, 1)
	got := make(chan int, 1)
	h := inFlight(t, false, func(h *harness, _ *faults) error {
		go func() {
			err := h.inbox.lock.lock(h.ctx())
			if err == nil {
				answered := 0
				s := h.inbox.State()
				for i := range s.Len() {
					if s.Message(i).Flags&FlagDraft != 0 {
						answered++
					}
				}
				h.agrees(s)
				got <- answered
				h.inbox.lock.unlock()
			}
			waiting <- err
		}()
		for !h.inbox.lock.wanted() {
			runtime.Gosched() // until he is in the queue
		}
		return nil
	})
	if _, err := h.inbox.Store(h.ctx(), h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagDraft}); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	if n := <-got; n < 900 || n > 900+flocks*flockSize {
		t.Errorf("he got it after %d", n)
	}
}

// An error that is not of one message alone ends the STORE; what was renamed is told.
func TestAnErrorInFlight(t *testing.T) {
	h := inFlight(t, false, func(h *harness, f *faults) error {
		f.on(func(op operation) error {
			if op.kind == "rename" {
				return unix.ENOSPC
			}
			return nil
		})
		return unix.ENOSPC
	})
	res, err := h.inbox.Store(h.ctx(), h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagDraft})
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	drafts := 0
	for i := range res.State.Len() {
		if res.State.Message(i).Flags&FlagDraft != 0 {
			drafts++
		}
	}
	if drafts != 899 {
		t.Errorf("%d of 899 changes are in the state", drafts)
	}
	h.agrees(h.rescan())
}

// One whose client has gone is not served to the end.
func TestAFlightThatNobodyWaitsFor(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	h := inFlight(t, false, func(*harness, *faults) error { cancel(); return nil })
	if _, err := h.inbox.Store(ctx, h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagDraft}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s := h.rescan()
	h.agrees(s)
	if s.Message(1999).Flags&FlagDraft != 0 || s.Message(898).Flags&FlagDraft == 0 {
		t.Error("it went on, or what was done is not told")
	}
}

// UNCHANGEDSINCE, messages that are gone, and those that stay as they are, among many.
func TestALargeStoreLeavesOut(t *testing.T) {
	h := newHarness(t, quiet)
	h.fillTree(600)
	h.open()
	since := h.inbox.State().HighestModSeq()
	if _, err := h.inbox.Store(h.ctx(), []UID{2, 300, 600}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.inbox.Expunge(h.ctx(), []UID{9, 599}); err != nil {
		t.Fatal(err)
	}
	uids := make([]UID, 600)
	for i := range uids {
		uids[i] = UID(i + 1)
	}
	res, err := h.inbox.Store(h.ctx(), uids, Change{Op: Add, Flags: FlagSeen, Keywords: []string{"Work"}, UnchangedSince: &since})
	if err != nil || !slices.Equal(res.Modified, []UID{2, 300, 600}) || !slices.Equal(res.Gone, []UID{9, 599}) {
		t.Fatalf("%v %v %v", res.Modified, res.Gone, err)
	}
	s := h.rescan()
	for i := range s.Len() {
		msg := s.Message(i)
		if changed := msg.Keywords == 1 && msg.Flags&FlagSeen != 0; changed == slices.Contains(res.Modified, msg.UID) {
			t.Errorf("UID %d has %s and keywords %b", msg.UID, flagText(msg.Flags), msg.Keywords)
		}
	}
	h.agrees(s)
	names := h.files("cur")
	again, err := h.inbox.Store(h.ctx(), s.UIDs(), Change{Op: Add, Keywords: []string{"Work"}})
	if err != nil || len(again.Gone) > 0 {
		t.Fatal(again.Gone, err)
	}
	if now := h.files("cur"); len(now) != len(names) {
		t.Errorf("%d files, before %d", len(now), len(names))
	}
	h.agrees(h.rescan())
}

// Events of our own go, those of others stay in their order.
func TestDropEvents(t *testing.T) {
	var q eventQueue
	for _, name := range []string{"a", "bcd", "ef", "ghij"} {
		q.names = append(q.names, name...)
		q.list = append(q.list, queuedEvent{end: uint32(len(q.names)), present: name == "ef"})
	}
	q.drop(2)
	q.names = append(q.names, "k"...)
	q.list = append(q.list, queuedEvent{end: uint32(len(q.names))})
	var got []string
	for e := range q.all() {
		got = append(got, fmt.Sprint(e.name, e.present))
	}
	if want := []string{"eftrue", "ghijfalse", "kfalse"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The messages of a large STORE whose names leave no room do not hold up the others.
func TestLongNamesInFlight(t *testing.T) {
	h := newHarness(t, quiet)
	h.fillTree(600)
	long := "1600000000.M1P1Q1." + strings.Repeat("x", 255-len("1600000000.M1P1Q1.")-len(":2,"))
	if err := os.WriteFile(h.path("cur/"+long+":2,"), []byte(testMessage(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.open()
	res, err := h.inbox.Store(h.ctx(), h.inbox.State().UIDs(), Change{Op: Add, Flags: FlagFlagged})
	if err != nil || len(res.Gone) > 0 {
		t.Fatal(res.Gone, err)
	}
	s := h.rescan()
	for i := range s.Len() {
		if s.Message(i).Flags&FlagFlagged == 0 {
			t.Errorf("UID %d is not flagged", s.uids[i])
		}
	}
	if s.Len() != 601 || s.UIDNext() != 602 {
		t.Errorf("%d messages, UIDNEXT %d", s.Len(), s.UIDNext())
	}
	h.agrees(s)
}
