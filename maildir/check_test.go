package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// damaged is a tree with two messages in INBOX and one in Archive, closed in good
// order.
func damagedTree(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t).open()
	h.append(h.inbox, 2, FlagSeen, "Key")
	arch := h.mailbox("Archive")
	h.append(arch, 1, FlagFlagged)
	arch.Close()
	h.close()
	return h
}

// look checks the tree as a command does, and returns a line for each finding. The
// clock of the check is later by that much.
func (h *harness) look(o CheckOptions, later time.Duration) (lines []string, notes []string) {
	h.t.Helper()
	s, err := Open(Config{Mail: h.cfg.Mail, Host: "test", Now: func() time.Time { return time.Now().Add(later) }})
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	v, err := s.Visit("ana@example.org")
	if err != nil {
		h.t.Fatal(err)
	}
	defer v.Close()
	err = v.Check(h.ctx(), o, func(f Finding) {
		line := strings.TrimSpace(fmt.Sprintf("%s %s", f.Mailbox, f.File)) + ": " + f.Problem
		switch {
		case f.Err != nil:
			line += " [" + f.Err.Error() + "]"
		case f.Mended:
			line += " [mended]"
		case f.Remedy != "":
			line += " [can be mended]"
		}
		if f.Note {
			notes = append(notes, line)
		} else {
			lines = append(lines, line)
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return lines, notes
}

// contents is every file of the tree outside tmp/ that may be a message, by inode:
// whatever a repair renames, it must all be there afterwards.
func (h *harness) contents() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if dir := filepath.Base(filepath.Dir(path)); dir != "cur" && dir != "new" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) {
			err = nil
		}
		all[fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino)] = string(text)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestCheckOfAGoodTree(t *testing.T) {
	h := damagedTree(t)
	if lines, notes := h.look(CheckOptions{Deep: true}, 0); len(lines) != 0 || len(notes) != 0 {
		t.Errorf("found %q, noted %q", lines, notes)
	}
	if lines, _ := h.look(CheckOptions{Deep: true, Repair: true}, 48*time.Hour); len(lines) != 0 {
		t.Errorf("two days later: %q", lines)
	}
}

// Each damage is found. What can be mended is told so, is mended when asked for,
// and then is no longer found; all else is only told. No message is lost.
func TestCheckFindsDamage(t *testing.T) {
	const good = "1700000000.M1P1.other"
	for _, test := range []struct {
		name   string
		damage func(d *damager)
		want   string // a part of the one finding
		mended bool
		later  time.Duration
	}{
		{name: "uidlist: torn line without a message", damage: func(d *damager) { d.edit("dovecot-uidlist", func(s string) string { return s + "9 :17000" }) },
			want: "INBOX dovecot-uidlist: its last line has no end", mended: true},
		{name: "uidlist: last LF missing", damage: func(d *damager) {
			d.edit("dovecot-uidlist", func(s string) string { return strings.TrimSuffix(s, "\n") })
		}, want: "INBOX dovecot-uidlist: its last line has no end", mended: true},
		{name: "uidlist: order", damage: func(d *damager) { d.edit("dovecot-uidlist", func(s string) string { return s + "1 :" + good + "\n" }) },
			want: "line 4: UID 1 comes after 2"},
		{name: "uidlist: UID twice", damage: func(d *damager) { d.edit("dovecot-uidlist", func(s string) string { return s + "2 :" + good + "\n" }) },
			want: "line 4: UID 2 is there twice"},
		{name: "uidlist: syntax", damage: func(d *damager) {
			d.edit("dovecot-uidlist", func(s string) string { return s + "nonsense\n7 :" + good + "\n" })
		}, want: "line 4: broken uidlist"},
		{name: "uidlist: header", damage: func(d *damager) { d.write("dovecot-uidlist", "4 V1 N1\n") }, want: "line 1 is no header"},
		{name: "uidlist: empty", damage: func(d *damager) { d.write("dovecot-uidlist", "") }, want: "has no header"},
		{name: "uidlist: endless line", damage: func(d *damager) {
			d.edit("dovecot-uidlist", func(s string) string { return s + strings.Repeat("9", 9000) + "\n" })
		}, want: "line 4 is longer than any can be"},
		{name: "uidlist: UIDs used up", damage: func(d *damager) {
			d.edit("dovecot-uidlist", func(s string) string { return s + "4294967294 :" + good + "\n" })
		}, want: "no UID is left"},
		{name: "uidlist: a directory", damage: func(d *damager) { d.remove("dovecot-uidlist"); d.mkdir("dovecot-uidlist") },
			want: "INBOX dovecot-uidlist: cannot be read"},
		{name: "flags unsorted", damage: func(d *damager) { d.write("cur/"+good+":2,SF", "a\r\n") },
			want: "cur/" + good + ":2,SF: its flags are not sorted", mended: true},
		{name: "flags twice, and extra fields", damage: func(d *damager) { d.write("new/"+good+":2,SSZX,extra", "a\r\n") },
			want: "its flags are not sorted, or stand twice", mended: true},
		{name: "letter without a name", damage: func(d *damager) { d.write("cur/"+good+":2,c", "a\r\n") },
			want: "INBOX dovecot-keywords: gives no name to the letter c of cur/" + good},
		{name: "keywords: bad line", damage: func(d *damager) { d.edit("dovecot-keywords", func(s string) string { return s + "99 x\n" }) },
			want: "INBOX dovecot-keywords: 1 of its 2 lines"},
		{name: "wrong S", damage: func(d *damager) { d.write("cur/"+good+",S=7:2,", "a\r\n") }, want: "S=7 in its name is wrong: it has 3 bytes"},
		{name: "wrong W", damage: func(d *damager) { d.write("cur/"+good+",S=2,W=9:2,", "a\n") }, want: "W=9 in its name is wrong: it has 3 bytes with CRLF"},
		{name: "empty file", damage: func(d *damager) { d.write("new/"+good, "") }, want: "new/" + good + ": is empty"},
		{name: "unreadable", damage: func(d *damager) { d.write("new/"+good, "a"); d.chmod("new/"+good, 0o200) }, want: "its owner may not read it: mode 0200"},
		{name: "two messages of one base", damage: func(d *damager) { d.write("cur/"+good+":2,", "a"); d.write("cur/"+good+":2,S", "b") },
			want: "has the same base as cur/" + good + ":2,, another message"},
		{name: "two names of one message", damage: func(d *damager) { d.write("new/"+good, "a"); d.link("new/"+good, "cur/"+good+":2,S") },
			want: "new/" + good + ": is a second name of cur/" + good},
		{name: "directory", damage: func(d *damager) { d.mkdir("cur/x") }, want: "cur/x: is a directory: it is never"},
		{name: "symbolic link", damage: func(d *damager) { d.symlink("/etc/passwd", "new/x") }, want: "new/x: is a symbolic link: it is never"},
		{name: "line break", damage: func(d *damager) { d.write("new/a\nb", "a") }, want: "its name holds a line break"},
		{name: "no cur", damage: func(d *damager) { d.remove(".Sent/cur") }, want: "Sent cur: is missing", mended: true},
		{name: "no tmp", damage: func(d *damager) { d.remove("tmp") }, want: "INBOX tmp: is missing", mended: true},
		{name: "no maildirfolder", damage: func(d *damager) { d.remove(".Sent/maildirfolder") }, want: "Sent maildirfolder: is missing", mended: true},
		{name: "tmp is a file", damage: func(d *damager) { d.remove(".Sent/tmp"); d.write(".Sent/tmp", "") }, want: "Sent tmp: is no directory"},
		{name: "mode", damage: func(d *damager) { d.chmod(".Sent/new", 0o500) }, want: "Sent new: its owner may not"},
		{name: "dead lock", damage: func(d *damager) { d.write("dovecot-uidlist.lock", "999999999:test") },
			want: `INBOX dovecot-uidlist.lock: is the lock of "999999999:test"`, mended: true},
		{name: "uidlist being rewritten", damage: func(d *damager) { d.write("dovecot-uidlist.tmp", "3") }, later: time.Hour,
			want: "dovecot-uidlist.tmp: was left by a process", mended: true},
		{name: "litter", damage: func(d *damager) { d.write(".Sent/tmp/"+good, "half a mess") }, later: 37 * time.Hour,
			want: "Sent tmp/" + good + ": was given up", mended: true},
		{name: "a directory in tmp", damage: func(d *damager) { d.mkdir("tmp/x") }, later: 37 * time.Hour, want: "INBOX tmp/x: is a directory"},
		{name: "a folder by link", damage: func(d *damager) { d.symlink(".Archive", ".Link") }, want: ".Link: is a symbolic link"},
		{name: "a folder without a name", damage: func(d *damager) { d.mkdir(".a..b") }, want: ".a..b: is a directory whose name"},
		{name: "two folders of one name", damage: func(d *damager) { d.mkdir(".B&APw-ro"); d.mkdir(".Büro") },
			want: "Büro .Büro: has the same mailbox name as .B&APw-ro"},
		{name: "subscriptions cut", damage: func(d *damager) { d.edit("subscriptions", func(s string) string { return s + "Sen" }) },
			want: "subscriptions: its last line is cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := damagedTree(t)
			test.damage(&damager{t, h.root})
			before := h.contents()
			lines, _ := h.look(CheckOptions{Deep: true}, test.later)
			if len(lines) != 1 || !strings.Contains(lines[0], test.want) || strings.Contains(lines[0], "[can be mended]") != test.mended {
				t.Fatalf("found\n%s\nwant one with %q, to be mended: %t", strings.Join(lines, "\n"), test.want, test.mended)
			}
			lines, _ = h.look(CheckOptions{Deep: true, Repair: true}, test.later)
			if len(lines) != 1 || strings.HasSuffix(lines[0], "[mended]") != test.mended {
				t.Errorf("the repair says %q", lines)
			}
			lines, _ = h.look(CheckOptions{Deep: true}, test.later)
			if len(lines) == 0 != test.mended {
				t.Errorf("after the repair %q", lines)
			}
			after := h.contents()
			if len(after) != len(before) {
				t.Errorf("%d files of messages before, %d after", len(before), len(after))
			}
			for inode, text := range before {
				if after[inode] != text {
					t.Errorf("a message was %q and is %q", text, after[inode])
				}
			}
		})
	}
}

// A line that lost only its end keeps its UID; half a line is dropped, and the
// mailbox has the same UIDs either way.
func TestRepairKeepsUIDs(t *testing.T) {
	for _, cut := range []int{0, 1, 2} {
		h := damagedTree(t)
		d := &damager{t, h.root}
		d.edit("dovecot-uidlist", func(s string) string {
			if cut == 2 {
				return s + "77 :1700000000.M1"
			}
			return s[:len(s)-cut]
		})
		h.look(CheckOptions{Repair: true}, 0)
		if _, notes := h.look(CheckOptions{}, 0); len(notes) > 0 {
			t.Errorf("cut %d: %q", cut, notes)
		}
		if err := os.RemoveAll(h.cfg.State); err != nil {
			t.Fatal(err)
		}
		h.open()
		h.check(h.inbox.State(), "1 S Key", "2 S Key")
	}
}

// A check beside the server that serves the tree finds nothing, and repairs do
// not disturb its mailboxes.
func TestCheckBesideTheServer(t *testing.T) {
	h := newHarness(t).open()
	uids := h.append(h.inbox, 50, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			for _, op := range []Op{Add, Remove} {
				if _, err := h.inbox.Store(context.Background(), uids, Change{Op: op, Flags: FlagSeen}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for running := true; running; {
		if lines, _ := h.look(CheckOptions{Deep: true, Repair: true}, 0); len(lines) > 0 {
			t.Errorf("found %q", lines)
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	d := &damager{t, h.root}
	base, _ := splitName(h.files("cur")[0])
	d.rename("cur/"+h.files("cur")[0], "cur/"+base+":2,SFF")
	if lines, _ := h.look(CheckOptions{Repair: true}, 0); len(lines) != 1 || !strings.HasSuffix(lines[0], "[mended]") {
		t.Errorf("%q", lines)
	}
	s := h.sync(h.inbox)
	if s.Len() != 50 || s.UIDNext() != 51 || s.Message(0).Flags != FlagSeen|FlagFlagged && s.Unseen() != 49 {
		t.Errorf("%d messages, UIDNEXT %d, %d unseen", s.Len(), s.UIDNext(), s.Unseen())
	}
}

// Files of another owner are told once for all of them.
func TestCheckFindsForeignFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	h := damagedTree(t)
	for _, name := range h.files("cur") {
		if err := os.Chown(filepath.Join(h.root, "cur", name), 12345, -1); err != nil {
			t.Fatal(err)
		}
	}
	lines, _ := h.look(CheckOptions{Repair: true}, 0)
	if len(lines) != 1 || !strings.Contains(lines[0], "INBOX: the tree belongs to user 0, and not so 2 files, the first is cur/") {
		t.Errorf("%q", lines)
	}
}

func TestCheckNotes(t *testing.T) {
	h := damagedTree(t)
	d := &damager{t, h.root}
	d.write("new/1700000000.M1P1.other", "a")
	d.write("cur/1700000000.M1P2.other:1,x", "a")
	d.mkdir(".notmuch/xapian")
	d.remove(".Sent/dovecot-uidlist")
	d.edit("subscriptions", func(s string) string { return s + "Gone\n" })
	d.edit("dovecot-uidlist", func(s string) string { return s + "8 :twice\n9 :twice\n" })
	lines, notes := h.look(CheckOptions{Deep: true}, 0)
	all := strings.Join(notes, "\n")
	for _, want := range []string{"files without a UID: 2", "as without flags", "notmuch: is no mailbox", "Sent dovecot-uidlist: is missing", `"Gone" is subscribed to`, "line 5: 9 is the second UID of"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if len(lines) > 0 {
		t.Errorf("found %q", lines)
	}
}

// damager spoils a tree.
type damager struct {
	t    *testing.T
	root string
}

func (d *damager) do(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *damager) path(name string) string     { return filepath.Join(d.root, name) }
func (d *damager) write(name, text string)     { d.do(os.WriteFile(d.path(name), []byte(text), 0o600)) }
func (d *damager) remove(name string)          { d.do(os.RemoveAll(d.path(name))) }
func (d *damager) link(from, to string)        { d.do(os.Link(d.path(from), d.path(to))) }
func (d *damager) symlink(target, to string)   { d.do(os.Symlink(target, d.path(to))) }
func (d *damager) rename(from, to string)      { d.do(os.Rename(d.path(from), d.path(to))) }
func (d *damager) chmod(name string, m uint32) { d.do(os.Chmod(d.path(name), fs.FileMode(m))) }

// mkdir makes a directory with what a folder has.
func (d *damager) mkdir(name string) {
	if strings.HasPrefix(name, ".B") {
		for _, sub := range []string{"cur", "new", "tmp"} {
			d.do(os.MkdirAll(filepath.Join(d.path(name), sub), 0o700))
		}
		d.write(name+"/maildirfolder", "")
		return
	}
	d.do(os.MkdirAll(d.path(name), 0o700))
}

func (d *damager) edit(name string, change func(string) string) {
	text, err := os.ReadFile(d.path(name))
	d.do(err)
	d.write(name, change(string(text)))
}
