package maildir

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// harness is a store on a real directory with one user and INBOX open.
type harness struct {
	t     testing.TB
	dir   string
	root  string // the user's Maildir
	store *Store
	user  *User
	inbox *Mailbox
	cfg   Config
	// before changes cfg ahead of each open; nil: nothing does.
	before func(*Config)
}

func newHarness(t testing.TB, options ...func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, dir: t.TempDir()}
	h.root = filepath.Join(h.dir, "mail", "example.org", "ana", "Maildir")
	h.cfg = Config{
		Mail: filepath.Join(h.dir, "mail"), State: filepath.Join(h.dir, "state"), Host: "test",
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, o := range options {
		o(&h.cfg)
	}
	t.Cleanup(func() { h.close() })
	return h
}

func (h *harness) open() *harness {
	h.t.Helper()
	if h.before != nil {
		h.before(&h.cfg)
	}
	var err error
	if h.store, err = Open(h.cfg); err != nil {
		h.t.Fatal(err)
	}
	if h.user, err = h.store.User(h.ctx(), "ana@example.org"); err != nil {
		h.t.Fatal(err)
	}
	h.inbox = h.mailbox("INBOX")
	return h
}

func (h *harness) close() {
	if h.store == nil {
		return
	}
	h.inbox.Close()
	h.user.Release()
	if err := h.store.Close(); err != nil {
		h.t.Error(err)
	}
	h.store = nil
}

// restart closes everything and opens it again.
func (h *harness) restart() {
	h.t.Helper()
	h.close()
	h.open()
}

func (h *harness) ctx() context.Context { return context.Background() }

func (h *harness) mailbox(name string) *Mailbox {
	h.t.Helper()
	m, err := h.user.Open(h.ctx(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *harness) stage(text string) *Staged {
	h.t.Helper()
	st, err := h.user.Stage(h.ctx(), strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

func (h *harness) deliver(text string) {
	h.t.Helper()
	st := h.stage(text)
	defer st.Discard()
	if _, err := h.user.Deliver(h.ctx(), st, "INBOX", 0); err != nil {
		h.t.Fatal(err)
	}
}

// append puts n small messages into m and returns their UIDs.
func (h *harness) append(m *Mailbox, n int, f Flags, keywords ...string) []UID {
	h.t.Helper()
	var all []Append
	for i := range n {
		all = append(all, Append{Staged: h.stage(testMessage(i)), Flags: f, Keywords: keywords})
	}
	uids, err := m.Append(h.ctx(), all)
	if err != nil {
		h.t.Fatal(err)
	}
	return uids
}

func testMessage(i int) string {
	return fmt.Sprintf("From: a@example.org\r\nTo: b@example.org\r\nSubject: number %d\r\n\r\nText %d\r\n", i, i)
}

func (h *harness) sync(m *Mailbox) *State {
	h.t.Helper()
	s, err := m.Sync(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// put writes a file as another program would.
func (h *harness) put(path, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.root, path), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) rename(from, to string) {
	h.t.Helper()
	if err := os.Rename(filepath.Join(h.root, from), filepath.Join(h.root, to)); err != nil {
		h.t.Fatal(err)
	}
}

// files returns the names in a directory of the tree, sorted.
func (h *harness) files(dir string) []string {
	h.t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.root, dir))
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (h *harness) read(m *Mailbox, uid UID) string {
	h.t.Helper()
	f, err := m.OpenMessage(h.ctx(), uid)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		h.t.Fatal(err)
	}
	if int64(len(b)) != f.Size() {
		h.t.Errorf("message %d: %d bytes, Size says %d", uid, len(b), f.Size())
	}
	return string(b)
}

// check compares the mailbox with "uid flags keywords" lines, sorted by UID.
func (h *harness) check(s *State, want ...string) {
	h.t.Helper()
	var got []string
	for i := range s.Len() {
		msg := s.Message(i)
		got = append(got, strings.TrimRight(fmt.Sprintf("%d %s %s", msg.UID, flagText(msg.Flags),
			strings.Join(s.keywords.names(msg.Keywords), " ")), " "))
	}
	if !slices.Equal(got, want) {
		h.t.Errorf("mailbox has\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	h.invariants(s)
}

// invariants checks what must be true of every state.
func (h *harness) invariants(s *State) {
	h.t.Helper()
	unseen, deleted, recent, first := 0, 0, 0, -1
	for i := range s.Len() {
		msg := s.Message(i)
		if i > 0 && s.uids[i-1] >= msg.UID || msg.UID >= s.next {
			h.t.Errorf("UIDs %v do not ascend below %d", s.uids, s.next)
		}
		if msg.Flags&FlagSeen == 0 {
			unseen++
			if first < 0 {
				first = i
			}
		}
		if msg.Flags&FlagDeleted != 0 {
			deleted++
		}
		if sl := s.slot(i); s.blocks[sl.block()].where[sl.row()].isRecent() {
			recent++
		}
		if msg.ModSeq > s.highest {
			h.t.Errorf("UID %d has modseq %d above %d", msg.UID, msg.ModSeq, s.highest)
		}
	}
	if unseen != s.Unseen() || deleted != s.Deleted() || recent != s.Recent() || first != s.FirstUnseen() {
		h.t.Errorf("counts unseen %d deleted %d recent %d first %d, rows say %d %d %d %d",
			s.Unseen(), s.Deleted(), s.Recent(), s.FirstUnseen(), unseen, deleted, recent, first)
	}
}

func flagText(f Flags) string {
	s := parseInfo("").with(f, 0)[3:]
	if s == "" {
		return "-"
	}
	return s
}

// eventually waits for a change that comes through the kernel.
func (h *harness) eventually(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			h.t.Fatal("not within 5 s:", what)
		}
		time.Sleep(time.Millisecond)
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
