package maildir

import (
	"path/filepath"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// A folder that another program renames keeps its UIDs, whether it is open or not,
// and a copied one gets an identity of its own.
func TestCase16RenamedAndCopiedFolders(t *testing.T) {
	for _, open := range []bool{true, false} {
		h := newHarness(t).open()
		arch := h.mailbox("Archive")
		h.append(arch, 3, FlagSeen)
		if _, err := arch.Expunge(h.ctx(), []UID{1}); err != nil {
			t.Fatal(err)
		}
		v, id := arch.State().UIDValidity(), arch.ID()
		if !open {
			arch.Close()
			h.restart()
		}
		h.rename(".Archive", ".Moved")
		m := h.mailbox("Moved")
		h.check(m.State(), "2 S", "3 S")
		if m.State().UIDValidity() != v || m.ID() != id {
			t.Errorf("open %v: UIDVALIDITY %d, was %d; %s, was %s", open, m.State().UIDValidity(), v, m.ID(), id)
		}
		h.append(m, 1, FlagFlagged)
		if out, err := child.Command(t, time.Minute, "cp", "-a", filepath.Join(h.root, ".Moved"), filepath.Join(h.root, ".Copy")).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v %s", err, out)
		}
		c := h.mailbox("Copy")
		if c.State().Len() != 3 || c.State().UIDValidity() == v || c.ID() == id {
			t.Errorf("the copy has %d messages, UIDVALIDITY %d, %s", c.State().Len(), c.State().UIDValidity(), c.ID())
		}
		c.Close()
		m.Close()
		if open {
			arch.Close()
		}
		h.restart()
		m = h.mailbox("Moved")
		h.check(m.State(), "2 S", "3 S", "4 F")
		m.Close()
	}
}

// A tree that was removed and put back has other inodes, and another folder may
// have got the one that this folder had: it is no copy for that.
func TestCase16InodeOfAnotherFolder(t *testing.T) {
	h := newHarness(t).open()
	a := h.mailbox("Archive")
	h.append(a, 3, FlagSeen)
	if _, err := a.Expunge(h.ctx(), []UID{2}); err != nil {
		t.Fatal(err)
	}
	id, validity := a.ID(), a.State().UIDValidity()
	a.Close()
	h.close()
	h.shell("mkdir hold; mv .Archive/* hold; mv .Sent/* .Archive; mv hold/* .Sent; rmdir hold; mv .Archive hold; mv .Sent .Archive; mv hold .Sent")
	h.open()
	a = h.mailbox("Archive")
	defer a.Close()
	h.check(h.sync(a), "1 S", "3 S")
	if a.ID() != id || a.State().UIDValidity() != validity {
		t.Errorf("GUID %s, was %s; UIDVALIDITY %d, was %d", a.ID(), id, a.State().UIDValidity(), validity)
	}
}
