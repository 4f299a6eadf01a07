package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDeliverIsSeenAndKeptByteForByte(t *testing.T) {
	h := newHarness(t).open()
	text := "Subject: one\r\n\r\nbody\r\n"
	h.deliver(text)
	s := h.sync(h.inbox)
	h.check(s, "1 -")
	if got := h.read(h.inbox, 1); got != text {
		t.Errorf("read %q, want %q", got, text)
	}
	names := h.files("new")
	if len(names) != 1 || !strings.HasSuffix(names[0], ",S=22,W=22") {
		t.Errorf("new/ has %q", names)
	}
	if len(h.files("tmp")) != 0 {
		t.Error("tmp/ is not empty")
	}
	size, err := s.Size(0)
	if err != nil || size != 22 {
		t.Error(size, err)
	}
}

func TestDefaultFolders(t *testing.T) {
	h := newHarness(t).open()
	boxes, err := h.user.Mailboxes(h.ctx())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range boxes {
		if !b.Subscribed {
			t.Errorf("%s is not subscribed", b.Name)
		}
		got = append(got, b.Name+" "+b.SpecialUse)
	}
	want := []string{"INBOX ", `Archive \Archive`, `Drafts \Drafts`, `Junk \Junk`, `Sent \Sent`, `Trash \Trash`}
	if !slices.Equal(got, want) {
		t.Errorf("mailboxes %q, want %q", got, want)
	}
}

func TestAppendStoreExpunge(t *testing.T) {
	h := newHarness(t).open()
	if got := h.append(h.inbox, 3, FlagSeen, "$Label1", "Work"); !slices.Equal(got, []UID{1, 2, 3}) {
		t.Fatal(got)
	}
	before := h.inbox.State()
	h.check(before, "1 S $Label1 Work", "2 S $Label1 Work", "3 S $Label1 Work")
	res, err := h.inbox.Store(h.ctx(), []UID{2, 9}, Change{Op: Add, Flags: FlagFlagged, Keywords: []string{"work", "$Forwarded"}})
	if err != nil || !slices.Equal(res.Gone, []UID{9}) {
		t.Fatal(res, err)
	}
	h.check(res.State, "1 S $Label1 Work", "2 FPS $Label1 Work", "3 S $Label1 Work")
	c := h.inbox.Changes(before, res.State)
	if !slices.Equal(c.Changed, []UID{2}) || len(c.Added) > 0 || c.Vanished != nil {
		t.Errorf("changes %+v", c)
	}
	res, err = h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Replace, Flags: FlagDeleted})
	if err != nil {
		t.Fatal(err)
	}
	h.check(res.State, "1 T", "2 FPS $Label1 Work", "3 S $Label1 Work")
	gone, err := h.inbox.Expunge(h.ctx(), []UID{1, 3})
	if err != nil || !slices.Equal(gone, []UID{1, 3}) {
		t.Fatal(gone, err)
	}
	h.check(h.sync(h.inbox), "2 FPS $Label1 Work")
	c = h.inbox.Changes(before, h.inbox.State())
	if !slices.Equal(c.Vanished, []UID{1, 3}) || !slices.Equal(c.Changed, []UID{2}) {
		t.Errorf("changes %+v", c)
	}
	if got := h.files("cur"); len(got) != 1 || !strings.HasSuffix(got[0], ":2,FPSab") {
		t.Errorf("cur/ has %q", got)
	}
	h.restart()
	h.check(h.inbox.State(), "2 FPS $Label1 Work")
	if h.inbox.State().UIDNext() != 4 {
		t.Error("UIDNEXT", h.inbox.State().UIDNext())
	}
}

func TestUnchangedSince(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 2, 0)
	m := h.inbox.State().HighestModSeq()
	if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagSeen}); err != nil {
		t.Fatal(err)
	}
	res, err := h.inbox.Store(h.ctx(), []UID{1, 2}, Change{Op: Add, Flags: FlagFlagged, UnchangedSince: &m})
	if err != nil || !slices.Equal(res.Modified, []UID{1}) {
		t.Fatal(res, err)
	}
	h.check(res.State, "1 S", "2 F")
}

func TestClaimRecent(t *testing.T) {
	h := newHarness(t).open()
	h.deliver("a: b\r\n\r\n")
	h.deliver("a: c\r\n\r\n")
	h.put("new/1700000000.M1P1.x:2,FS", "a: d\n\n")
	got, err := h.inbox.ClaimRecent(h.ctx())
	if err != nil || !slices.Equal(got, []UID{1, 2, 3}) {
		t.Fatal(got, err)
	}
	again, err := h.inbox.ClaimRecent(h.ctx())
	if err != nil || len(again) != 0 {
		t.Fatal(again, err)
	}
	h.check(h.sync(h.inbox), "1 FS", "2 -", "3 -")
	if n := h.files("new"); len(n) != 0 {
		t.Error("new/ still has", n)
	}
}

func TestCopyAndMove(t *testing.T) {
	h := newHarness(t).open()
	arch := h.mailbox("Archive")
	defer arch.Close()
	h.append(arch, 1, FlagSeen, "Other")
	h.append(h.inbox, 3, FlagFlagged, "Mine")
	res, err := h.inbox.Copy(h.ctx(), []UID{1, 3, 7}, arch)
	if err != nil || !slices.Equal(res.Src, []UID{1, 3}) || !slices.Equal(res.Dst, []UID{2, 3}) {
		t.Fatal(res, err)
	}
	h.check(h.sync(arch), "1 S Other", "2 F Mine", "3 F Mine")
	guid := h.inbox.State().GUID(1)
	res, err = h.inbox.Move(h.ctx(), []UID{2}, arch)
	if err != nil || !slices.Equal(res.Dst, []UID{4}) {
		t.Fatal(res, err)
	}
	h.check(h.sync(h.inbox), "1 F Mine", "3 F Mine")
	h.check(h.sync(arch), "1 S Other", "2 F Mine", "3 F Mine", "4 F Mine")
	if got := arch.State().GUID(3); got != guid {
		t.Errorf("GUID %q, was %q", got, guid)
	}
	if got := h.read(arch, 4); got != testMessage(1) {
		t.Errorf("moved message is %q", got)
	}
	if res, err = arch.Move(h.ctx(), []UID{1}, arch); err != nil || !slices.Equal(res.Dst, []UID{5}) {
		t.Fatal(res, err)
	}
	if len(h.files("tmp")) != 0 {
		t.Error("tmp/ has", h.files("tmp"))
	}
}

func TestBareLineFeedsAreServedAsCRLF(t *testing.T) {
	h := newHarness(t).open()
	h.put("cur/1700000000.M1P1.x:2,", "a: d\n\nx\r\ny\n")
	big := "s: b\n\n" + strings.Repeat(strings.Repeat("z", 99)+"\n", 5000)
	h.put("cur/1700000001.M1P1.x:2,", big)
	s := h.sync(h.inbox)
	if got := h.read(h.inbox, 1); got != "a: d\r\n\r\nx\r\ny\r\n" {
		t.Errorf("read %q", got)
	}
	if got := h.read(h.inbox, 2); got != strings.ReplaceAll(big, "\n", "\r\n") {
		t.Errorf("large message differs: %d bytes", len(got))
	}
	for i, want := range []int{14, len(big) + 5002} {
		if n, err := s.Size(i); err != nil || n != int64(want) {
			t.Errorf("Size(%d) = %d, %v; want %d", i, n, err, want)
		}
	}
}

// listen subscribes to a mailbox. The channel holds one value, however much has changed.
func listen(m *Mailbox) (changed <-chan struct{}, done func()) {
	c := make(chan struct{}, 1)
	sub := m.Subscribe(func() {
		select {
		case c <- struct{}{}:
		default:
		}
	})
	return c, sub.Close
}

func TestOutsideChangesReachSubscribers(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 2, 0)
	if _, err := h.inbox.ClaimRecent(h.ctx()); err != nil {
		t.Fatal(err)
	}
	changed, done := listen(h.inbox)
	defer done()
	name := h.files("cur")[0]
	h.rename("cur/"+name, "cur/"+name+"S")
	h.eventually("flag seen", func() bool { return h.inbox.State().Unseen() == 1 })
	<-changed
	h.put("new/1700000000.M1P1.x", "a: d\n\n")
	h.eventually("message seen", func() bool { return h.inbox.State().Len() == 3 })
	if err := os.Remove(filepath.Join(h.root, "cur", name+"S")); err != nil {
		t.Fatal(err)
	}
	h.eventually("expunge seen", func() bool { return h.inbox.State().Len() == 2 })
	h.check(h.inbox.State(), "2 -", "3 -")
}

func TestFolders(t *testing.T) {
	h := newHarness(t).open()
	for _, name := range []string{"Büro/Rechnung & mehr", "Büro", "A/B/C"} {
		if err := h.user.Create(h.ctx(), name, ""); err != nil {
			t.Fatal(name, err)
		}
	}
	for _, name := range []string{"", "a//b", "/a", "..", "a.b", "a/../b", "x\x00", "x\r\n", "~root", strings.Repeat("y", 250), "inbox", "A/B/C"} {
		if err := h.user.Create(h.ctx(), name, ""); err == nil {
			t.Errorf("Create(%q) succeeded", name)
		}
	}
	if !slices.Contains(h.files("."), ".B&APw-ro.Rechnung &- mehr") {
		t.Errorf("root has %q", h.files("."))
	}
	m := h.mailbox("Büro/Rechnung & mehr")
	defer m.Close()
	h.append(m, 1, FlagSeen)
	v := m.State().UIDValidity()
	if err := h.user.Rename(h.ctx(), "Büro", "Zuhause/Alt"); err != nil {
		t.Fatal(err)
	}
	h.check(h.sync(m), "1 S")
	if m.Name() != "Zuhause/Alt/Rechnung & mehr" || m.State().UIDValidity() != v {
		t.Error(m.Name())
	}
	boxes, _ := h.user.Mailboxes(h.ctx())
	var got []string
	for _, b := range boxes {
		n := b.Name
		if b.NoSelect {
			n += " NoSelect"
		}
		if b.HasChildren {
			n += " +"
		}
		got = append(got, n)
	}
	want := []string{"INBOX", "A NoSelect +", "A/B NoSelect +", "A/B/C", "Archive", "Drafts", "Junk", "Sent", "Trash",
		"Zuhause NoSelect +", "Zuhause/Alt +", "Zuhause/Alt/Rechnung & mehr"}
	if !slices.Equal(got, want) {
		t.Errorf("mailboxes\n%q, want\n%q", got, want)
	}
	if err := h.user.Delete(h.ctx(), "Zuhause/Alt/Rechnung & mehr"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Sync(h.ctx()); !errors.Is(err, ErrNotFound) {
		t.Error("deleted mailbox:", err)
	}
	if err := h.user.Delete(h.ctx(), "A"); !errors.Is(err, ErrNoSelect) {
		t.Error(err)
	}
	if err := h.user.Delete(h.ctx(), "inbox"); !errors.Is(err, ErrInbox) {
		t.Error(err)
	}
	h.append(h.inbox, 2, FlagSeen)
	if err := h.user.Rename(h.ctx(), "INBOX", "Old"); err != nil {
		t.Fatal(err)
	}
	h.check(h.sync(h.inbox))
	old := h.mailbox("Old")
	defer old.Close()
	h.check(old.State(), "1 S", "2 S")
}

func TestDatesAndSubscriptions(t *testing.T) {
	h := newHarness(t).open()
	when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	if _, err := h.inbox.Append(h.ctx(), []Append{{Staged: h.stage("a: b\r\n\r\n"), InternalDate: when}}); err != nil {
		t.Fatal(err)
	}
	got, err := h.inbox.State().InternalDate(0)
	if err != nil || !got.Equal(when) {
		t.Error(got, err)
	}
	h.restart()
	if got, err := h.inbox.State().InternalDate(0); err != nil || !got.Equal(when) {
		t.Error(got, err)
	}
	if err := h.user.Subscribe(h.ctx(), "Nie/da"); err != nil {
		t.Fatal(err)
	}
	if err := h.user.Unsubscribe(h.ctx(), "Junk"); err != nil {
		t.Fatal(err)
	}
	names, err := h.user.Subscriptions(h.ctx())
	if err != nil || !slices.Equal(names, []string{"Archive", "Drafts", "INBOX", "Nie/da", "Sent", "Trash"}) {
		t.Error(names, err)
	}
}

func TestQuota(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.QuotaLimit = func(string) (int64, int64) { return 100, 3 } }).open()
	h.append(h.inbox, 1, 0)
	q, err := h.user.Quota(h.ctx())
	if err != nil || q.Messages != 1 || q.Bytes != int64(len(testMessage(0))) {
		t.Error(q, err)
	}
	if _, err := h.user.Stage(h.ctx(), strings.NewReader(testMessage(1))); !errors.Is(err, ErrQuota) {
		t.Error(err)
	}
	if len(h.files("tmp")) != 0 {
		t.Error("tmp/ has", h.files("tmp"))
	}
}

func TestTwentySeventhKeyword(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 1, FlagSeen)
	var names []string
	for i := range 30 {
		names = append(names, "K"+string(rune('A'+i)))
	}
	for i := range names {
		names[i] = "key" + strings.Repeat("x", i+1)
	}
	if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Keywords: names}); err != nil {
		t.Fatal(err)
	}
	want := "1 S " + strings.Join(names, " ")
	h.check(h.inbox.State(), want)
	h.restart()
	s := h.inbox.State()
	if got := s.keywords.names(s.Message(0).Keywords); len(got) != 30 {
		t.Errorf("after restart %q", got)
	}
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.restart()
	s = h.inbox.State()
	if got := s.keywords.names(s.Message(0).Keywords); len(got) != 30 {
		t.Errorf("without index %q", got)
	}
	for i := range 40 {
		_, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Keywords: []string{"more" + strings.Repeat("y", i)}})
		if i == 39 && !errors.Is(err, ErrLimit) {
			t.Error("65th keyword:", err)
		}
	}
}

// RFC 3501 6.4.7: copies are \Recent in the target, flags or not.
func TestAppendedWithFlagsIsRecentOnce(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 2, FlagSeen)
	if n := h.inbox.State().Recent(); n != 2 {
		t.Errorf("Recent() = %d", n)
	}
	if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	got, err := h.inbox.ClaimRecent(h.ctx())
	if err != nil || !slices.Equal(got, []UID{1, 2}) {
		t.Error(got, err)
	}
	for range 2 {
		h.check(h.inbox.State(), "1 FS", "2 S")
		if got, err := h.inbox.ClaimRecent(h.ctx()); err != nil || len(got) != 0 {
			t.Error(got, err)
		}
		h.restart()
	}
}
