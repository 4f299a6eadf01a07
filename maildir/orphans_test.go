package maildir

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// indexes counts a user's indexes, and says whether the one with a GUID is there.
func (h *harness) indexes(guid string) (n int, there bool) {
	h.t.Helper()
	dirs, err := os.ReadDir(filepath.Join(h.cfg.State, "example.org", "ana"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() {
			n++
			there = there || d.Name() == guid
		}
	}
	return n, there
}

func TestIndexesOfRemovedFoldersAreSwept(t *testing.T) {
	clock := newTestClock()
	h := newHarness(t, quiet, func(c *Config) { c.Now = clock.time }).open()
	for _, name := range []string{"Gone", "Kept"} {
		if err := h.user.Create(h.ctx(), name, ""); err != nil {
			t.Fatal(err)
		}
		m := h.mailbox(name)
		h.append(m, 3, FlagSeen, "Key")
		m.Close()
	}
	m := h.mailbox("Gone")
	guid, highest := m.ID(), m.State().HighestModSeq()
	m.Close()
	all, _ := h.indexes(guid)
	aside := filepath.Join(t.TempDir(), "aside")
	remove := func() {
		t.Helper()
		if out, err := exec.Command("cp", "-a", h.path(".Gone"), aside).CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
		if err := os.RemoveAll(h.path(".Gone")); err != nil {
			t.Fatal(err)
		}
	}
	restore := func() {
		t.Helper()
		if out, err := exec.Command("mv", aside, h.path(".Gone")).CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
	}
	expect := func(when string, want bool) {
		t.Helper()
		n, there := h.indexes(guid)
		if there != want || !want && n != all-1 || want && n != all {
			t.Errorf("%s: its index is there: %v, want %v; there are %d, were %d", when, there, want, n, all)
		}
	}
	remove()
	h.restart()
	expect("removed", true)
	clock.add(orphanAge - time.Minute)
	h.restart()
	expect("within a day", true)
	restore()
	m = h.mailbox("Gone")
	if s := m.State(); s.Len() != 3 || s.HighestModSeq() < highest {
		t.Errorf("%d messages, HIGHESTMODSEQ %d after %d", s.Len(), s.HighestModSeq(), highest)
	}
	m.Close()

	// While the tree is open nothing is swept, however long that is.
	clock.add(2 * orphanAge)
	h.restart()
	remove()
	clock.add(2 * orphanAge)
	h.names()
	h.restart()
	expect("seen once", true)
	// As long as one folder's GUID is not known its index might be any.
	h.rename(".Kept/dovecot-uidlist", ".Kept/list")
	h.put(".Kept/dovecot-uidlist", "nonsense\n")
	clock.add(2 * orphanAge)
	h.restart()
	expect("with a damaged uidlist", true)
	h.rename(".Kept/list", ".Kept/dovecot-uidlist")
	h.restart()
	expect("seen twice", false)

	restore()
	m = h.mailbox("Gone")
	defer m.Close()
	h.check(m.State(), "1 S Key", "2 S Key", "3 S Key")
}
