package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What docs/maildir.md says of single files that others put, rename, link, copy and
// remove in the tree: a client that has the mailbox selected sees each, by the programs
// that people use. (Case 7, and 8 to 11 as far as they need no clock.)
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	s := share(t)
	name := func(uid int) string { // fillMaildir's
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.maildir(), "cur", fmt.Sprintf("*P77Q%d.*", uid-1)))
		if err != nil || len(found) == 0 {
			t.Fatalf("UID %d has the files %q, %v", uid, found, err)
		}
		return filepath.Base(found[0])
	}
	sh := func(format string, args ...any) {
		t.Helper()
		s.program(nil, "sh", "-ec", fmt.Sprintf(format, args...))
	}
	saved := filepath.Join(t.TempDir(), "saved")
	want := append([]string{}, atFirst...)

	// Delivered by link and unlink; put into cur/ without flags; put into new/ with some.
	sh(`printf 'Subject: a\n\nx\n' >tmp/1700000001.M1P1.x; ln tmp/1700000001.M1P1.x new/1700000001.M1P1.x; rm tmp/1700000001.M1P1.x`)
	want = append(want, "6")
	s.sees(want...)
	sh(`printf 'Subject: b\n\nx\n' >cur/1700000002.M1P1.x`)
	want = append(want, "7")
	s.sees(want...)
	sh(`printf 'Subject: c\n\nx\n' >new/1700000003.M1P1.x:2,FS`)
	want = append(want, `8 \Flagged \Seen`)
	s.sees(want...)

	// Other flags; from cur/ back to new/, and forth again.
	sh("mv cur/%s cur/%s", name(1), strings.Replace(name(1), ":2,", ":2,F", 1))
	want[0] = `1 \Flagged`
	s.sees(want...)
	sh("mv cur/1700000002.M1P1.x new/1700000002.M1P1.x")
	s.sees(want...)
	sh("mv */1700000002.M1P1.x* cur/1700000002.M1P1.x:2,R") // the client's session may have put it into cur/
	want[6] = `7 \Answered`
	s.sees(want...)

	// Another base: the UID stays, and the uidlist says so.
	was := name(2)
	base, flags, _ := strings.Cut(was, ":")
	sh("mv cur/%s cur/%s,U=7:%s", was, base, flags)
	s.sees(want...)
	list, err := os.ReadFile(filepath.Join(s.maildir(), "dovecot-uidlist"))
	if err != nil || !strings.Contains(string(list), base+",U=7\n") {
		t.Errorf("the uidlist does not have the new base: %v\n%s", err, list)
	}

	// A second name of the same file is the same message, also when the first one goes.
	linked := name(4)
	sh("ln cur/%s cur/%sT", linked, linked)
	s.sees(want...)
	sh("rm cur/%s", linked)
	want[3] = `4 \Deleted`
	s.sees(want...)

	// A copy under a second name is another message.
	sh("cp cur/%s cur/%s", name(5), strings.Replace(name(5), ":2,", ":2,D", 1))
	want = append(want, `9 \Draft \Seen`)
	s.sees(want...)

	// Removed, and put back: gone, and a new message.
	removed := name(3)
	sh("cp -p cur/%s %s; rm cur/%s", removed, saved, removed)
	want = append(want[:2:2], want[3:]...)
	s.sees(want...)
	sh("cp -p %s cur/%s", saved, removed)
	want = append(want, `10 \Answered \Seen`)
	s.sees(want...)

	// What is no message is no message.
	sh("mkdir cur/dir:2,S; mkfifo cur/fifo:2,S; ln -s /etc/passwd cur/link:2,S; touch cur/.hidden:2,S")
	s.sees(want...)
	if next := number(s.session.do("STATUS INBOX (UIDNEXT)"), "UIDNEXT"); next != 11 {
		t.Errorf("UIDNEXT %d", next)
	}
}
