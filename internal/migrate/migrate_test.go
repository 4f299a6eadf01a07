package migrate

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"buzon/internal/durable"
)

func readAll(t testing.TB, s Source, known func(string) bool) (all []Message) {
	t.Helper()
	boxes, err := s.Mailboxes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		err := s.Each(context.Background(), box, known, func(m Message) error {
			all = append(all, m)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func nothing(string) bool { return false }

func TestMbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.mbox")
	text := "From ana@a.test Sat Jan  3 04:05:06 2026\nSubject: one\nStatus: RO\nX-Status: AF\nX-Keywords: Work, $Forwarded\n\n>From here\n>>From there\nFrom the middle\n\n" +
		"From MAILER-DAEMON Sat Jan  3 04:05:07 2026\r\nSubject: two\r\n\r\nbody\r\n\r\n\r\n" +
		"From - \nSubject: two\n\nbody\n\n" +
		"From no end"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, Mbox{Path: path}, nothing)
	want := []string{
		"Subject: one\r\n\r\nFrom here\r\n>From there\r\nFrom the middle\r\n",
		"Subject: two\r\n\r\nbody\r\n\r\n",
		"Subject: two\r\n\r\nbody\r\n",
		"",
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if string(got[i].Body) != want[i] {
			t.Errorf("message %d: %q, want %q", i, got[i].Body, want[i])
		}
	}
	first := got[0]
	slices.Sort(first.Flags)
	if !slices.Equal(first.Flags, []imap.Flag{"$Forwarded", "Work", `\Answered`, `\Flagged`, `\Seen`}) || !first.Time.Equal(time.Date(2026, 1, 3, 4, 5, 6, 0, time.UTC)) {
		t.Errorf("flags %q, time %v", first.Flags, first.Time)
	}
	if err := os.WriteFile(path, []byte("no mbox\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Mbox{Path: path}.Each(t.Context(), Mailbox{}, nothing, func(Message) error { return nil })
	if err == nil {
		t.Error("what is no mbox was read as one")
	}
}

// What is written is read again as it was, whatever is in it.
func FuzzMbox(f *testing.F) {
	f.Add("Subject: x\r\n\r\nFrom me\r\n>From you\r\n\r\n", "A: b\r\n\r\n")
	f.Add("", "\r\n\r\nFrom \r\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		dir := t.TempDir()
		to := &MboxTarget{Dir: dir}
		if err := to.Open(Mailbox{Name: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for _, text := range []string{a, b} {
			rest, _ := takeStatus([]byte(text)) // would be taken for ours
			body := crlf(bytes.ReplaceAll(rest, []byte("\r"), nil))
			if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
				body = append(body, "\r\n"...)
			}
			if len(body) == 0 {
				body = []byte("\r\n")
			}
			want = append(want, body)
			if err := to.Write(Message{Body: body, Time: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, Mbox{Path: filepath.Join(dir, "x.mbox")}, nothing)
		if len(got) != 2 || !bytes.Equal(got[0].Body, want[0]) || !bytes.Equal(got[1].Body, want[1]) {
			t.Errorf("wrote %q, read %q", want, got)
		}
	})
}

func TestMaildirNames(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{".", ".Archive.2025", ".Entw&APw-rfe", "Lists/go", ".Empty"} {
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, folder, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	name := filepath.Join(dir, "Lists/go/cur/1.host:2,FSab")
	if err := os.WriteFile(name, []byte("Subject: x\n\nbody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Lists/go/dovecot-keywords"), []byte("0 Work\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	boxes, err := Maildirs{Dir: dir}.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range boxes {
		names = append(names, strings.Join(b.Name, "/"))
	}
	slices.Sort(names)
	if want := []string{"Archive/2025", "Empty", "Entwürfe", "INBOX", "Lists/go"}; !slices.Equal(names, want) {
		t.Errorf("mailboxes %q, want %q", names, want)
	}
	all := readAll(t, Maildirs{Dir: dir}, nothing)
	if len(all) != 1 || string(all[0].Body) != "Subject: x\r\n\r\nbody\r\n" || all[0].Key != "1.host" ||
		!slices.Equal(all[0].Flags, []imap.Flag{imap.FlagFlagged, imap.FlagSeen, "Work"}) {
		t.Errorf("%+v", all)
	}
	if len(readAll(t, Maildirs{Dir: dir}, func(key string) bool { return key == "1.host" })) != 0 {
		t.Error("a known message was read")
	}
	if _, err := (Maildirs{Dir: t.TempDir()}).Mailboxes(t.Context()); err == nil {
		t.Error("an empty directory is no Maildir")
	}
}

// What a crash leaves of the last line does not count, and what was begun is
// looked for.
func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "ledger")
	open := func() *Ledger {
		t.Helper()
		l, err := OpenLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	if _, err := OpenLedger(path); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	for _, key := range []string{"1.1", "1.2"} {
		if err := l.begin(attempt{`a "box"`, key, "to", 7, 9, "sum" + key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.done(`a "box"`, "1.1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`done "a \"box\"" 1.`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		l = open()
		if !l.Has(`a "box"`, "1.1") || l.Has(`a "box"`, "1.2") || l.Has("other", "1.1") {
			t.Error("what was copied is not what was noted")
		}
		if got := l.pending(); len(got) != 1 || got[0] != (attempt{`a "box"`, "1.2", "to", 7, 9, "sum1.2"}) {
			t.Errorf("pending: %+v", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
