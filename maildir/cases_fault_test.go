package maildir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The cases of this file are about disks that fail, clocks that jump and locks of
// others.

// An fsync that failed is final for its file: the kernel forgets the error, and a
// second fsync would lie.
func TestCase24FsyncFails(t *testing.T) {
	f := &faults{}
	h := faulty(t, f).open()
	h.append(h.inbox, 1, FlagSeen)
	for _, where := range []string{"fsync", "syncdir"} {
		for _, what := range []string{"deliver", "append"} {
			t.Run(what+" "+where, func(t *testing.T) {
				failed := map[string]int{}
				f.on(func(op operation) error {
					if op.kind != where || where == "fsync" && !strings.HasSuffix(op.dir, "/tmp") {
						return nil
					}
					if failed[op.dir+op.name]++; failed[op.dir+op.name] == 1 {
						return unix.EIO
					}
					return nil
				})
				st := h.stage(testMessage(7))
				var err error
				if what == "deliver" {
					_, err = h.user.Deliver(h.ctx(), st, "INBOX", 0)
				} else {
					_, err = h.inbox.Append(h.ctx(), []Append{{Staged: st}})
				}
				if !errors.Is(err, unix.EIO) {
					t.Errorf("the answer is %v", err)
				}
				if where == "fsync" {
					if err := st.Sync(); err == nil {
						t.Error("a second fsync of the same file is believed")
					}
				}
				f.on(nil)
				st.Discard()
				if n := h.files("tmp"); len(n) > 0 {
					t.Errorf("tmp/ has %q", n)
				}
				h.check(h.sync(h.inbox), "1 S")
			})
		}
	}
}

// spaceOperations are those that need space.
var spaceOperations = map[string]func(h *harness, other *Mailbox) error{
	"deliver": func(h *harness, _ *Mailbox) error {
		st, err := h.user.Stage(h.ctx(), strings.NewReader(testMessage(9)))
		if err != nil {
			return err
		}
		defer st.Discard()
		_, err = h.user.Deliver(h.ctx(), st, "INBOX", 0)
		return err
	},
	"append 3": func(h *harness, _ *Mailbox) error {
		var all []Append
		defer func() {
			for _, a := range all {
				a.Staged.Discard()
			}
		}()
		for i := range 3 {
			st, err := h.user.Stage(h.ctx(), strings.NewReader(testMessage(i)))
			if err != nil {
				return err
			}
			all = append(all, Append{Staged: st, Flags: FlagSeen, Keywords: []string{"New"}})
		}
		_, err := h.inbox.Append(h.ctx(), all)
		return err
	},
	"copy": func(h *harness, other *Mailbox) error {
		_, err := h.inbox.Copy(h.ctx(), []UID{1, 2}, other)
		return err
	},
	"move": func(h *harness, other *Mailbox) error {
		_, err := h.inbox.Move(h.ctx(), []UID{1, 2}, other)
		return err
	},
	"store": func(h *harness, _ *Mailbox) error {
		_, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagFlagged, Keywords: []string{"Fresh"}})
		return err
	},
	"create": func(h *harness, _ *Mailbox) error { return h.user.Create(h.ctx(), "Full/Disk", "") },
}

// The disk is full, or the quota of the file system is, at every step of every
// operation: a clear error, nothing half done, and all is well when there is room.
func TestCase25NoSpaceAtEveryStep(t *testing.T) {
	for name, do := range spaceOperations {
		for _, errno := range ifLong([]error{unix.ENOSPC, unix.EDQUOT}, []error{unix.ENOSPC}) {
			t.Run(fmt.Sprint(name, " ", errno), func(t *testing.T) {
				t.Parallel()
				f := &faults{}
				h := faulty(t, f, quiet).open()
				other := h.mailbox("Archive")
				defer other.Close()
				h.append(h.inbox, 2, FlagSeen)
				before := h.picture(other)
				for k := 0; ; k++ {
					n := 0
					f.on(func(op operation) error {
						// What takes no space does not fail for want of it.
						if !op.changes || op.kind == "remove" || op.kind == "fsync" || op.kind == "syncdir" {
							return nil
						}
						// Nor does a rename back to where a file just came from.
						if n++; n == k+1 || n > k && op.kind != "rename" {
							return errno
						}
						return nil
					})
					err := do(h, other)
					f.on(nil)
					if err == nil {
						t.Logf("%d steps", k)
						break
					}
					if !errors.Is(err, ErrFull) {
						t.Errorf("step %d: %v", k, err)
					}
					if after := h.picture(other); after != before {
						t.Fatalf("step %d left\n%s\nthere was\n%s", k, after, before)
					}
					if left := h.files("tmp"); len(left) > 0 {
						t.Errorf("step %d left tmp/ %q", k, left)
					}
					if k > 100 {
						t.Fatal("no end")
					}
				}
				h.agrees(h.sync(h.inbox))
				want := h.picture(other)
				h.restart()
				other = h.mailbox("Archive")
				if got := h.picture(other); got != want {
					t.Errorf("after a restart\n%s\nwas\n%s", got, want)
				}
			})
		}
	}
}

// There is no room for the indexes alone: the mail goes on without them, and what is
// done is there when there is room again.
func TestCase25NoSpaceForTheLog(t *testing.T) {
	for name, do := range spaceOperations {
		t.Run(name, func(t *testing.T) {
			f := &faults{state: true}
			h := faulty(t, f, quiet).open()
			other := h.mailbox("Archive")
			h.append(h.inbox, 2, FlagSeen)
			before := h.picture(other)
			failed := 0
			f.on(func(op operation) error {
				if op.changes && (op.kind == "write" || op.kind == "create") && !strings.Contains(op.dir, "Maildir") {
					failed++
					return unix.ENOSPC
				}
				return nil
			})
			err := do(h, other)
			if err != nil && !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			now := h.picture(other)
			if (err == nil) != (now != before) {
				t.Errorf("the answer is %v; there was\n%s\nthere is\n%s", err, before, now)
			}
			if failed == 0 && name != "create" && name != "deliver" {
				t.Error("no index was written: the test shows nothing")
			}
			other.Close()
			h.close()
			f.on(nil)
			h.open()
			other = h.mailbox("Archive")
			defer other.Close()
			if got := h.picture(other); got != now {
				t.Errorf("after a restart\n%s\nwas\n%s", got, now)
			}
			h.agrees(h.inbox.State())
		})
	}
}

// picture is what a client sees of INBOX, other and the folders.
func (h *harness) picture(other *Mailbox) string {
	h.t.Helper()
	var b strings.Builder
	for _, m := range []*Mailbox{h.inbox, other} {
		s := h.sync(m)
		fmt.Fprintln(&b, m.Name(), s.UIDValidity())
		for i := range s.Len() {
			msg := s.Message(i)
			fmt.Fprintln(&b, msg.UID, flagText(msg.Flags), s.keywords.names(msg.Keywords))
		}
	}
	boxes, err := h.user.Mailboxes(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, box := range boxes {
		fmt.Fprintln(&b, box.Name, box.NoSelect)
	}
	return b.String()
}

// The process dies between the rename of an APPEND and its line in the uidlist:
// the message gets a UID that nobody was ever told.
func TestCase26AppendWithoutUID(t *testing.T) {
	for k := 0; ; k++ {
		f := &faults{}
		h := faulty(t, f, quiet).open()
		h.append(h.inbox, 2, FlagSeen)
		n := 0
		f.on(func(op operation) error {
			if op.changes {
				if n++; n > k {
					return errDead
				}
			}
			return nil
		})
		st, err := h.user.Stage(h.ctx(), strings.NewReader(testMessage(3)))
		var uids []UID
		if err == nil {
			uids, err = h.inbox.Append(h.ctx(), []Append{{Staged: st, Flags: FlagFlagged}})
		}
		h.close() // what it writes now is lost as well
		f.on(nil)
		h.open()
		s := h.inbox.State()
		switch {
		case err == nil:
			h.check(s, "1 S", "2 S", "3 F")
			if !slices.Equal(uids, []UID{3}) {
				t.Errorf("APPENDUID %d", uids)
			}
		case s.Len() == 3:
			h.check(s, "1 S", "2 S", "3 F")
		default:
			h.check(s, "1 S", "2 S")
		}
		h.agrees(s)
		h.close()
		if err == nil {
			t.Logf("%d deaths", k)
			return
		}
	}
}

// The last line of the uidlist is cut inside, at every byte.
func TestCase27TornUIDList(t *testing.T) {
	for _, index := range []bool{true, false} {
		t.Run(fmt.Sprint("index=", index), func(t *testing.T) {
			h := newHarness(t, quiet).open()
			h.append(h.inbox, 3, FlagSeen)
			texts := map[string]UID{}
			for _, uid := range h.inbox.State().UIDs() {
				texts[h.read(h.inbox, uid)] = uid
			}
			whole := h.uidlist()
			start := strings.LastIndexByte(whole[:len(whole)-1], '\n') + 1
			validity := h.inbox.State().UIDValidity()
			h.close()
			for cut := start; cut < len(whole); cut += ifLong(1, 7) {
				if !index {
					if err := os.RemoveAll(h.cfg.State); err != nil {
						t.Fatal(err)
					}
				}
				h.put(uidlistFile, whole[:cut])
				h.open()
				h.deliver(testMessage(99)) // its line must not be glued to the torn one
				s := h.sync(h.inbox)
				if s.Len() != 4 || s.UIDValidity() != validity {
					t.Fatalf("cut at %d: %d messages, UIDVALIDITY %d", cut, s.Len(), s.UIDValidity())
				}
				for _, uid := range s.UIDs() {
					if was := texts[h.read(h.inbox, uid)]; was != 0 && was != uid && (index || was < 3) {
						t.Errorf("cut at %d: UID %d was %d", cut, uid, was)
					}
				}
				for line := range strings.Lines(h.uidlist()) {
					if _, base, ok := strings.Cut(line, " :"); ok && !slices.ContainsFunc(append(h.files("cur"), h.files("new")...), func(name string) bool {
						return strings.HasPrefix(name, strings.TrimSuffix(base, "\n"))
					}) {
						t.Errorf("cut at %d: the uidlist has %q", cut, line)
					}
				}
				h.agrees(s)
				if _, err := h.inbox.Expunge(h.ctx(), []UID{s.UIDs()[3]}); err != nil {
					t.Fatal(err)
				}
				h.close()
			}
		})
	}
}

// The clock goes back by an hour between two runs.
func TestCase35ClockSetBack(t *testing.T) {
	clock := newTestClock()
	h := newHarness(t, func(c *Config) { c.Now = clock.time }).open()
	if err := h.user.Create(h.ctx(), "One", ""); err != nil {
		t.Fatal(err)
	}
	one := h.mailbox("One")
	validity := one.State().UIDValidity()
	one.Close()
	h.append(h.inbox, 2, FlagSeen)
	highest := h.inbox.State().HighestModSeq()
	names := h.files("cur")
	for _, lost := range []bool{false, true} {
		clock.add(-time.Hour)
		h.close()
		if lost {
			if err := os.RemoveAll(h.cfg.State); err != nil {
				t.Fatal(err)
			}
			clock.add(3 * time.Hour) // nothing but the clock knows then
		}
		h.open()
		if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
			t.Fatal(err)
		}
		h.append(h.inbox, 1, 0)
		now := h.inbox.State().HighestModSeq()
		if now <= highest {
			t.Errorf("HIGHESTMODSEQ %d is not above %d", now, highest)
		}
		highest = now
		if err := h.user.Create(h.ctx(), fmt.Sprint("Two", lost), ""); err != nil {
			t.Fatal(err)
		}
		two := h.mailbox(fmt.Sprint("Two", lost))
		if v := two.State().UIDValidity(); v <= validity {
			t.Errorf("UIDVALIDITY %d is not above %d", v, validity)
		} else {
			validity = v
		}
		two.Close()
		for _, name := range append(h.files("cur"), h.files("new")...) {
			if base, _ := splitName(name); strings.Count(strings.Join(names, " "), base) > 1 {
				t.Errorf("%s was given twice", base)
			}
		}
	}
	if s := h.inbox.State(); s.Len() != 4 {
		t.Errorf("%d messages", s.Len())
	}
}

// Dovecot ends a session over a wrong S=. A literal's length is that of what follows.
func TestCase39WrongSizesInNames(t *testing.T) {
	h := newHarness(t).open()
	text := "a: b\r\n\r\nbody\r\n"
	for i, size := range []string{"S=5,W=5", "S=99999,W=99999", "S=14,W=99", "S=-1", "S=x,W=", "S=99999999999999999999", "W=3"} {
		h.put(fmt.Sprintf("cur/170000000%d.M1P1.x,%s:2,S", i, size), text)
	}
	s := h.sync(h.inbox)
	for i, uid := range s.UIDs() {
		p, err := h.inbox.Parsed(h.ctx(), uid, ParseAll, nil)
		if err != nil || len(p.Envelope) == 0 {
			t.Errorf("parsed %v, %v", p, err)
		}
		if got := h.read(h.inbox, uid); got != text {
			t.Errorf("message %d is %q", uid, got)
		}
		if n, err := h.inbox.State().Size(i); err != nil || n != int64(len(text)) {
			base, _, _ := s.file(i)
			t.Errorf("%s has size %d, %v", base, n, err)
		}
	}
}

// A message is cut by others while it is read.
func TestCase39TruncatedWhileRead(t *testing.T) {
	for _, eol := range []string{"\r\n", "\n"} {
		t.Run(fmt.Sprintf("%q", eol), func(t *testing.T) {
			h := newHarness(t).open()
			name := "cur/1700000001.M1P1.x:2,S"
			h.put(name, "a: b"+eol+eol+strings.Repeat("0123456789"+eol, 100_000))
			h.put("cur/1700000002.M1P1.x:2,S", "other: 1\r\n\r\n")
			h.sync(h.inbox)
			f, err := h.inbox.OpenMessage(h.ctx(), 1)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			buf := make([]byte, 4096)
			if _, err := f.ReadAt(buf, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(h.path(name), 1000); err != nil {
				t.Fatal(err)
			}
			var w strings.Builder
			n, err := f.WriteTo(&w)
			if n != f.Size() && err == nil {
				t.Errorf("%d bytes of %d and no error: the literal would be short", n, f.Size())
			}
			if got := h.read(h.inbox, 2); got != "other: 1\r\n\r\n" {
				t.Errorf("the other message is %q", got)
			}
		})
	}
}

func TestCase40LocksOfOthers(t *testing.T) {
	dead := deadProcess(t)
	for _, lock := range []struct {
		what, content string
		waits         bool
	}{
		{"dead process", fmt.Sprintf("%d:test", dead), false},
		{"our own crash", fmt.Sprintf("%d:test", os.Getpid()), false},
		{"live process", fmt.Sprintf("%d:test", os.Getppid()), true},
		{"other host", fmt.Sprintf("%d:elsewhere", dead), true},
		{"empty", "", true},
		{"nonsense", "\x00\xff", true},
	} {
		t.Run(lock.what, func(t *testing.T) {
			clock := newTestClock()
			h := newHarness(t, func(c *Config) { c.Now = clock.time }).open()
			h.put(uidlistLock, lock.content)
			st := h.stage(testMessage(1))
			done := make(chan error, 1)
			go func() {
				_, err := h.inbox.Append(h.ctx(), []Append{{Staged: st}})
				done <- err
			}()
			if lock.waits {
				select {
				case err := <-done:
					t.Fatal("the lock was not respected:", err)
				case <-time.After(50 * time.Millisecond):
				}
			}
			// Two minutes pass again and again: a slow machine may not have seen the
			// lock when they pass first.
			deadline := time.After(2 * time.Minute)
			for waiting := true; waiting; {
				if lock.waits {
					clock.add(dotLockStale + time.Second)
				}
				select {
				case err := <-done:
					if waiting = false; err != nil {
						t.Error(err)
					}
				case <-time.After(50 * time.Millisecond):
				case <-deadline:
					t.Fatal("the lock was not taken over")
				}
			}
			if slices.Contains(h.files("."), uidlistLock) {
				t.Error("the lock is still there")
			}
			h.check(h.sync(h.inbox), "1 -")
		})
	}
}

func deadProcess(t *testing.T) int {
	t.Helper()
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return p.Pid
}

// Messages go back and forth between two folders, in both directions at once.
func TestCase40MovesInOppositeDirections(t *testing.T) {
	h := newHarness(t, quiet).open()
	other := h.mailbox("Archive")
	defer other.Close()
	h.append(h.inbox, 20, FlagSeen)
	h.append(other, 20, FlagFlagged)
	moved := make(chan struct{})
	var running sync.WaitGroup
	for _, way := range [][2]*Mailbox{{h.inbox, other}, {other, h.inbox}} {
		running.Go(func() {
			for range ifLong(300, 30) {
				if _, err := way[0].Move(h.ctx(), way[0].State().UIDs(), way[1]); err != nil {
					t.Error(err)
					return
				}
				moved <- struct{}{}
			}
		})
	}
	go func() { running.Wait(); close(moved) }()
	for going := true; going; {
		select {
		case _, going = <-moved:
		case <-time.After(time.Minute): // for one of them, however slow the disk is
			t.Fatal("deadlock")
		}
	}
	if n := h.sync(h.inbox).Len() + h.sync(other).Len(); n != 40 {
		t.Errorf("%d messages of 40", n)
	}
	h.agrees(h.sync(h.inbox))
}
