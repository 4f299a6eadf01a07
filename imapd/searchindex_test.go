package imapd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/maildir"
)

// A search finds the same whether the store has a text index, makes one meanwhile, or cannot have
// any (RFC 9051 6.4.4: the substring match, not something like it).
func TestSearchIndexAgrees(t *testing.T) {
	bare, err := maildir.Open(maildir.Config{Mail: t.TempDir(), Host: "h", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bare.Close() })
	without := newHost(t, func(cfg *imapd.Config) { cfg.Store = bare })
	with := newHost(t, nil)
	fillWithMail(t, bare, 2*maildir.TextWorth)
	fillWithMail(t, with.store, 2*maildir.TextWorth)
	var commands []string
	for _, needle := range []string{`""`, "a", "DI", `"gesperrt"`, "zürich", "inner", "plain", "ana@buzon.test", "jane", "number", "text/plain", "nowhere"} {
		literal := fmt.Sprintf("{%d+}\r\n%s", len(strings.Trim(needle, `"`)), strings.Trim(needle, `"`))
		for _, key := range []string{"BODY %s", "TEXT %s", "SUBJECT %s", "FROM %s", "HEADER X-Mailer %s", "HEADER Received %s", "NOT BODY %s", "OR BODY %[1]s NOT TEXT %[1]s", "10:200 UNSEEN TEXT %s"} {
			commands = append(commands, "SEARCH "+fmt.Sprintf(key, literal))
		}
	}
	want := searchAll(t, without, commands)
	for _, state := range []string{"without an index yet", "with one", "again"} {
		for i, got := range searchAll(t, with, commands) {
			if got != want[i] {
				t.Errorf("%q %s: %s, want %s", commands[i], state, got, want[i])
			}
		}
	}
}

// fillWithMail gives INBOX n messages, those of testdata/mail over and over.
func fillWithMail(t *testing.T, store *maildir.Store, n int) {
	t.Helper()
	user, err := store.User(t.Context(), ana)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Release()
	box, err := user.Open(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	files, err := filepath.Glob("testdata/mail/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	slices.Sort(files)
	var all []maildir.Append
	for i := range n {
		text, err := os.ReadFile(files[i%len(files)])
		if err != nil {
			t.Fatal(err)
		}
		staged, err := user.Stage(t.Context(), bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, maildir.Append{Staged: staged, Flags: []maildir.Flags{0, maildir.FlagSeen}[i/7%2]})
	}
	if _, err := box.Append(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// searchAll runs commands in a session and returns the answers.
func searchAll(t *testing.T, h *host, commands []string) (answers []string) {
	t.Helper()
	nc := h.dial(t)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\nb SELECT INBOX\r\n", ana, password)
	readUntil(t, r, "b OK")
	for _, c := range commands {
		fmt.Fprintf(nc, "c %s\r\n", c)
		answers = append(answers, readUntil(t, r, "* SEARCH"))
		readUntil(t, r, "c OK")
	}
	return answers
}
