package maildir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// list writes lines into INBOX's uidlist, as another server does.
func (h *harness) list(lines ...string) {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.root, uidlistFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		h.t.Fatal(err)
	}
}

// Another server lists a file between our look at the directory and our first look
// at the list: it has that UID, whatever else we give UIDs to.
func TestListedBeforeSeen(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprint("watched ", live), func(t *testing.T) {
			h := newHarness(t).open()
			h.append(h.inbox, 2, FlagSeen)
			h.close()
			// No index: everything is read for the first time.
			if err := os.RemoveAll(filepath.Join(h.dir, "state")); err != nil {
				t.Fatal(err)
			}
			h.open()
			m := h.inbox
			if !live {
				m.unwatch()
				m.disk.live, m.disk.scanned = false, false
			}
			m.uids.parsed = 0 // as if it was not read yet
			h.put("cur/1700000003.M1P1.other:2,S", testMessage(3))
			h.list("3 :1700000003.M1P1.other")
			// We append before we look again.
			if got := h.append(m, 1, FlagFlagged); got[0] != 4 {
				t.Errorf("our message has UID %d, want 4", got[0])
			}
			h.check(m.State(), "1 S", "2 S", "3 S", "4 F")
			h.check(h.sync(m), "1 S", "2 S", "3 S", "4 F")
		})
	}
}

// A message that has two lines goes under its first UID and comes under the last,
// with an index or without, and nobody's list is ever contradicted.
func TestListedTwice(t *testing.T) {
	for _, how := range []string{"open", "append", "reopened", "no index"} {
		t.Run(how, func(t *testing.T) {
			h := newHarness(t).open()
			h.append(h.inbox, 3, FlagSeen)
			old := h.inbox.State()
			base, _, _ := old.file(1)
			guid := old.GUID(1)
			want := []string{"1 S", "3 S", "4 S"}
			switch how {
			case "open":
				h.list("4 :" + base)
				h.mailbox("INBOX").Close()
			case "append":
				h.list("4 :" + base)
				h.append(h.inbox, 1, FlagDraft)
				want = append(want, "5 D")
			case "reopened":
				h.close()
				h.list("4 :" + base)
				h.open()
			case "no index":
				h.close()
				h.list("4 :" + base)
				if err := os.RemoveAll(filepath.Join(h.dir, "state")); err != nil {
					t.Fatal(err)
				}
				h.open()
			}
			s := h.sync(h.inbox)
			h.check(s, want...)
			if s.GUID(2) != guid || h.read(h.inbox, 4) != testMessage(1) {
				t.Errorf("message 4 is another one: GUID %s, was %s", s.GUID(2), guid)
			}
			if how == "append" {
				if c := h.inbox.Changes(old, s); len(c.Vanished) != 1 || c.Vanished[0] != 2 {
					t.Errorf("vanished %v, want 2", c.Vanished)
				}
			}
			h.restart()
			h.check(h.inbox.State(), want...)
		})
	}
}

// The index does not know of lines that nobody used yet, and of those the newest
// are remembered.
func TestNewLines(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 1, FlagSeen)
	m := h.inbox
	m.lines.put(uidRecord{uid: 2, base: "gone"})
	if l := m.accounted(); l.parsed != 0 {
		t.Errorf("the index would know of %d bytes with a line that nobody used", l.parsed)
	}
	for i := range 5 * maxNewLines {
		m.lines.put(uidRecord{uid: UID(10 + i), base: fmt.Sprint("b", i)})
	}
	if n := len(m.lines.files); n > 2*maxNewLines {
		t.Errorf("%d lines are remembered", n)
	}
	if _, ok := m.lines.files[fmt.Sprint("b", 5*maxNewLines-1)]; !ok {
		t.Error("the newest line is forgotten")
	}
}
