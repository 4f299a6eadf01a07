package maildir

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// indexDir is the directory of INBOX's index.
func (h *harness) indexDir() string {
	return filepath.Join(h.cfg.State, "example.org", "ana", h.inbox.ID())
}

// work makes a mailbox with some of everything in its log, and returns what it
// has then.
func (h *harness) work() []string {
	h.t.Helper()
	h.append(h.inbox, 6, FlagSeen, "One", "Two")
	h.deliver(testMessage(7))
	if _, err := h.inbox.ClaimRecent(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.inbox.Store(h.ctx(), []UID{1, 7}, Change{Op: Replace, Flags: FlagAnswered, Keywords: []string{"Three"}}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.inbox.Expunge(h.ctx(), []UID{2, 3, 5}); err != nil {
		h.t.Fatal(err)
	}
	want := []string{"1 R Three", "4 S One Two", "6 S One Two", "7 R Three"}
	h.check(h.sync(h.inbox), want...)
	return want
}

func TestReopenKeepsModSeqAndHistory(t *testing.T) {
	h := newHarness(t).open()
	want := h.work()
	s := h.inbox.State()
	since := s.Message(1).ModSeq
	var modseqs []ModSeq
	for i := range s.Len() {
		modseqs = append(modseqs, s.Message(i).ModSeq)
	}
	highest := s.HighestModSeq()
	for range 3 {
		h.restart()
		s = h.inbox.State()
		h.check(s, want...)
		for i := range s.Len() {
			if s.Message(i).ModSeq != modseqs[i] {
				t.Errorf("UID %d has modseq %d, had %d", s.UIDs()[i], s.Message(i).ModSeq, modseqs[i])
			}
		}
		if s.HighestModSeq() != highest {
			t.Errorf("HIGHESTMODSEQ %d, was %d", s.HighestModSeq(), highest)
		}
		gone, complete := h.inbox.VanishedSince(since)
		if !complete || !slices.Equal(gone, []UIDRange{{2, 3}, {5, 5}}) {
			t.Errorf("vanished %v, complete %v", gone, complete)
		}
		if !h.inbox.disk.scanned {
			t.Error("the mailbox was not known to be unchanged")
		}
		if err := h.inbox.lockedCompact(); err != nil {
			t.Fatal(err)
		}
		h.check(h.inbox.State(), want...)
	}
}

func (m *Mailbox) lockedCompact() error {
	_ = m.lock.lock(m.user.store.ctx)
	defer m.lock.unlock()
	return m.compact()
}

func TestChangeWhileClosedIsSeen(t *testing.T) {
	h := newHarness(t).open()
	h.work()
	h.close()
	name := h.files("cur")[0]
	h.rename("cur/"+name, "cur/"+name+"T")
	h.open()
	if h.inbox.State().Deleted() != 1 {
		t.Error("the flag was not seen")
	}
}

// Whatever happens to the index, UIDs, flags and keywords stay, and HIGHESTMODSEQ
// never goes back.
func TestCase34DamagedIndex(t *testing.T) {
	h := newHarness(t).open()
	want := h.work()
	highest := h.inbox.State().HighestModSeq()
	dir := h.indexDir()
	h.close()
	rng := rand.New(rand.NewPCG(1, 2))
	damage := func(what string, change func(path string, data []byte)) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			change(path, data)
		}
		h.open()
		s := h.inbox.State()
		h.check(s, want...)
		if s.HighestModSeq() < highest {
			t.Errorf("%s: HIGHESTMODSEQ %d went back to %d", what, highest, s.HighestModSeq())
		}
		highest = s.HighestModSeq()
		if gone, complete := h.inbox.VanishedSince(highest - 1); complete && len(gone) > 0 && t.Failed() {
			t.Log(gone)
		}
		h.close()
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		damage("flipped byte", func(path string, data []byte) {
			if len(data) > 0 {
				data[rng.IntN(len(data))] ^= byte(1 + rng.IntN(255))
				write(path, data)
			}
		})
	}
	for range 20 {
		damage("truncated", func(path string, data []byte) {
			if len(data) > 0 {
				write(path, data[:rng.IntN(len(data))])
			}
		})
	}
	damage("empty", func(path string, data []byte) { write(path, nil) })
	damage("removed", func(path string, data []byte) { os.Remove(path) })
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.check(h.inbox.State(), want...)
}

func TestParsedSurvivesRestart(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 2, FlagSeen)
	a, err := h.inbox.Parsed(h.ctx(), 2, ParseAll, nil)
	if err != nil || len(a.Envelope) == 0 {
		t.Fatal(a, err)
	}
	for range 2 {
		h.restart()
		s := h.inbox.State()
		p := h.inbox.parseFile().get(s, 1, &ParsedBuffer{})
		if p == nil || string(p.Envelope) != string(a.Envelope) || string(p.BodyStructure) != string(a.BodyStructure) {
			t.Errorf("cache has %v", p)
		}
		if h.inbox.parseFile().get(s, 0, &ParsedBuffer{}) != nil {
			t.Error("cache has a message that was never parsed")
		}
		if err := h.inbox.lockedCompact(); err != nil {
			t.Fatal(err)
		}
	}
}

// Files of the index that somebody truncates while we serve from them cost a scan at
// the next open, and nothing at this moment.
func TestIndexTruncatedWhileServed(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 1000, FlagSeen)
	h.restart()
	if err := h.inbox.lockedCompact(); err != nil { // so that all of them are in the snapshot
		t.Fatal(err)
	}
	for _, uid := range []UID{3, 700} {
		if _, err := h.inbox.Parsed(h.ctx(), uid, ParseAll, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.restart()
	if s := h.inbox.State(); s.blocks[0].mapped == nil {
		t.Fatal("nothing is mapped: the test shows nothing")
	}
	if p := h.inbox.parseFile().get(h.inbox.State(), 699, &ParsedBuffer{}); p == nil {
		t.Fatal("nothing is cached: the test shows nothing")
	}
	files, err := filepath.Glob(filepath.Join(h.indexDir(), "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		if fi, err := os.Stat(name); err == nil && fi.Mode().IsRegular() {
			if err := os.Truncate(name, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func() {
		t.Helper()
		s := h.sync(h.inbox)
		h.invariants(s)
		if s.Len() != 1000 || s.Message(699).UID != 700 {
			t.Errorf("%d messages, row 699 is %d", s.Len(), s.Message(699).UID)
		}
		if h.read(h.inbox, 700) != testMessage(699) {
			t.Error("message 700 is another one")
		}
		if p, err := h.inbox.Parsed(h.ctx(), 700, ParseAll, nil); err != nil || len(p.Envelope) == 0 {
			t.Errorf("parsed: %+v, %v", p, err)
		}
	}
	look()
	if _, err := h.inbox.Store(h.ctx(), []UID{3}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
		t.Error(err)
	}
	look()
	h.restart()
	look()
	if f := h.inbox.State().Message(2).Flags; f != FlagSeen|FlagFlagged {
		t.Errorf("message 3 has %v", f)
	}
}
