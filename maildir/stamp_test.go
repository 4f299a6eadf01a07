package maildir_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"buzon/maildir"
)

// Whatever happens to a mailbox gives it another stamp, and looking does not.
func TestStamp(t *testing.T) {
	t.Parallel()
	s, err := maildir.Open(maildir.Config{Mail: t.TempDir(), Host: "mx"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Stamp("ana@example.org", "INBOX"); !errors.Is(err, maildir.ErrNotFound) {
		t.Errorf("nobody's mailbox: %v", err)
	}
	u, err := s.User(t.Context(), "ana@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	var last maildir.Stamp
	look := func(mailbox, after string, changed bool) {
		t.Helper()
		st, err := s.Stamp("ana@example.org", mailbox)
		if err != nil {
			t.Fatal(err)
		}
		if st != last != changed {
			t.Errorf("after %s: %+v, before %+v", after, st, last)
		}
		if now := time.Now(); st.SettledAt(now) || !st.SettledAt(now.Add(time.Hour)) {
			t.Errorf("%+v is settled now, or not in an hour", st)
		}
		last = st
		<-time.After(20 * time.Millisecond) // the tick of older kernels' file systems
	}
	for _, mailbox := range []string{"inbox", "Junk"} {
		look(mailbox, "another mailbox", true)
		look(mailbox, "nothing", false)
		staged, err := u.Stage(t.Context(), strings.NewReader("Subject: x\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Deliver(t.Context(), staged, mailbox, 0); err != nil {
			t.Fatal(err)
		}
		look(mailbox, "a delivery", true)
		m, err := u.Open(t.Context(), mailbox)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Store(t.Context(), m.State().UIDs(), maildir.Change{Op: maildir.Add, Flags: maildir.FlagSeen}); err != nil {
			t.Fatal(err)
		}
		look(mailbox, "a flag", true)
		if _, err := m.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Close()
		look(mailbox, "a look", false)
	}
	for _, id := range []string{"ana", "../x@example.org"} {
		if _, err := s.Stamp(id, "INBOX"); !errors.Is(err, maildir.ErrBadName) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := s.Stamp("ana@example.org", "No/Such"); !errors.Is(err, maildir.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
