package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whole folders that mv, cp, rm and rsync move, copy and remove while we serve them:
// the sentences of docs/maildir.md about folders.

// stand is what a client keeps of a mailbox.
type stand struct {
	validity, next, messages int
	id                       string // MAILBOXID (RFC 8474)
}

func (s *shared) stand(name string) (st stand) {
	s.t.Helper()
	lines := s.session.do("STATUS %q (MESSAGES UIDNEXT UIDVALIDITY MAILBOXID)", name)
	_, id, _ := strings.Cut(strings.Join(lines, ""), "MAILBOXID (")
	id, _, _ = strings.Cut(id, ")")
	st = stand{number(lines, "UIDVALIDITY"), number(lines, "UIDNEXT"), number(lines, "MESSAGES"), id}
	if st.validity == 0 || st.next == 0 || st.id == "" {
		s.t.Errorf("STATUS of %s is %q", name, lines)
	}
	return st
}

// listed waits until LIST shows these mailboxes beside those that are always there.
func (s *shared) listed(want ...string) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		var got []string
		for _, l := range s.session.do(`LIST "" *`) {
			name := strings.Trim(strings.TrimSpace(l[strings.LastIndex(l, `"/"`)+3:]), `"`)
			if !strings.Contains(" INBOX Archive Drafts Junk Sent Trash ", " "+name+" ") {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Errorf("LIST has %q, want %q", got, want)
		}
		return nil
	})
}

// folder is a mailbox with three messages, one of them flagged.
func (s *shared) folder(name string) stand {
	s.t.Helper()
	s.session.do("CREATE %s", name)
	s.session.do("UID COPY 1:3 %s", name)
	s.session.do("SELECT %s", name)
	s.session.do(`UID STORE 2 +FLAGS (\Flagged Key)`)
	s.session.do("UNSELECT")
	return s.stand(name)
}

// has checks the messages of a folder as a new client sees them.
func (s *shared) has(name string, want ...string) {
	s.t.Helper()
	fresh := s.ours.session(s.t)
	defer fresh.end()
	fresh.do("EXAMINE %q", name)
	if got := s.list(fresh); strings.Join(got, ", ") != strings.Join(want, ", ") {
		s.t.Errorf("%s has %q, want %q", name, got, want)
	}
}

var three = []string{"1", `2 Key \Flagged \Seen`, `3 \Answered \Seen`}

// A folder that gets another name is the same mailbox under that name, also for
// whoever has it open.
func TestMoveFolder(t *testing.T) {
	t.Parallel()
	s := share(t)
	was := s.folder("Work")
	reader := s.ours.session(t)
	defer reader.end()
	reader.do("SELECT Work")
	s.program(nil, "mv", ".Work", ".Play")
	s.listed("Play")
	if now := s.stand("Play"); now != was {
		t.Errorf("Play is %+v, Work was %+v", now, was)
	}
	s.has("Play", three...)
	reader.do("NOOP")
	text := "Subject: x\r\n\r\nx\r\n"
	s.session.do("APPEND Play {%d+}\r\n%s", len(text), text)
	s.has("Play", append(append([]string{}, three...), "4")...)
	s.program(nil, "mv", ".Play", ".Work") // and back
	s.listed("Work")
	s.has("Work", append(append([]string{}, three...), "4")...)
}

// A copied folder is another mailbox, with everything that the first one had; what
// happens to one is not seen in the other.
func TestCopyFolder(t *testing.T) {
	t.Parallel()
	s := share(t)
	was := s.folder("Work")
	s.program(nil, "cp", "-a", ".Work", ".Copy")
	s.listed("Copy", "Work")
	copied := s.stand("Copy")
	if copied.validity == was.validity || copied.id == was.id || copied.messages != 3 {
		t.Errorf("the copy is %+v, the folder is %+v", copied, was)
	}
	if now := s.stand("Work"); now != was {
		t.Errorf("the folder is %+v, was %+v", now, was)
	}
	s.has("Copy", three...)
	s.session.do("SELECT Copy")
	s.session.do(`UID STORE 1 +FLAGS (\Deleted)`)
	s.session.do("EXPUNGE")
	s.session.do("UNSELECT")
	s.has("Copy", three[1:]...)
	s.has("Work", three...)
	// Both exist when the server comes back, each as it was.
	s.ours.restart(t)
	s.session = s.ours.session(t)
	if now := s.stand("Work"); now != was {
		t.Errorf("after a restart the folder is %+v, was %+v", now, was)
	}
	if now := s.stand("Copy"); now.validity != copied.validity || now.id != copied.id || now.messages != 2 {
		t.Errorf("after a restart the copy is %+v, was %+v", now, copied)
	}
}

// A removed folder is gone; one that is put back by rsync, with the times and the
// uidlist that it had, is the mailbox that it was.
func TestRemoveAndRestoreFolder(t *testing.T) {
	t.Parallel()
	need(t, "rsync")
	s := share(t)
	was := s.folder("Work")
	backup := t.TempDir()
	s.program(nil, "rsync", "-a", ".Work/", backup+"/")
	reader := s.ours.session(t)
	defer reader.end()
	s.program(nil, "rm", "-r", ".Work")
	s.listed()
	s.program(nil, "rsync", "-a", backup+"/", ".Work/")
	s.listed("Work")
	now := s.stand("Work")
	if now.messages != 3 || now.validity == was.validity && now.next < was.next {
		t.Errorf("the restored folder is %+v, was %+v", now, was)
	}
	s.has("Work", three...)
	// rsync --delete makes the tree what the backup is: what came later goes.
	text := "Subject: x\r\n\r\nx\r\n"
	s.session.do("APPEND Work (\\Seen) {%d+}\r\n%s", len(text), text)
	s.program(nil, "rsync", "-a", "--delete", backup+"/cur/", ".Work/cur/")
	s.has("Work", three...)
	// The whole of INBOX's cur/ is moved away, and put back after a moment.
	s.session.do("SELECT INBOX")
	aside := filepath.Join(t.TempDir(), "cur")
	s.program(nil, "mv", "cur", aside)
	s.session.do("NOOP")
	s.program(nil, "cp", "-a", aside, "cur")
	s.sees(atFirst...)
	if err := os.RemoveAll(aside); err != nil {
		t.Fatal(err)
	}
}
