package maildir

import (
	"os"
	"testing"
)

// A uidlist that is removed while nobody has the mailbox open comes back from the
// index; that of a folder which was made anew does not.
func TestUIDListRemovedWhileClosed(t *testing.T) {
	h := newHarness(t, quiet).open()
	if err := h.user.Create(h.ctx(), "Work", ""); err != nil {
		t.Fatal(err)
	}
	m := h.mailbox("Work")
	h.append(m, 4, FlagSeen, "Key")
	if _, err := m.Expunge(h.ctx(), []UID{2, 4}); err != nil {
		t.Fatal(err)
	}
	validity, id := m.State().UIDValidity(), m.ID()
	m.Close()
	h.append(h.inbox, 2, FlagSeen)
	inboxValidity := h.inbox.State().UIDValidity()
	h.close()
	for _, list := range []string{".Work/" + uidlistFile, uidlistFile} {
		if err := os.Remove(h.path(list)); err != nil {
			t.Fatal(err)
		}
	}
	h.open()
	m = h.mailbox("Work")
	s := m.State()
	h.check(s, "1 S Key", "3 S Key")
	if s.UIDValidity() != validity || s.UIDNext() != 5 || m.ID() != id {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d, id %s; were %d, 5, %s", s.UIDValidity(), s.UIDNext(), m.ID(), validity, id)
	}
	m.Close()
	h.check(h.inbox.State(), "1 S", "2 S")
	if v := h.inbox.State().UIDValidity(); v != inboxValidity {
		t.Errorf("UIDVALIDITY of INBOX %d, was %d", v, inboxValidity)
	}
	if _, err := os.Stat(h.path(".Work/" + uidlistFile)); err != nil {
		t.Error("the list was not written:", err)
	}
	h.close()
	if err := os.RemoveAll(h.path(".Work")); err != nil {
		t.Fatal(err)
	}
	h.mkdir(".Work/cur") // perhaps with the same inode number
	h.open()
	m = h.mailbox("Work")
	defer m.Close()
	if s := m.State(); s.UIDValidity() == validity || m.ID() == id || s.Len() != 0 {
		t.Errorf("another folder has UIDVALIDITY %d and the id %s of the removed one", s.UIDValidity(), m.ID())
	}
}
