package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCase17OddNames(t *testing.T) {
	h := newHarness(t).open()
	outside := filepath.Join(h.dir, "secret")
	if err := os.WriteFile(outside, []byte("not mail"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.put("cur/.hidden:2,S", testMessage(0))
	h.shell("mkdir cur/dir cur/dir:2,S new/dir; echo x >cur/dir/x; mkfifo cur/fifo:2,; ln -s " + outside + " cur/symlink:2,S")
	names := []string{
		"a.b.c:2,FS:2,S",                 // two colons
		"b.b.c:1,x",                      // an experimental info
		"c.b.c:2,XSF",                    // an unknown letter, not sorted
		"d.b.c:2,S,extra",                // a field after the flags
		"e\xff\xfe.b.c:2,",               // no UTF-8
		strings.Repeat("f", 251) + ":2,", // 254 bytes
		"g.b.c:2,",                       // nothing odd
	}
	for i, name := range names {
		h.put("cur/"+name, testMessage(i))
	}
	h.put("cur/line\nfeed:2,S", testMessage(90))
	h.put("cur/:2,S", testMessage(91))
	s := h.sync(h.inbox)
	h.eventually("nine messages", func() bool { s = h.sync(h.inbox); return s.Len() == 9 })
	h.invariants(s)
	texts := map[string]bool{}
	for _, uid := range s.UIDs() {
		texts[h.read(h.inbox, uid)] = true
	}
	for _, i := range []int{0, 1, 2, 3, 4, 5, 6, 90, 91} {
		if !texts[testMessage(i)] {
			t.Errorf("message %d is not served", i)
		}
	}
	// Flags change on all of them, and what we do not know stays.
	res, err := h.inbox.Store(h.ctx(), s.UIDs(), Change{Op: Add, Flags: FlagAnswered})
	if err != nil && !errors.Is(err, ErrBadName) {
		t.Error(err)
	}
	if len(res.Gone) > 0 {
		t.Error("gone:", res.Gone)
	}
	after := h.files("cur")
	for _, want := range []string{".hidden:2,S", "dir", "dir:2,S", "fifo:2,", "symlink:2,S", "c.b.c:2,FRSX", "d.b.c:2,RS,extra", "b.b.c:2,R", "g.b.c:2,R"} {
		if !slices.Contains(after, want) {
			t.Errorf("cur/ has no %q", want)
		}
	}
	// What is no message was neither followed nor touched, and expunging all that
	// is one leaves it.
	if _, err := h.inbox.Expunge(h.ctx(), s.UIDs()); err != nil {
		t.Error(err)
	}
	if got := h.files("cur"); !slices.Equal(got, []string{".hidden:2,S", "dir", "dir:2,S", "fifo:2,", "symlink:2,S"}) {
		t.Errorf("cur/ has %q", got)
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "not mail" {
		t.Error(string(b), err)
	}
}

// A name of 255 bytes is as long as one can be. Where its base leaves no room for flags the
// message gets another base and keeps its UID; where something else is long its flags stay as
// they are, and the others get theirs. A CR in a name would end a line of the uidlist for
// some readers: such a file gets another name.
func TestCase17LongestNameAndCR(t *testing.T) {
	h := newHarness(t).open()
	names := []string{
		"cur/1700000001.M1P1." + strings.Repeat("l", 255-16-4) + ":2,F", // 255 bytes with a flag
		"cur/1700000002.M1P1." + strings.Repeat("c", 255-16),            // 255 bytes, all of them the base
		"new/1700000003.M1P1." + strings.Repeat("n", 255-16),
		"cur/1700000004.M1P1.car\rriage:2,S",
		"new/1700000005.M1P1.end\r",
		"cur/1700000006.M1P1.x:2,\rS",
		"new/1700000007.M1P1.crlf\r\n",
		"cur/1700000008.M1P1.x:2,S," + strings.Repeat("e", 255-22), // 255 bytes, and not for its base
		"cur/1700000009.M1P1.x:2,",
	}
	for i, name := range names {
		h.put(name, testMessage(i))
	}
	var s *State
	h.eventually("all messages", func() bool { s = h.sync(h.inbox); return s.Len() == len(names) && h.inbox.quiet() })
	uids, texts := s.UIDs(), map[UID]string{}
	for _, uid := range uids {
		texts[uid] = h.read(h.inbox, uid)
	}
	if strings.Contains(h.uidlist(), "\r") {
		t.Errorf("the uidlist has a CR in it: %q", h.uidlist())
	}
	same := func(when string) {
		t.Helper()
		s := h.sync(h.inbox)
		h.invariants(s)
		if !slices.Equal(s.UIDs(), uids) {
			t.Fatalf("%s: UIDs %v, were %v", when, s.UIDs(), uids)
		}
		for _, uid := range uids {
			if got := h.read(h.inbox, uid); got != texts[uid] {
				t.Errorf("%s: UID %d is %q", when, uid, got)
			}
		}
	}
	if _, err := h.inbox.ClaimRecent(h.ctx()); err != nil {
		t.Errorf("claim: %v", err)
	}
	same("claimed")
	for _, c := range []Change{{Op: Add, Flags: FlagAnswered}, {Op: Add, Keywords: []string{"Later"}}} {
		if res, err := h.inbox.Store(h.ctx(), uids, c); !errors.Is(err, ErrLongInfo) || len(res.Gone) > 0 {
			t.Errorf("store: %v, gone %v", err, res.Gone)
		}
		same("stored")
	}
	answered := 0
	for s, i := h.sync(h.inbox), 0; i < s.Len(); i++ {
		if msg := s.Message(i); msg.Flags&FlagAnswered != 0 && msg.Keywords != 0 {
			answered++
		}
	}
	if answered != len(names)-1 {
		t.Errorf("%d of %d messages have the flag and the keyword", answered, len(names))
	}
	arch := h.mailbox("Archive")
	if _, err := h.inbox.Copy(h.ctx(), uids, arch); err != nil {
		t.Errorf("copy: %v", err)
	}
	if n := h.sync(arch).Len(); n != len(names) {
		t.Errorf("%d of %d messages are copied", n, len(names))
	}
	if _, err := arch.Move(h.ctx(), h.sync(arch).UIDs(), h.inbox); err != nil {
		t.Errorf("move: %v", err)
	}
	if n := h.sync(h.inbox).Len(); n != 2*len(names) {
		t.Errorf("%d messages after they were moved back", n)
	}
	arch.Close()
	uids = h.sync(h.inbox).UIDs()
	for _, uid := range uids {
		texts[uid] = h.read(h.inbox, uid)
	}
	h.restart()
	same("started again")
	h.withoutIndex()
	same("without the index")
	if _, err := h.inbox.Expunge(h.ctx(), uids); err != nil {
		t.Error(err)
	}
	if got := slices.Concat(h.files("cur"), h.files("new")); len(got) > 0 {
		t.Errorf("left after the expunge: %q", got)
	}
}

// Another program renames the file before each of our attempts: both changes are
// in the name in the end.
func TestCase18StoreAgainstOutsideRename(t *testing.T) {
	changes := map[string]struct {
		c    Change
		want string
	}{
		"add":     {Change{Op: Add, Flags: FlagFlagged}, "FRT"},
		"remove":  {Change{Op: Remove, Flags: FlagDeleted}, "R"},
		"replace": {Change{Op: Replace, Flags: FlagFlagged}, "F"},
	}
	for what, x := range changes {
		for _, blind := range []bool{false, true} {
			for _, races := range ifLong([]int{1, 2, 3, 4, 5, 6, 7, 8}, []int{1, 2, 7}) {
				t.Run(fmt.Sprint(what, " blind=", blind, " races=", races), func(t *testing.T) {
					f := &faults{blind: blind}
					h := faulty(t, f).open()
					name := "1700000001.M1P1.x:2,T"
					h.put("cur/"+name, testMessage(1))
					h.check(h.sync(h.inbox), "1 T")
					left := races
					f.on(func(op operation) error {
						if op.kind == "rename" && left > 0 {
							left--
							base, info := splitName(name)
							in := parseInfo(info)
							to := base + in.with((in.flags|FlagAnswered)^FlagSeen, 0)
							h.rename("cur/"+name, "cur/"+to)
							name = to
						}
						return nil
					})
					res, err := h.inbox.Store(h.ctx(), []UID{1}, x.c)
					f.on(nil)
					if err != nil || len(res.Gone) > 0 {
						t.Fatalf("%+v %v", res, err)
					}
					want := x.want
					if what != "replace" && races%2 == 1 {
						want = strings.Replace(want, "R", "RS", 1)
					}
					h.check(h.sync(h.inbox), "1 "+want)
					h.agrees(h.inbox.State())
				})
			}
		}
	}
}

// Another program removes the file before, or after, our attempt.
func TestCase19StoreAgainstOutsideRemoval(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprint("blind=", blind), func(t *testing.T) {
			f := &faults{blind: blind}
			h := faulty(t, f).open()
			h.append(h.inbox, 2, FlagSeen)
			h.sync(h.inbox)
			victim := h.files("cur")[0]
			once := true
			f.on(func(op operation) error {
				if op.kind == "rename" && once {
					once = false
					h.remove("cur/" + victim)
				}
				return nil
			})
			res, err := h.inbox.Store(h.ctx(), []UID{1, 2}, Change{Op: Add, Flags: FlagFlagged})
			f.on(nil)
			if err != nil || !slices.Equal(res.Gone, []UID{1}) {
				t.Fatalf("%+v %v", res, err)
			}
			h.check(h.sync(h.inbox), "2 FS")
			if n := len(h.files("cur")); n != 1 {
				t.Errorf("%d files", n)
			}
		})
	}
}

// A file that is renamed all the time, faster than anybody can look, is never
// said to be gone.
func TestCase19StormOnOneFile(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprint("blind=", blind), func(t *testing.T) {
			f := &faults{blind: blind}
			h := faulty(t, f).open()
			name := "1700000001.M1P1.x:2,"
			h.put("cur/"+name, testMessage(1))
			h.check(h.sync(h.inbox), "1 -")
			f.on(func(op operation) error {
				if op.kind == "rename" || op.kind == "remove" || op.kind == "open" {
					to := toggled(name)
					h.rename("cur/"+name, "cur/"+to)
					name = to
				}
				return nil
			})
			if res, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagSeen}); err == nil && len(res.Gone) > 0 {
				t.Errorf("STORE says that it is gone")
			}
			if gone, err := h.inbox.Expunge(h.ctx(), []UID{1}); len(gone) > 0 {
				t.Errorf("EXPUNGE says that it is gone (%v)", err)
			}
			if _, err := h.inbox.OpenMessage(h.ctx(), 1); errors.Is(err, ErrExpunged) {
				t.Errorf("open says that it is gone")
			}
			f.on(nil)
			if s := h.sync(h.inbox); s.Len() != 1 || s.UIDNext() != 2 {
				t.Errorf("%d messages, UIDNEXT %d", s.Len(), s.UIDNext())
			}
			h.agrees(h.sync(h.inbox))
		})
	}
}
