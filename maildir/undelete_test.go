package maildir

import (
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
