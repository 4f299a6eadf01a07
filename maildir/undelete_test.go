package maildir

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"
)

func TestUndelete(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	h := newHarness(t, func(c *Config) {
		c.UndeleteDays = 7
		c.Now = func() time.Time { return time.UnixMicro(clock.Add(1)) }
	}).open()
	h.append(h.inbox, 3, FlagSeen|FlagDeleted, "Key")
	if _, err := h.inbox.Expunge(h.ctx(), []UID{1, 3}); err != nil {
		t.Fatal(err)
	}
	arch := h.mailbox("Archive")
	h.append(arch, 1, FlagFlagged)
	arch.Close()
	if err := h.user.Delete(h.ctx(), "Archive"); err != nil {
		t.Fatal(err)
	}
	kept, err := h.user.Expunged(h.ctx())
	if err != nil || len(kept) != 3 {
		t.Fatal(kept, err)
	}
	n, err := h.user.Undelete(h.ctx(), func(Expunged) bool { return true })
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	s := h.sync(h.inbox)
	h.check(s, "2 ST Key", "4 F", "5 S Key", "6 S Key")
	if got := h.read(h.inbox, 6); got != testMessage(2) {
		t.Errorf("read %q", got)
	}
	if _, err := h.inbox.Expunge(h.ctx(), []UID{2}); err != nil {
		t.Fatal(err)
	}
	clock.Add((9 * 24 * time.Hour).Microseconds())
	if _, err := h.inbox.Expunge(h.ctx(), []UID{4}); err != nil {
		t.Fatal(err)
	}
	kept, err = h.user.Expunged(h.ctx())
	if err != nil || len(kept) != 1 || kept[0].Day != "2026-03-10" {
		t.Error("old ones were not removed:", kept, err)
	}
}

// A visitor puts messages back beside the process that serves the tree.
func TestUndeleteBesideTheServer(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.UndeleteDays = 7 }).open()
	h.append(h.inbox, 3, FlagSeen, "Key")
	if _, err := h.inbox.Expunge(h.ctx(), []UID{1, 3}); err != nil {
		t.Fatal(err)
	}
	beside, err := Open(Config{Mail: h.cfg.Mail, Host: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if _, err := beside.Visit("nobody@example.org"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody's mail: %v", err)
	}
	v, err := beside.Visit("ana@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	kept, err := v.Expunged(h.ctx())
	if err != nil || len(kept) != 2 {
		t.Fatal(kept, err)
	}
	f, err := v.OpenExpunged(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	f.Close()
	if err != nil || string(text) != testMessage(0) {
		t.Errorf("%q, %v", text, err)
	}
	n, err := v.Undelete(h.ctx(), func(e Expunged) bool { return e.File == kept[0].File })
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	h.check(h.sync(h.inbox), "2 S Key", "4 S Key")
	if got := h.read(h.inbox, 4); got != testMessage(0) {
		t.Errorf("read %q", got)
	}
	ended, end := context.WithCancel(h.ctx())
	end()
	if n, err := v.Undelete(ended, func(Expunged) bool { return true }); n != 0 || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
}
