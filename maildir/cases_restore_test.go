package maildir

import (
	"os"
	"os/exec"
	"testing"
)

// Case 14: rsync and tar set a directory's mtime to the one that is recorded, also where
// they changed what is in it: its ctime tells.

func (h *harness) program(name string) {
	h.t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		h.t.Fatalf("%s is not installed", name)
	}
	h.t.Skipf("%s is not installed", name)
}

// restored has a script change cur/ so that its mtime is the same afterwards, and
// checks what is shown then. before is run first, while the mailbox is served.
func restored(t *testing.T, how, before, script string, check func(h *harness, s *State)) {
	t.Helper()
	f := &faults{blind: how == "by stamps"}
	h := faulty(t, f, quiet).open()
	h.append(h.inbox, 4, FlagSeen)
	h.sync(h.inbox)
	// While it is closed nobody sees more than the times that were recorded.
	h.restart()
	h.shell("touch -d '1 hour ago' cur; " + before) // rsync takes two times in one second for the same
	h.check(h.sync(h.inbox), "1 S", "2 S", "3 S", "4 S")
	if how == "closed" {
		h.close()
	}
	was, err := os.Stat(h.path("cur"))
	if err != nil {
		t.Fatal(err)
	}
	h.shell(script)
	is, err := os.Stat(h.path("cur"))
	if err != nil {
		t.Fatal(err)
	}
	if !is.ModTime().Equal(was.ModTime()) {
		t.Fatalf("cur/ has the mtime %v, had %v", is.ModTime(), was.ModTime())
	}
	if how == "closed" {
		h.open()
	}
	s := h.lookNow(false)
	check(h, s)
	h.agrees(s)
	h.restart() // and so it is for one who comes later
	check(h, h.inbox.State())
}

var servedHow = []string{"closed", "watched", "by stamps"}

func TestCase14DirectoryTimeSetBack(t *testing.T) {
	for _, how := range servedHow {
		t.Run(how, func(t *testing.T) {
			restored(t, how, ":", `touch -r cur stamp; set -- cur/*; mv "$2" "${2}T"; rm "$1"; touch -r stamp cur`, func(h *harness, s *State) {
				h.check(s, "2 ST", "3 S", "4 S")
			})
		})
	}
}

// rsync makes cur/ like a copy in which one message has another flag, one is missing and
// one is new, and whose directory has the time that is recorded.
func TestCase14Rsync(t *testing.T) {
	const before = `rsync -a cur/ ../copy/
cd ../copy; set -- *
mv "$2" "${2}T"; rm "$1"; printf 'Subject: new\r\n\r\n' >1900000000.M1P1.x:2,F
touch -r ../Maildir/cur .`
	for _, how := range servedHow {
		t.Run(how, func(t *testing.T) {
			(&harness{t: t}).program("rsync")
			restored(t, how, before, "rsync -a --delete ../copy/ cur/", func(h *harness, s *State) {
				h.checkTexts(s, map[string]string{testMessage(1): "ST", testMessage(2): "S", testMessage(3): "S", "Subject: new\r\n\r\n": "F"})
				h.stays(s, 3, 4)
				if _, ok := s.Find(1); ok {
					t.Error("the message that rsync removed is shown")
				}
			})
		})
	}
}

// tar puts back what was removed since, and the directory's time with it: one message,
// or all of them, each as a file of its own.
func TestCase14Tar(t *testing.T) {
	for _, what := range []string{"one", "all"} {
		members := map[string]string{"one": `--no-recursion cur "$1"`, "all": "cur"}[what]
		for _, how := range servedHow {
			t.Run(what+" "+how, func(t *testing.T) {
				(&harness{t: t}).program("tar")
				restored(t, how, "tar -cpf ../copy.tar --format=posix cur", `set -- cur/*
rm "$1"; printf 'Subject: new\r\n\r\n' >cur/1900000000.M1P1.x:2,F
tar -xpf ../copy.tar `+members, func(h *harness, s *State) {
					h.checkTexts(s, map[string]string{testMessage(0): "S", testMessage(1): "S", testMessage(2): "S", testMessage(3): "S", "Subject: new\r\n\r\n": "F"})
					if what == "one" {
						h.stays(s, 2, 3, 4)
					}
				})
			})
		}
	}
}

// checkTexts checks that exactly these messages are shown, with these flags.
func (h *harness) checkTexts(s *State, want map[string]string) {
	h.t.Helper()
	for i := range s.Len() {
		msg := s.Message(i)
		text := h.read(h.inbox, msg.UID)
		if flags, ok := want[text]; !ok || flags != flagText(msg.Flags) {
			h.t.Errorf("UID %d is %q with the flags %s, want %s", msg.UID, text, flagText(msg.Flags), flags)
		}
	}
	if s.Len() != len(want) {
		h.t.Errorf("%d messages, want %d", s.Len(), len(want))
	}
	h.invariants(s)
}

// stays checks that messages which nobody touched have their UIDs: append's n-th is n+1.
func (h *harness) stays(s *State, uids ...UID) {
	h.t.Helper()
	for _, uid := range uids {
		if _, ok := s.Find(uid); !ok {
			h.t.Errorf("UID %d is not there", uid)
		} else if got := h.read(h.inbox, uid); got != testMessage(int(uid)-1) {
			h.t.Errorf("UID %d is %q", uid, got)
		}
	}
}
