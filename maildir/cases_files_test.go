package maildir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// The cases of this file are about what others do to files and folders while
// nobody scans.

func (h *harness) path(name string) string { return filepath.Join(h.root, name) }

func (h *harness) remove(name string) {
	h.t.Helper()
	if err := os.Remove(h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) link(from, to string) {
	h.t.Helper()
	if err := os.Link(h.path(from), h.path(to)); err != nil {
		h.t.Fatal(err)
	}
}

// shell runs a command in the tree's root, as a person would.
func (h *harness) shell(script string) {
	h.t.Helper()
	cmd := child.Command(h.t, 5*time.Minute, "sh", "-ec", script)
	cmd.Dir = h.root
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (h *harness) uidlist() string {
	h.t.Helper()
	b, err := os.ReadFile(h.path(uidlistFile))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func TestCase07OutsideAdditionsAndRemovals(t *testing.T) {
	h := newHarness(t).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.put("cur/1700000002.M1P1.x", testMessage(2))
	h.put("new/1700000003.M1P1.x:2,FS", testMessage(3))
	h.put("new/1700000004.M1P1.x", testMessage(4))
	h.check(h.sync(h.inbox), "1 -", "2 -", "3 FS", "4 -")
	before := h.inbox.State()
	h.remove("cur/1700000002.M1P1.x")
	h.rename("cur/1700000001.M1P1.x:2,", "cur/1700000001.M1P1.x:2,RS")
	h.check(h.sync(h.inbox), "1 RS", "3 FS", "4 -")
	c := h.inbox.Changes(before, h.inbox.State())
	if !slices.Equal(c.Vanished, []UID{2}) || !slices.Equal(c.Changed, []UID{1}) || len(c.Added) > 0 {
		t.Errorf("changes %+v", c)
	}
}

// mbsync adds ",U=7" to the base: the message stays the same one.
func TestCase08BaseRenameKeepsTheUID(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 3, FlagSeen, "Work")
	h.sync(h.inbox)
	guid := h.inbox.State().GUID(1)
	for _, name := range h.files("cur") {
		base, info := splitName(name)
		h.rename("cur/"+name, "cur/"+base+",U=7"+info)
	}
	h.check(h.sync(h.inbox), "1 S Work", "2 S Work", "3 S Work")
	h.agrees(h.inbox.State())
	if got := h.inbox.State().GUID(1); got != guid {
		t.Errorf("GUID %q, was %q", got, guid)
	}
	if n := strings.Count(h.uidlist(), ",U=7\n"); n != 3 {
		t.Errorf("uidlist has %d new bases:\n%s", n, h.uidlist())
	}
	if res, err := h.inbox.Store(h.ctx(), []UID{2}, Change{Op: Add, Flags: FlagSeen | FlagFlagged}); err != nil || len(res.Gone) > 0 {
		t.Errorf("STORE after the rename: %+v, %v", res, err)
	}
	if _, err := h.inbox.Store(h.ctx(), []UID{2}, Change{Op: Remove, Flags: FlagFlagged}); err != nil {
		t.Error(err)
	}
	next := h.inbox.State().UIDNext()
	// The list alone says it as well, and so it is after a restart.
	h.close()
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.check(h.inbox.State(), "1 S Work", "2 S Work", "3 S Work")
	if s := h.inbox.State(); s.UIDNext() != next || s.GUID(1) != guid {
		t.Errorf("UIDNEXT %d, was %d; GUID %q, was %q", s.UIDNext(), next, s.GUID(1), guid)
	}
}

// The same, right after the message came and before we looked again: by our own
// append, by a copy, by a delivery that was just found.
func TestCase08BaseRenameAtOnce(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 1, FlagSeen)
	if _, err := h.inbox.Copy(h.ctx(), []UID{1}, h.inbox); err != nil {
		t.Fatal(err)
	}
	h.put("cur/1700000001.M1P1.other:2,F", testMessage(7))
	h.sync(h.inbox)
	h.append(h.inbox, 1, FlagDraft)
	for _, name := range h.files("cur") {
		base, info := splitName(name)
		h.rename("cur/"+name, "cur/"+base+",U=7"+info)
	}
	h.check(h.sync(h.inbox), "1 S", "2 S", "3 F", "4 D")
	h.agrees(h.inbox.State())
	h.eventually("no file stays young", func() bool {
		h.inbox.settled.Store(false)
		h.sync(h.inbox)
		return len(h.inbox.young) == 0
	})
}

// The same, while nobody was looking.
func TestCase08BaseRenameWhileClosed(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 2, FlagSeen)
	h.close()
	name := h.files("cur")[0]
	base, info := splitName(name)
	h.rename("cur/"+name, "cur/"+base+",U=7"+info)
	h.open()
	h.check(h.inbox.State(), "1 S", "2 S")
}

// A new file that got the inode, the size and the time of a removed one is a new
// message: the inode is younger than the message.
func TestCase08InodeUsedAgain(t *testing.T) {
	h := newHarness(t).open()
	old := time.Unix(1600000000, 0)
	h.put("cur/1700000001.M1P1.x:2,S", "old: 1\r\n\r\n")
	h.chtimes("cur/1700000001.M1P1.x:2,S", old)
	h.check(h.sync(h.inbox), "1 S")
	ino := h.ino("cur/1700000001.M1P1.x:2,S")
	h.close()
	h.remove("cur/1700000001.M1P1.x:2,S")
	for i := range 200 {
		name := fmt.Sprintf("cur/1700000002.M%dP1.x:2,S", i)
		h.put(name, "new: 1\r\n\r\n")
		if h.ino(name) == ino {
			h.chtimes(name, old)
			h.shell("cd cur; for f in *; do [ $f = " + filepath.Base(name) + " ] || rm $f; done")
			h.open()
			h.check(h.inbox.State(), "2 S")
			return
		}
	}
	t.Skip("the file system does not use an inode again")
}

func (h *harness) chtimes(name string, to time.Time) {
	h.t.Helper()
	if err := os.Chtimes(h.path(name), to, to); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) ino(name string) uint64 {
	h.t.Helper()
	fi, err := os.Lstat(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

// Two names of one file are one message, and its second name has its 30 seconds.
func TestCase09HardLinkDouble(t *testing.T) {
	clock := newTestClock()
	h := newHarness(t, func(c *Config) { c.Now = clock.time }).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.check(h.sync(h.inbox), "1 -")
	h.link("cur/1700000001.M1P1.x:2,", "cur/1700000001.M1P1.x:2,S")
	for range 3 {
		if s := h.sync(h.inbox); s.Len() != 1 || s.UIDNext() != 2 {
			t.Fatalf("%d messages, UIDNEXT %d", s.Len(), s.UIDNext())
		}
		clock.add(9 * time.Second)
	}
	if n := len(h.files("cur")); n != 2 {
		t.Errorf("%d names are left after 27 s", n)
	}
	clock.add(5 * time.Second)
	h.sync(h.inbox)
	if n := len(h.files("cur")); n != 1 {
		t.Errorf("%d names are left after 32 s", n)
	}
	h.agrees(h.sync(h.inbox))
	if s := h.inbox.State(); s.Len() != 1 || s.UIDNext() != 2 {
		t.Errorf("%d messages, UIDNEXT %d", s.Len(), s.UIDNext())
	}
}

// A flag that needs the very name that the second link has: the message is
// neither gone nor doubled.
func TestCase09StoreOntoADouble(t *testing.T) {
	clock := newTestClock()
	h := newHarness(t, func(c *Config) { c.Now = clock.time }).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.check(h.sync(h.inbox), "1 -")
	h.link("cur/1700000001.M1P1.x:2,", "cur/1700000001.M1P1.x:2,S")
	res, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagSeen})
	if err != nil || len(res.Gone) > 0 {
		t.Fatalf("%+v %v", res, err)
	}
	h.check(h.sync(h.inbox), "1 S")
	if got := h.read(h.inbox, 1); got != testMessage(1) {
		t.Errorf("read %q", got)
	}
	clock.add(31 * time.Second)
	h.check(h.sync(h.inbox), "1 S")
	h.agrees(h.inbox.State())
}

// Delivery by link and unlink shows two names for a moment.
func TestCase09DeliveryByLink(t *testing.T) {
	h := newHarness(t).open()
	h.put("tmp/1700000001.M1P1.x", testMessage(1))
	h.link("tmp/1700000001.M1P1.x", "new/1700000001.M1P1.x")
	h.check(h.sync(h.inbox), "1 -")
	h.remove("tmp/1700000001.M1P1.x")
	h.check(h.sync(h.inbox), "1 -")
}

// Two files with one base are two messages; the second gets a base of its own.
func TestCase10CopyWithTheSameBase(t *testing.T) {
	h := newHarness(t).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.check(h.sync(h.inbox), "1 -")
	h.put("cur/1700000001.M1P1.x:2,S", testMessage(2))
	h.check(h.sync(h.inbox), "1 -", "2 S")
	h.put("new/1700000001.M1P1.x", testMessage(3))
	h.check(h.sync(h.inbox), "1 -", "2 S", "3 -")
	for i := range 3 {
		if got := h.read(h.inbox, UID(i+1)); got != testMessage(i+1) {
			t.Errorf("message %d is %q", i+1, got)
		}
	}
	h.agrees(h.inbox.State())
}

// Three at once, seen for the first time by a scan.
func TestCase10CopiesAtTheFirstScan(t *testing.T) {
	h := newHarness(t)
	h.fillTree(0)
	for i, info := range []string{":2,", ":2,S", ":2,F"} {
		h.put("cur/1700000001.M1P1.x"+info, testMessage(i))
	}
	h.open()
	s := h.inbox.State()
	h.eventually("three messages", func() bool { s = h.sync(h.inbox); return s.Len() == 3 })
	var got []string
	for _, uid := range s.UIDs() {
		got = append(got, h.read(h.inbox, uid))
	}
	slices.Sort(got)
	if want := []string{testMessage(0), testMessage(1), testMessage(2)}; !slices.Equal(got, want) {
		t.Errorf("read %q", got)
	}
	h.agrees(s)
}

func TestCase11RestoredFileIsANewMessage(t *testing.T) {
	for _, how := range []string{"cp", "cp -p"} {
		for _, when := range []string{"open", "closed"} {
			t.Run(how+" "+when, func(t *testing.T) {
				h := newHarness(t).open()
				name := "1700000001.M1P1.x:2,S"
				h.put("cur/"+name, testMessage(1))
				h.put("cur/1700000002.M1P1.x:2,", testMessage(2))
				h.check(h.sync(h.inbox), "1 S", "2 -")
				h.shell(how + " cur/" + name + " saved; rm cur/" + name)
				h.check(h.sync(h.inbox), "2 -")
				if when == "closed" {
					h.close()
				}
				h.shell(how + " saved cur/" + name)
				if when == "closed" {
					h.open()
				}
				h.check(h.sync(h.inbox), "2 -", "3 S")
				h.agrees(h.sync(h.inbox))
			})
		}
	}
}

// procmail in its MH mode uses names again.
func TestCase12NamesUsedAgain(t *testing.T) {
	h := newHarness(t).open()
	for i := range 20 {
		h.put("new/msg.abc", testMessage(i))
		h.check(h.sync(h.inbox), fmt.Sprintf("%d -", i+1))
		if got := h.read(h.inbox, UID(i+1)); got != testMessage(i) {
			t.Errorf("read %q, want %q", got, testMessage(i))
		}
		p, err := h.inbox.Parsed(h.ctx(), UID(i+1), ParseAll, nil)
		if err != nil || !strings.Contains(string(p.Envelope), fmt.Sprintf("number %d", i)) {
			t.Errorf("parsed %v, %v", p, err)
		}
		if gone, err := h.inbox.Expunge(h.ctx(), []UID{UID(i + 1)}); err != nil || len(gone) != 1 {
			t.Fatal(gone, err)
		}
	}
}

func TestCase15DirectoryReplaced(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 4, FlagSeen)
	_, done := listen(h.inbox)
	defer done()
	h.shell("mv cur cur.old; cp -a cur.old cur")
	h.eventually("the same messages", func() bool { s := h.sync(h.inbox); return s.Len() == 4 && s.UIDNext() == 5 })
	h.check(h.sync(h.inbox), "1 S", "2 S", "3 S", "4 S")
	name := h.files("cur")[0]
	h.rename("cur/"+name, "cur/"+toggled(name))
	// Told by the new watch, not by a command.
	h.eventually("the flag", func() bool { return h.inbox.State().Message(0).Flags&FlagFlagged != 0 })
	if got := h.read(h.inbox, 1); got != testMessage(0) {
		t.Errorf("read %q", got)
	}
}

func TestCase16FoldersMovedAndCopied(t *testing.T) {
	h := newHarness(t).open()
	if err := h.user.Create(h.ctx(), "A", ""); err != nil {
		t.Fatal(err)
	}
	a := h.mailbox("A")
	h.append(a, 3, FlagSeen, "Work")
	id, validity := a.ID(), a.State().UIDValidity()
	a.Close()
	// mv: the same folder under another name.
	h.shell("mv .A .B")
	b := h.mailbox("B")
	h.check(h.sync(b), "1 S Work", "2 S Work", "3 S Work")
	if b.ID() != id || b.State().UIDValidity() != validity {
		t.Errorf("mv: GUID %s, was %s; UIDVALIDITY %d, was %d", b.ID(), id, b.State().UIDValidity(), validity)
	}
	// cp -a: another folder, though its uidlist says that it is the same.
	h.shell("cp -a .B .C")
	c := h.mailbox("C")
	if c.ID() == id || c.State().UIDValidity() == validity {
		t.Errorf("cp: GUID %s and UIDVALIDITY %d are those of the original", c.ID(), c.State().UIDValidity())
	}
	if s := h.sync(c); s.Len() != 3 {
		t.Errorf("cp: %d messages", s.Len())
	}
	h.check(h.sync(b), "1 S Work", "2 S Work", "3 S Work")
	c.Close()
	b.Close()
	// Removed and made again: no client may think that it knows it.
	h.shell("rm -rf .B; mkdir -p .B/cur .B/new .B/tmp")
	b = h.mailbox("B")
	defer b.Close()
	if s := h.sync(b); s.Len() != 0 || s.UIDValidity() == validity || b.ID() == id {
		t.Errorf("made again: %d messages, UIDVALIDITY %d, GUID %s", s.Len(), s.UIDValidity(), b.ID())
	}
}
