package ledger

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// TestJudge has a host break its word in every way, and wants it caught.
func TestJudge(t *testing.T) {
	inbox := func(uid imap.UID, flags string) Place { return Place{"INBOX", uid, flags} }
	archive := func(uid imap.UID, flags string) Place { return Place{"Archive", uid, flags} }
	at := func(places ...Place) (all []sighting) {
		for _, p := range places {
			all = append(all, sighting{p, "sum"})
		}
		return all
	}
	whole, moving := &Operation{Name: "COPY", Whole: true}, &Operation{Name: "MOVE"}
	for _, test := range []struct {
		name                           string
		fate                           Fate
		there                          []sighting
		missing, torn, doubled, wrongs int
	}{
		{"as told", Fate{Places: []Place{inbox(3, "A B")}}, at(inbox(3, "A B")), 0, 0, 0, 0},
		{"expunged", Fate{}, nil, 0, 0, 0, 0},
		{"gone", Fate{Places: []Place{inbox(3, "")}}, nil, 1, 0, 0, 0},
		{"torn", Fate{Places: []Place{inbox(3, "")}}, []sighting{{inbox(3, ""), "other"}}, 0, 1, 0, 0},
		{"another UID", Fate{Places: []Place{inbox(3, "")}}, at(inbox(4, "")), 0, 0, 0, 1},
		{"other flags", Fate{Places: []Place{inbox(3, "A")}}, at(inbox(3, "")), 0, 0, 0, 1},
		{"another mailbox", Fate{Places: []Place{inbox(3, "A")}}, at(archive(3, "A")), 0, 0, 0, 1},
		{"twice", Fate{Places: []Place{inbox(3, "")}}, at(inbox(3, ""), inbox(4, "")), 0, 0, 0, 1},
		{"back from the dead", Fate{}, at(inbox(3, "")), 0, 0, 0, 1},
		{"copied in flight", Fate{Places: []Place{inbox(3, "")}, Next: []Place{inbox(3, ""), archive(0, "")}, InFlight: whole}, at(inbox(3, ""), archive(9, "")), 0, 0, 1, 0},
		{"not copied in flight", Fate{Places: []Place{inbox(3, "")}, Next: []Place{inbox(3, ""), archive(0, "")}, InFlight: whole}, at(inbox(3, "")), 0, 0, 0, 0},
		{"moved in flight", Fate{Places: []Place{inbox(3, "")}, Next: []Place{archive(0, "")}, InFlight: moving}, at(archive(9, "")), 0, 0, 0, 0},
		{"doubled by a move", Fate{Places: []Place{inbox(3, "")}, Next: []Place{archive(0, "")}, InFlight: moving}, at(inbox(3, ""), archive(9, "")), 0, 0, 0, 1},
		{"lost by a move", Fate{Places: []Place{inbox(3, "")}, Next: []Place{archive(0, "")}, InFlight: moving}, nil, 1, 0, 0, 0},
		{"flags in flight", Fate{Places: []Place{inbox(3, "?")}, Next: nil, InFlight: moving}, at(inbox(3, "Any")), 0, 0, 0, 0},
		{"a known UID and an unknown one", Fate{Places: []Place{archive(0, ""), archive(9, "")}}, at(archive(9, ""), archive(4, "")), 0, 0, 0, 0},
	} {
		v := &Verdict{}
		test.fate.Sum = "sum"
		test.fate.judge(v, test.there, true, map[*Operation][2]int{})
		if len(v.Missing) != test.missing || len(v.Torn) != test.torn || v.Doubled != test.doubled || len(v.Wrong) != test.wrongs {
			t.Errorf("%s: %v, wrong=%d\n%s", test.name, v, len(v.Wrong), v.Details())
		}
	}
}

// What must be done on all messages or on none is judged for all of them.
func TestJudgeWhole(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	op := &Operation{Name: "COPY", Whole: true}
	found := map[string][]sighting{}
	for i, id := range []string{"a", "b"} {
		f := &Fate{ID: id, Account: "ana", Places: []Place{{"INBOX", imap.UID(i + 1), ""}}}
		l.adopt(f)
		l.begin(op, f, append(slices.Clone(f.Places), Place{Mailbox: "Archive"}))
		found[id] = []sighting{{f.Places[0], "sum"}}
	}
	account := Account{Mailbox: Mailbox{User: "ana"}}
	judge := func() *Verdict {
		v := &Verdict{}
		l.judge(v, account, found, true)
		return v
	}
	if v := judge(); !v.Kept() {
		t.Errorf("none is copied: %s", v.Details())
	}
	found["a"] = append(found["a"], sighting{Place{"Archive", 7, ""}, "sum"})
	if v := judge(); len(v.Wrong) != 1 {
		t.Errorf("one of two is copied: %v %s", v, v.Details())
	}
	found["b"] = append(found["b"], sighting{Place{"Archive", 8, ""}, "sum"})
	if v := judge(); !v.Kept() || v.Doubled != 2 {
		t.Errorf("both are copied: %v %s", v, v.Details())
	}
}

func TestContradictions(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := &Fate{ID: "a", Account: "ana", Places: []Place{{"INBOX", 1, ""}, {"INBOX", 2, ""}}}
	l.adopt(f)
	l.done(f, f.Places[:1])
	for i, test := range []struct {
		shown map[imap.UID]string
		wrong int
	}{
		{map[imap.UID]string{1: "a", 3: "b"}, 0},
		{map[imap.UID]string{1: "a", 3: "c"}, 1}, // another message
		{map[imap.UID]string{2: "a"}, 1},         // was gone
	} {
		wrong, err := l.Contradictions("ana", "INBOX", func() (map[imap.UID]string, error) { return test.shown, nil })
		if err != nil || len(wrong) != test.wrong {
			t.Errorf("%d: %q, %v", i, wrong, err)
		}
	}
}

func TestLitter(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"Maildir/cur/1.M1P1.x.lock:2,", "Maildir/new/..x", "Maildir/dovecot-uidlist", "Maildir/.A/cur/1:2,", // not litter
		"Maildir/tmp/1", "Maildir/dovecot-uidlist.lock", "Maildir/.A/dovecot-uidlist.tmp", "Maildir/..RENAME",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := Litter(root); len(found) != 4 || err != nil {
		t.Errorf("found %q, %v", found, err)
	}
}
