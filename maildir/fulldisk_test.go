package maildir

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// On a full disk nothing is accepted, and people can read, mark as deleted and
// expunge all the same: that is how they make room.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	if err := w.fill("INBOX", "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	w.close()
	if err := w.open(); err != nil { // INBOX is not opened: the message gets no UID yet
		t.Fatal(err)
	}
	st, err := w.stage("late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.user.Deliver(ctx, st, "INBOX", 0); err != nil {
		t.Fatal(err)
	}
	w.close()
	full := func(op, name string) error {
		if slices.Contains([]string{"create", "write", "mkdir"}, op) {
			return syscall.ENOSPC
		}
		return nil
	}
	w.fs.Fail = full
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	m, err := w.mailbox("INBOX")
	if err != nil {
		t.Fatal("open on a full disk:", err)
	}
	defer m.Close()
	if got := m.State().UIDs(); !slices.Equal(got, []UID{1, 2, 3}) {
		t.Errorf("UIDs %d", got)
	}
	if _, err := w.user.Stage(ctx, strings.NewReader("x")); !errors.Is(err, ErrFull) {
		t.Errorf("Stage: %v", err)
	}
	if _, err := w.read(m, 2); err != nil {
		t.Error(err)
	}
	if _, err := m.Store(ctx, []UID{1}, Change{Op: Add, Flags: FlagDeleted}); err != nil {
		t.Error("STORE:", err)
	}
	if gone, err := m.Expunge(ctx, []UID{1}); err != nil || !slices.Equal(gone, []UID{1}) {
		t.Error("EXPUNGE:", gone, err)
	}
	if err := m.Commit(ctx, m.State()); err != nil {
		t.Error("Commit:", err)
	}
	if _, err := m.Store(ctx, []UID{2}, Change{Op: Add, Keywords: []string{"New"}}); !errors.Is(err, ErrFull) {
		t.Errorf("a new keyword: %v", err)
	}
	w.fs.Fail = nil
	if _, err := m.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if got := m.State().UIDs(); !slices.Equal(got, []UID{2, 3, 4}) {
		t.Errorf("with room again UIDs are %d", got)
	}
	if id, err := w.read(m, 4); err != nil || id != "late" {
		t.Error(id, err)
	}
}
