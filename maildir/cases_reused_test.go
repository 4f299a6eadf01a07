package maildir

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Cases 11 and 12 where nobody looks between the end of one message and the next one
// under its name. What was parsed of the first must not be shown of the second.

// reuse has a message under a name, with all that is known of it, puts another one in
// its place, and returns what is shown then.
func reuse(t *testing.T, name string, closed bool, replace func(h *harness)) *harness {
	h := newHarness(t).open()
	h.put("cur/"+name+":2,S", "Subject: first\r\n\r\n1\r\n")
	h.put("cur/1700000001.M1P1.x:2,F", testMessage(2))
	h.check(h.sync(h.inbox), "1 S", "2 F")
	if _, err := h.inbox.Parsed(h.ctx(), 1, ParseAll, nil); err != nil {
		t.Fatal(err)
	}
	// The look after the one that found it.
	h.put("cur/1700000002.M1P1.x:2,", testMessage(3))
	h.sync(h.inbox)
	if closed {
		h.close()
	}
	replace(h)
	if closed {
		h.open()
	}
	h.sync(h.inbox)
	return h
}

func (h *harness) subject(uid UID) string {
	h.t.Helper()
	p, err := h.inbox.Parsed(h.ctx(), uid, ParseAll, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	_, subject, _ := strings.Cut(string(p.Header), "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	return subject
}

func TestCase12NameOfAnotherMessageUnseen(t *testing.T) {
	for _, closed := range []bool{false, true} {
		for _, text := range []string{"Subject: other\r\n\r\n1\r\n", "Subject: another size\r\n\r\n1\r\n"} {
			for _, name := range []string{"msg.abc", "17"} {
				t.Run(fmt.Sprintf("%s closed=%v %d", name, closed, len(text)), func(t *testing.T) {
					h := reuse(t, name, closed, func(h *harness) {
						h.remove("cur/" + name + ":2,S")
						h.put("cur/"+name+":2,S", text)
						if closed { // with other files at hand it has another inode, and its time may be the same
							h.chtimes("cur/"+name+":2,S", time.Unix(1600000000, 0))
						}
					})
					want, _, _ := strings.Cut(strings.TrimPrefix(text, "Subject: "), "\r\n")
					h.check(h.sync(h.inbox), "2 F", "3 -", "4 S")
					if got := h.subject(4); got != want {
						t.Errorf("UID 4 is shown as %q, it is %q", got, want)
					}
					h.agrees(h.sync(h.inbox))
				})
			}
		}
	}
}

// A file that is put back under the old name is a new message, if somebody saw that it
// was gone: the kernel did.
func TestCase11RestoredAtOnce(t *testing.T) {
	h := reuse(t, "1700000000.M1P1.x", false, func(h *harness) {
		h.shell("cp -p cur/1700000000.M1P1.x:2,S saved; rm cur/1700000000.M1P1.x:2,S; cp -p saved cur/1700000000.M1P1.x:2,S")
	})
	h.check(h.sync(h.inbox), "2 F", "3 -", "4 S")
	h.agrees(h.sync(h.inbox))
}

// A whole tree that was copied from elsewhere while the server was down has other
// inodes and the same messages; that costs one look at each file.
func TestCase15TreeCopiedWhileClosed(t *testing.T) {
	h := newHarness(t, quiet).open()
	var want []string
	for i, name := range []string{"msg.abc", "17", "1700000000.M1P1.x", "1700000000.M1P2.x,S=99", "1700000000.M1P3.x,S=38,W=38"} {
		h.put("cur/"+name+":2,S", fmt.Sprintf("Subject: %d\r\n\r\n1\r\n", i))
		h.sync(h.inbox)
		want = append(want, fmt.Sprintf("%d S", i+1))
	}
	for uid := range UID(5) {
		h.subject(uid + 1)
	}
	h.close()
	for _, how := range []string{"cp -a cur cur.new", "mkdir cur.new; tar cf - -C cur . | tar xpf - -C cur.new"} {
		h.shell(how + "; mv cur cur.old; mv cur.new cur; rm -r cur.old")
		h.open()
		h.check(h.sync(h.inbox), want...)
		h.close()
	}
	// In the same directory, as rsync does.
	h.shell("mkdir saved; cp -p cur/* saved; rm cur/*; cp -p saved/* cur")
	h.open()
	s := h.sync(h.inbox)
	for _, uid := range []UID{3, 4, 5} {
		if _, ok := s.Find(uid); !ok {
			t.Errorf("message %d is another one now", uid)
		}
	}
	if s.Len() != 5 {
		t.Errorf("%d messages", s.Len())
	}
	h.agrees(s)
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
}
