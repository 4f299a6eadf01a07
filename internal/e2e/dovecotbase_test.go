package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Case 8, the part of Dovecot: mbsync gives messages other bases (",U=7"), we take them
// for the same ones and write the list again, and Dovecot, which has its own index of
// the old names, then shows the same UIDs, flags, sizes and dates, and so does one that
// has lost its index.
func TestCase08BasesAndDovecot(t *testing.T) {
	t.Parallel()
	messages := fromEnv(t, "BUZON_BASES", 8)
	d := newDovecot(t)
	fillMaildir(t, d.maildir(), messages)
	d.own(t)
	s := d.session(t)
	s.do("SELECT INBOX")
	s.do("UID STORE 2:4 +FLAGS (Later)")
	before := mailboxes(s)
	s.end()

	o := onDovecotsTree(t, d)
	o.start(t)
	for round, closed := range []bool{false, true} { // served meanwhile, and not
		mine := o.session(t)
		mine.do("SELECT INBOX")
		if got := mailboxes(mine); !slices.Equal(got, before) {
			t.Fatalf("round %d: we show\n%s\nDovecot showed\n%s", round, strings.Join(got, "\n"), strings.Join(before, "\n"))
		}
		mine.end()
		if closed {
			o.stop(t)
		}
		mark := []string{",U=7", ",U=77"}[round]
		rebase(t, filepath.Join(o.maildir(), "cur"), mark)
		if closed {
			o.start(t)
		}
		mine = o.session(t)
		mine.do("SELECT INBOX")
		if got := mailboxes(mine); !slices.Equal(got, before) {
			t.Errorf("round %d: we show\n%s\nwant\n%s", round, strings.Join(got, "\n"), strings.Join(before, "\n"))
		}
		mine.end()
		list, err := os.ReadFile(filepath.Join(o.maildir(), "dovecot-uidlist"))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(list), mark+"\n"); n != messages {
			t.Errorf("round %d: the uidlist has %d new bases of %d:\n%s", round, n, messages, list)
		}
		// While we serve the tree as well.
		give(t, o.maildir())
		d.agrees(t, before)
	}
	o.stop(t)
	give(t, o.maildir())
	d.agrees(t, before)
	for _, index := range []string{"dovecot.index", "dovecot.index.log", "dovecot.index.cache"} {
		if err := os.Remove(filepath.Join(o.maildir(), index)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	d.agrees(t, before)
	if n := doubledLines(t, o.maildir()); n > 0 {
		t.Errorf("%d messages have two lines in the uidlist", n)
	}
	if log := d.log(); strings.Contains(log, "Error") || strings.Contains(log, "Warning") {
		t.Errorf("Dovecot says\n%s", log)
	}
}

// agrees checks what Dovecot shows.
func (d *dovecot) agrees(t *testing.T, want []string) {
	t.Helper()
	s := d.session(t)
	defer s.end()
	s.do("SELECT INBOX")
	if got := mailboxes(s); !slices.Equal(got, want) {
		t.Errorf("Dovecot shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// rebase gives each file a mark at the end of its base, in place of another one.
func rebase(t *testing.T, dir, mark string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		base, flags, _ := strings.Cut(e.Name(), ":")
		base, _, _ = strings.Cut(base, ",U=")
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, base+mark+":"+flags)); err != nil {
			t.Fatal(err)
		}
	}
}
