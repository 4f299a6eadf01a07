package maildir

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The whole directory of indexes is removed while the server runs: nobody is kept
// from his mail, and there are indexes again.
func TestStateRemovedWhileOpen(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 3, FlagSeen)
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.append(h.inbox, 1, FlagFlagged)
	h.check(h.sync(h.inbox), "1 S", "2 S", "3 S", "4 F")
	drafts := h.mailbox("Drafts")
	h.append(drafts, 1, FlagDraft)
	drafts.Close()
	luis, err := h.store.User(h.ctx(), "luis@example.org")
	if err != nil {
		t.Fatal("another user cannot open his mail:", err)
	}
	if _, err := luis.Status(h.ctx(), "INBOX"); err != nil {
		t.Error(err)
	}
	luis.Release()
	if dirs, err := os.ReadDir(h.cfg.State + "/example.org/luis"); err != nil || len(dirs) == 0 {
		t.Errorf("luis has the indexes %v, %v", dirs, err)
	}
	h.restart()
	h.check(h.inbox.State(), "1 S", "2 S", "3 S", "4 F")
}

// One file that cannot be read keeps nobody from the others.
func TestOneUnreadableMessage(t *testing.T) {
	for _, errno := range []error{unix.EACCES, unix.EIO} {
		f := &faults{}
		h := faulty(t, f).open()
		h.append(h.inbox, 3, FlagSeen)
		base, _, _ := h.inbox.State().file(1)
		f.on(func(op operation) error {
			if op.kind == "open" && strings.HasPrefix(op.name, base) {
				return errno
			}
			return nil
		})
		if _, err := h.inbox.OpenMessage(h.ctx(), 2); !errors.Is(err, ErrUnreadable) || !errors.Is(err, errno) {
			t.Errorf("opening it: %v", err)
		}
		if _, err := h.inbox.Parsed(h.ctx(), 2, ParseFields, nil); !errors.Is(err, ErrUnreadable) {
			t.Errorf("parsing it: %v", err)
		}
		if _, err := h.inbox.Places(h.ctx(), h.inbox.State(), SortSubject); err != nil {
			t.Errorf("sorting: %v", err)
		}
		h.read(h.inbox, 1)
		h.read(h.inbox, 3)
		if _, err := h.inbox.Store(h.ctx(), []UID{2}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
			t.Errorf("flagging it: %v", err)
		}
		h.check(h.sync(h.inbox), "1 S", "2 FS", "3 S")
		h.close()
	}
}
