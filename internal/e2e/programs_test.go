package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buzon/internal/e2e/child"
)

// These are the programs of docs/maildir.md that work in a tree while we serve it.
// Each test is the proof of the sentences that it begins with.

// shared is a tree that a client looks at while another program works in it.
type shared struct {
	*ours
	t       testing.TB
	session *imapSession
	next    int // UIDNEXT when it was opened
}

// share serves five messages; the client has INBOX selected.
func share(t *testing.T) *shared {
	t.Helper()
	o := newOurs(t)
	fillMaildir(t, o.maildir(), 5)
	o.start(t)
	s := &shared{ours: o, t: t, session: o.ours().session(t)}
	t.Cleanup(s.session.end)
	s.session.do("ENABLE QRESYNC")
	s.next = number(s.session.do("SELECT INBOX"), "[UIDNEXT")
	return s
}

func (o *ours) ours() peer { return o }

// sees waits until the client is shown these messages: "UID flags".
func (s *shared) sees(want ...string) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		s.session.do("NOOP")
		if got := s.list(s.session); !slices.Equal(got, want) {
			return fmt.Errorf("the client sees %q, want %q", got, want)
		}
		return nil
	})
	// And so does one that comes now.
	fresh := s.ours.session(s.t)
	defer fresh.end()
	fresh.do("EXAMINE INBOX")
	if got := s.list(fresh); !slices.Equal(got, want) {
		s.t.Errorf("a new client sees %q, want %q", got, want)
	}
}

func (s *shared) list(session *imapSession) (all []string) {
	for _, l := range session.do("UID FETCH 1:* (FLAGS)") {
		_, rest, ok := strings.Cut(l, "FETCH (")
		if !ok {
			continue
		}
		_, flags, _ := strings.Cut(rest, "FLAGS (")
		flags, _, _ = strings.Cut(flags, ")")
		kept := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return f == `\Recent` })
		slices.Sort(kept)
		all = append(all, strings.TrimSpace(fmt.Sprintf("%d %s", number([]string{rest}, "UID"), strings.Join(kept, " "))))
	}
	return all
}

// atFirst is what share's client sees in the beginning.
var atFirst = []string{"1", `2 \Seen`, `3 \Answered \Seen`, "4", `5 \Seen`}

func (s *shared) program(env []string, name string, args ...string) string {
	s.t.Helper()
	cmd := child.Command(s.t, 2*patience, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = s.maildir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *shared) file(text string) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// mutt flags, answers for, removes and appends messages.
func TestMutt(t *testing.T) {
	t.Parallel()
	need(t, "mutt", "tmux")
	s := share(t)
	rc := s.file("set mbox_type=Maildir quit=yes delete=yes move=no wait_key=no confirmappend=no sort=mailbox-order mark_old=no folder=" + s.maildir() +
		"\npush '<first-entry><flag-message><next-entry><delete-message><next-entry><save-message>=.Archive/<enter><first-entry><quit>'\n")
	onTerminal(t, s.maildir(), "mutt -n -F "+rc+" -f "+s.maildir()).ends()
	// The order of mutt is that of the directory: count what it did.
	eventually(t, patience, func() error {
		s.session.do("NOOP")
		got := s.list(s.session)
		flagged := 0
		for _, l := range got {
			flagged += strings.Count(l, `\Flagged`)
		}
		if len(got) != 3 || flagged != 1 {
			return fmt.Errorf("the client sees %q", got)
		}
		for _, l := range got {
			if !slices.ContainsFunc(atFirst, func(was string) bool { return was[0] == l[0] }) {
				return fmt.Errorf("%s was not there", l)
			}
		}
		return nil
	})
	other := s.ours.session(t)
	defer other.end()
	if n := existing(other.do("SELECT Archive")); n != 1 {
		t.Errorf("Archive has %d messages", n)
	}
}

// notmuch indexes the tree and keeps flags and tags in step.
func TestNotmuch(t *testing.T) {
	t.Parallel()
	need(t, "notmuch")
	s := share(t)
	config := s.file("[database]\npath=" + s.maildir() + "\n[user]\nname=Ana\nprimary_email=" + benchAccount +
		"\n[new]\ntags=unread;inbox\nignore=dovecot-uidlist;dovecot-uidvalidity;subscriptions\n[maildir]\nsynchronize_flags=true\n")
	env := []string{"NOTMUCH_CONFIG=" + config, "HOME=" + t.TempDir()}
	s.program(env, "notmuch", "new")
	if out := s.program(env, "notmuch", "count", "*"); strings.TrimSpace(out) != "5" {
		t.Errorf("notmuch counts %s messages", out)
	}
	s.sees(atFirst...)
	s.program(env, "notmuch", "tag", "+flagged", "-unread", "--", "id:00000000@far.test")
	s.program(env, "notmuch", "tag", "+replied", "--", "id:00000001@far.test")
	want := []string{`1 \Flagged \Seen`, `2 \Answered \Seen`, `3 \Answered \Seen`, "4", `5 \Seen`}
	s.sees(want...)
	// The other way: our flag becomes a tag.
	s.session.do(`UID STORE 5 +FLAGS (\Flagged)`)
	s.program(env, "notmuch", "new")
	if out := s.program(env, "notmuch", "search", "--output=messages", "tag:flagged"); !strings.Contains(out, "00000004@far.test") {
		t.Errorf("notmuch finds as flagged: %s", out)
	}
	// Its database in the tree is no mailbox.
	for _, l := range s.session.do(`LIST "" *`) {
		if strings.Contains(l, "notmuch") {
			t.Errorf("the list of mailboxes has %s", l)
		}
	}
}

// mu reads the tree and changes nothing.
func TestMu(t *testing.T) {
	t.Parallel()
	need(t, "mu")
	s := share(t)
	home := t.TempDir()
	s.program(nil, "mu", "init", "--muhome="+home, "--maildir="+s.maildir())
	s.program(nil, "mu", "index", "--muhome="+home)
	if out := s.program(nil, "mu", "find", "--muhome="+home, "--fields=s", "subject:00000003"); !strings.Contains(out, "number 00000003") {
		t.Errorf("mu finds %q", out)
	}
	s.sees(atFirst...)
	s.session.do(`UID STORE 4 +FLAGS (\Flagged)`)
	s.program(nil, "mu", "index", "--muhome="+home)
	if out := s.program(nil, "mu", "find", "--muhome="+home, "--fields=s", "flag:flagged"); !strings.Contains(out, "number 00000003") {
		t.Errorf("mu finds as flagged %q", out)
	}
}

// mbsync renames every base to add its own UID; messages and flags go both ways.
func TestMbsync(t *testing.T) {
	t.Parallel()
	need(t, "mbsync")
	s := share(t)
	laptop := t.TempDir()
	far := filepath.Join(laptop, "inbox")
	state := t.TempDir() + "/"
	config := s.file(fmt.Sprintf(`MaildirStore host
Inbox %s
SubFolders Maildir++

MaildirStore laptop
Inbox %s
Path %s/

Channel both
Far :host:
Near :laptop:
Create Both
Expunge Both
SyncState %s
`, s.maildir(), far, laptop, state))
	sync := func() { s.program([]string{"HOME=" + t.TempDir()}, "mbsync", "-c", config, "both") }
	sync()
	s.sees(atFirst...) // no phantom, no new UID, though every base is another
	marked, err := filepath.Glob(filepath.Join(s.maildir(), "cur", "*,U=*"))
	if err != nil || len(marked) != 5 {
		t.Fatalf("mbsync marked %d files, %v", len(marked), err)
	}
	there, err := filepath.Glob(filepath.Join(far, "[cn]*", "*"))
	if err != nil || len(there) != 5 {
		t.Fatalf("the laptop has %d messages, %v", len(there), err)
	}
	// The laptop writes one.
	text := "Subject: from the laptop\r\n\r\nx\r\n"
	if err := os.WriteFile(filepath.Join(far, "cur", "1700000000.M1P1.laptop:2,S"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sync()
	s.sees(append(slices.Clone(atFirst), `6 \Seen`)...)
	// The laptop flags one, removes another, and we flag a third: all goes both ways.
	rename := func(dir, mark, to string) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "[cn]*", "*,U="+mark+":*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("files with U=%s in %s: %q, %v", mark, dir, found, err)
		}
		base, _, _ := strings.Cut(filepath.Base(found[0]), ":2,")
		if to == "" {
			err = os.Remove(found[0])
		} else {
			err = os.Rename(found[0], filepath.Join(dir, "cur", base+to))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rename(far, "1", ":2,FRS")
	rename(far, "2", "")
	s.session.do(`UID STORE 5 +FLAGS (\Flagged)`)
	sync()
	s.sees(`1 \Answered \Flagged \Seen`, `3 \Answered \Seen`, "4", `5 \Flagged \Seen`, `6 \Seen`)
	if found, _ := filepath.Glob(filepath.Join(far, "cur", "*,U=5:2,FS")); len(found) != 1 {
		t.Errorf("our flag did not reach the laptop: %q", found)
	}
	// It comes right after we put a message here ourselves.
	text = "Subject: ours\r\n\r\nx\r\n"
	s.session.do("APPEND INBOX (\\Seen) {%d+}\r\n%s", len(text), text)
	sync()
	s.sees(`1 \Answered \Flagged \Seen`, `3 \Answered \Seen`, "4", `5 \Flagged \Seen`, `6 \Seen`, `7 \Seen`)
	// We move a marked message: its mark stays behind, or mbsync would stop.
	s.session.do("UID MOVE 4 Archive")
	sync()
	s.sees(`1 \Answered \Flagged \Seen`, `3 \Answered \Seen`, `5 \Flagged \Seen`, `6 \Seen`, `7 \Seen`)
}

// procmail delivers into new/, and in its MH mode uses names again.
func TestProcmail(t *testing.T) {
	t.Parallel()
	need(t, "procmail")
	s := share(t)
	deliver := func(target, subject string) {
		t.Helper()
		rc := s.file("DEFAULT=" + target + "\nLOGFILE=" + filepath.Join(t.TempDir(), "log") + "\n")
		cmd := child.Command(t, 2*patience, "procmail", rc)
		cmd.Stdin = strings.NewReader("From: a@far.test\nSubject: " + subject + "\n\nhola\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("procmail: %v %s", err, out)
		}
	}
	deliver(s.maildir()+"/", "by maildir")
	s.sees(append(slices.Clone(atFirst), "6")...)
	for i := range 3 {
		subject := fmt.Sprint("by mh ", i)
		deliver(s.maildir()+"/new/.", subject) // names by number
		uid := 7 + i
		s.sees(append(slices.Clone(atFirst), "6", fmt.Sprint(uid))...)
		if got := strings.Join(s.session.do("UID FETCH %d BODY.PEEK[HEADER.FIELDS (SUBJECT)]", uid), ""); !strings.Contains(got, subject) {
			t.Errorf("UID %d is %q, want %q", uid, got, subject)
		}
		s.session.do(`UID STORE %d +FLAGS (\Deleted)`, uid)
		s.session.do("EXPUNGE")
	}
}

// rsync copies the tree while we serve it, and puts back what was removed: as new
// messages, though it sets the directories' times back.
func TestRsync(t *testing.T) {
	t.Parallel()
	need(t, "rsync")
	s := share(t)
	backup := t.TempDir()
	s.program(nil, "rsync", "-a", s.maildir()+"/", backup+"/")
	s.session.do(`UID STORE 2 +FLAGS (\Deleted)`)
	s.session.do("EXPUNGE")
	s.sees("1", `3 \Answered \Seen`, "4", `5 \Seen`)
	s.program(nil, "rsync", "-a", "--include=cur/", "--include=cur/*", "--exclude=*", backup+"/", s.maildir()+"/")
	s.sees("1", `3 \Answered \Seen`, "4", `5 \Seen`, `6 \Seen`)
	// The whole of the backup, with its older uidlist: what was told to be gone
	// does not come back under its old UID.
	s.stop(t)
	if err := os.RemoveAll(s.maildir()); err != nil {
		t.Fatal(err)
	}
	s.program2("rsync", "-a", backup+"/", s.maildir()+"/")
	s.host.start(t)
	s.session = s.ours.session(t)
	s.session.do("SELECT INBOX")
	s.sees("1", `3 \Answered \Seen`, "4", `5 \Seen`, `6 \Seen`)
}

// program2 runs a program from elsewhere, when the tree is not there.
func (s *shared) program2(name string, args ...string) {
	s.t.Helper()
	if out, err := child.Command(s.t, 2*patience, name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// restic keeps snapshots of a tree that is being served and restores them.
func TestRestic(t *testing.T) {
	t.Parallel()
	need(t, "restic")
	s := share(t)
	repo := t.TempDir()
	env := []string{"RESTIC_REPOSITORY=" + repo, "RESTIC_PASSWORD=x", "HOME=" + t.TempDir(), "RESTIC_CACHE_DIR=" + t.TempDir()}
	s.program(env, "restic", "init")
	s.program(env, "restic", "backup", "--quiet", s.maildir())
	s.session.do(`UID STORE 3 +FLAGS (\Deleted)`)
	s.session.do("EXPUNGE")
	s.sees("1", `2 \Seen`, "4", `5 \Seen`)
	restored := t.TempDir()
	s.program(env, "restic", "restore", "latest", "--quiet", "--target", restored)
	found, err := filepath.Glob(filepath.Join(restored, s.maildir(), "cur", "*P77Q2.*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	s.program(nil, "cp", "-p", found[0], filepath.Join(s.maildir(), "cur"))
	s.sees("1", `2 \Seen`, "4", `5 \Seen`, `6 \Answered \Seen`)
}
