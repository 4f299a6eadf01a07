package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"buzon/maildir"
)

// expunged gives ana three messages and expunges two of them, as a client of the
// running server would.
func expunged(t *testing.T, store *maildir.Store) {
	t.Helper()
	ctx := context.Background()
	u, err := store.User(ctx, "ana@buzon.test")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	for _, mailbox := range []string{"INBOX", "Archive"} {
		m, err := u.Open(ctx, mailbox)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		st, err := u.Stage(ctx, strings.NewReader("From: Luis <luis@far.test>\r\nSubject: =?utf-8?q?ma=C3=B1ana?= \x1b[31m\r\n\r\nhello\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		uids, err := m.Append(ctx, []maildir.Append{{Staged: st, Flags: maildir.FlagSeen}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Expunge(ctx, uids); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUndelete(t *testing.T) {
	s := newSite(t, "[limits]\nundelete_days = 7\n")
	s.do("ana-secret", "account", "add", "ana@buzon.test")
	s.refused(exitFailed, "there is no mail of ana@buzon.test", "", "undelete", "ana@buzon.test")
	s.refused(exitFailed, "malformed address", "", "undelete", "ana")
	s.refused(exitUsage, "ADDRESS is missing", "", "undelete")
	s.refused(exitUsage, `"yesterday" is not a day`, "", "undelete", "ana@buzon.test", "--day", "yesterday")
	s.refused(exitUsage, "--json goes with --list", "", "undelete", "ana@buzon.test", "--json")
	r := s.serve()
	expunged(t, r.store)

	list := s.do("", "undelete", "--list", "ana@buzon.test")
	for _, want := range []string{"INBOX", "Archive", "Luis <luis@far.test>", "mañana ?[31m"} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
	var rows []struct{ Day, Mailbox, File, Subject string }
	if err := json.Unmarshal([]byte(s.do("", "undelete", "--list", "--json", "--mailbox", "inbox", "ana@buzon.test")), &rows); err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	s.refused(exitFailed, "nothing is kept that fits", "", "undelete", "ana@buzon.test", "--day", "2001-01-01")
	s.refused(exitFailed, "nothing is kept that fits", "", "undelete", "ana@buzon.test", "--mailbox", "Sent")
	if out := s.do("", "undelete", "ana@buzon.test", "--day", rows[0].Day, "--file", rows[0].File); out != "put 1 message of ana@buzon.test back\n" {
		t.Error(out)
	}
	s.do("", "undelete", "ana@buzon.test")
	if out := s.do("", "undelete", "--list", "--json", "ana@buzon.test"); out != "[]\n" {
		t.Error(out)
	}

	// The server has them again, and lost none.
	ctx := context.Background()
	u, err := r.store.User(ctx, "ana@buzon.test")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	for _, mailbox := range []string{"INBOX", "Archive"} {
		st, err := u.Status(ctx, mailbox)
		if err != nil || st.Messages != 1 || st.Unseen != 0 || st.UIDNext != 3 {
			t.Errorf("%s: %+v, %v", mailbox, st, err)
		}
	}
}
