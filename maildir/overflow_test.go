package maildir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// crowded is a mailbox whose letters are all given.
func crowded(h *harness) *harness {
	h.t.Helper()
	var letters []string
	for i := range letterKeywords {
		letters = append(letters, fmt.Sprint("Letter", i))
	}
	h.append(h.inbox, 1, FlagSeen, letters...)
	return h
}

// overflow returns the keywords without a letter of a message.
func (h *harness) overflow(uid UID) []string {
	h.t.Helper()
	s := h.sync(h.inbox)
	i, ok := s.Find(uid)
	if !ok {
		h.t.Fatalf("there is no UID %d", uid)
	}
	_, keywords := s.overflowOf(i)
	return keywords
}

// withoutIndex opens the mailbox again after its index is lost.
func (h *harness) withoutIndex() {
	h.t.Helper()
	h.close()
	if err := os.RemoveAll(h.cfg.State); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

// The 27th keyword is on disk like the others: it survives the index, a new base of
// its message's file, and is not there for another message that gets the name.
func TestCase39TwentySeventhKeyword(t *testing.T) {
	h := crowded(newHarness(t).open())
	h.put("new/msg.1", testMessage(1))
	h.put("cur/1700000001.M1P1.x:2,S", testMessage(2))
	h.sync(h.inbox)
	if _, err := h.inbox.Store(h.ctx(), []UID{2, 3}, Change{Op: Add, Keywords: []string{"More", "Letter3"}}); err != nil {
		t.Fatal(err)
	}
	h.rename("cur/1700000001.M1P1.x:2,Sd", "cur/1700000001.M1P1.x,U=3:2,Sd")
	if got := h.overflow(3); !slices.Equal(got, []string{"More"}) {
		t.Errorf("after a new base: %q", got)
	}
	h.withoutIndex()
	for _, uid := range []UID{2, 3} {
		if got := h.overflow(uid); !slices.Equal(got, []string{"More"}) {
			t.Errorf("UID %d without the index: %q", uid, got)
		}
	}
	if _, err := h.inbox.Expunge(h.ctx(), []UID{2}); err != nil {
		t.Fatal(err)
	}
	h.remove("cur/1700000001.M1P1.x,U=3:2,Sd")
	h.sync(h.inbox)
	h.put("new/msg.1", testMessage(3))
	h.put("cur/1700000001.M1P1.x,U=3:2,Sd", testMessage(4))
	h.sync(h.inbox)
	h.withoutIndex()
	h.check(h.sync(h.inbox), append(firstOf(h), "4 -", "5 S Letter3")...)
}

func firstOf(h *harness) []string {
	return []string{"1 S " + strings.Join(h.inbox.State().keywords[:letterKeywords], " ")}
}

// Where the file of keywords cannot be written the answer says so, and nobody is shown a
// keyword that is nowhere.
func TestCase25NoSpaceForKeywordsWithoutLetter(t *testing.T) {
	f := &faults{}
	h := crowded(faulty(t, f).open())
	f.on(func(op operation) error {
		if op.changes && op.name == overflowFile {
			return unix.ENOSPC
		}
		return nil
	})
	if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Keywords: []string{"More"}}); !errors.Is(err, ErrFull) {
		t.Errorf("STORE: %v", err)
	}
	st := h.stage(testMessage(1))
	if _, err := h.inbox.Append(h.ctx(), []Append{{Staged: st, Keywords: []string{"More"}}}); !errors.Is(err, ErrFull) {
		t.Errorf("APPEND: %v", err)
	}
	st.Discard()
	f.on(nil)
	if s := h.sync(h.inbox); s.Len() != 1 || len(h.overflow(1)) > 0 {
		t.Errorf("%d messages, the first has %q", s.Len(), h.overflow(1))
	}
}

// The file does not grow with what is history.
func TestOverflowIsWrittenAgain(t *testing.T) {
	h := crowded(newHarness(t, quiet).open())
	h.append(h.inbox, 2, 0, "More")
	var lines strings.Builder
	for i := range 2 * overflowHistory {
		fmt.Fprintf(&lines, "gone%d\ngone%d More\n", i%7, i%7)
	}
	base, _ := h.inbox.State().overflowOf(1)
	h.close()
	was, err := os.ReadFile(h.path(overflowFile))
	if err != nil {
		t.Fatal(err)
	}
	h.put(overflowFile, lines.String()+string(was))
	h.open()
	if got := h.overflow(2); !slices.Equal(got, []string{"More"}) {
		t.Errorf("UID 2 has %q", got)
	}
	now, err := os.ReadFile(h.path(overflowFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(now), "\n"); n != 2 || !strings.Contains(string(now), base+" More\n") {
		t.Errorf("%d lines:\n%.200s", n, now)
	}
	h.withoutIndex()
	if got := h.overflow(3); !slices.Equal(got, []string{"More"}) {
		t.Errorf("UID 3 has %q without the index", got)
	}
}
