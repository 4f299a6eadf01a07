package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckMaildir lets a host lose, tear and double messages, and wants it caught.
func TestCheckMaildir(t *testing.T) {
	messages := make([]Message, 5)
	var entries []Entry
	for i := range messages {
		messages[i] = NewMessage("eva@far.test", "ana@a.test")
		if i != 4 { // never acknowledged
			entries = append(entries, Entry{ID: messages[i].ID, Account: "ana@a.test", Mailbox: "INBOX", Sum: messages[i].Sum})
		}
	}
	const whole, lost, torn, doubled, unanswered = 0, 1, 2, 3, 4
	trace := "Return-Path: <eva@far.test>\r\nReceived: from far.test\r\n"
	raw := func(i int) string { return trace + string(messages[i].Raw) }
	dir := t.TempDir()
	for name, text := range map[string]string{
		"new/1":     raw(whole),
		"cur/2:2,S": raw(torn)[:len(raw(torn))-4],
		"cur/3:2,":  strings.ReplaceAll(raw(doubled), "\r\n", "\n"), // as another program stores it
		"new/4":     raw(doubled),
		"new/5":     raw(unanswered),
		"tmp/6":     raw(lost),
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := CheckMaildir(entries, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Missing) != 1 || r.Missing[0].ID != messages[lost].ID {
		t.Errorf("missing %v, want the lost one", r.Missing)
	}
	if len(r.Torn) != 1 || r.Torn[0].ID != messages[torn].ID {
		t.Errorf("torn %v, want the torn one", r.Torn)
	}
	if r.Acknowledged != 4 || r.Duplicates != 1 || r.Unanswered != 1 || !r.Lost() {
		t.Errorf("report: %v", r)
	}
}

func TestLedgerSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	for n := range 3 {
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := l.Len(); got != n {
			t.Errorf("opened with %d entries, want %d", got, n)
		}
		if err := l.Record(Entry{ID: "x", Account: "ana@a.test"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
