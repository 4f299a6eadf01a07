package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Case 29: kill -9 during MOVE. Each message is in exactly one of the two folders
// afterwards, on disk and for clients, and nothing half-made is left. Dovecot was
// seen to leave 206 and 1000 doubles. BUZON_MOVE_KILLS=50 is the long form.
func TestCase29KillDuringMove(t *testing.T) {
	t.Parallel()
	const messages = 3000
	kills := fromEnv(t, "BUZON_MOVE_KILLS", 5)
	o := newOurs(t)
	fillMaildir(t, o.maildir(), messages)
	all := inodes(t, filepath.Join(o.maildir(), "cur"))
	o.start(t)
	s := o.session(t)
	s.do("SELECT INBOX")
	took := s.timed("UID MOVE 1:* Archive")
	s.do("SELECT Archive")
	took = max(took, s.timed("UID MOVE 1:* INBOX"))
	s.end()
	middle := 0
	for n := range kills {
		from, to := "INBOX", "Archive"
		s := o.session(t)
		s.do("SELECT Archive") // where the last kill left some of them
		s.do("UID MOVE 1:* INBOX")
		s.do("SELECT INBOX")
		fmt.Fprintf(s.w, "x UID MOVE 1:* %s\r\n", to)
		time.Sleep(rand.N(took)) // the moment is what the test varies
		o.kill(t)
		s.end()
		o.start(t)
		s = o.session(t)
		there := map[string]int{}
		for _, name := range []string{from, to} {
			there[name] = existing(s.do("SELECT %s", name))
		}
		s.end()
		if there[from]+there[to] != messages {
			t.Errorf("kill %d: %d messages are shown in %s and %d in %s", n, there[from], from, there[to], to)
		}
		if there[from] > 0 && there[to] > 0 {
			middle++
		}
		o.moved(t, fmt.Sprintf("kill %d", n), all)
	}
	fmt.Printf("%d times kill -9 during MOVE of %d messages, %d of them in the middle: each message in exactly one folder\n", kills, messages, middle)
}

// moved checks that each file is there once, and nothing else.
func (o *ours) moved(t *testing.T, when string, all map[uint64]bool) {
	t.Helper()
	seen := map[uint64]string{}
	for _, dir := range []string{"cur", "new", "tmp", ".Archive/cur", ".Archive/new", ".Archive/tmp"} {
		for ino := range inodes(t, filepath.Join(o.maildir(), dir)) {
			if seen[ino] != "" {
				t.Errorf("%s: one message is in %s and in %s", when, seen[ino], dir)
			}
			if !all[ino] {
				t.Errorf("%s: %s has a file that was not there", when, dir)
			}
			seen[ino] = dir
		}
	}
	if len(seen) != len(all) {
		t.Errorf("%s: %d messages of %d are there", when, len(seen), len(all))
	}
}

// inodes are those of the files in a directory.
func inodes(t *testing.T, dir string) map[uint64]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]bool{}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all[fi.Sys().(*syscall.Stat_t).Ino] = true
	}
	return all
}
