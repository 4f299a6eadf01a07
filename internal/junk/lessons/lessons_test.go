package lessons

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"buzon/internal/junk"
	"buzon/maildir"
)

const ana = "ana@example.org"

// school is a store with ana's mail, and her teacher.
type school struct {
	*Teacher
	t       *testing.T
	mail    string
	user    *maildir.User
	library *junk.Library
	learned string // the file of what ana has taught
	serial  int
}

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{t: t, mail: t.TempDir()}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := maildir.Open(maildir.Config{Mail: s.mail, State: t.TempDir(), Host: "mx", Log: log})
	s.must(err)
	t.Cleanup(func() { store.Close() })
	s.user, err = store.User(t.Context(), ana)
	s.must(err)
	t.Cleanup(s.user.Release)
	dir := t.TempDir()
	s.learned = filepath.Join(dir, "example.org", "ana.learned")
	s.library, err = junk.Open(junk.Config{Dir: dir, Log: log})
	s.must(err)
	t.Cleanup(func() { s.library.Close() })
	s.Teacher = New(Config{Store: store, Library: s.library, Accounts: func() []string { return []string{ana, "gone@example.org"} }, Log: log})
	s.look()
	return s
}

func (s *school) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *school) look() {
	s.t.Helper()
	s.must(s.visit(s.t.Context(), ana))
}

// knows checks how many messages were learned, after a look.
func (s *school) knows(good, bad int) {
	s.t.Helper()
	s.look()
	g, b, err := s.Known(ana)
	s.must(err)
	if g != good || b != bad {
		s.t.Fatalf("knows %d good and %d junk, want %d and %d", g, b, good, bad)
	}
}

// text is another message each time, all of the same size.
func (s *school) text() string {
	s.serial++
	return fmt.Sprintf("Received: id %08d\r\nMessage-ID: <%08d@x>\r\nSubject: message\r\n\r\nsome words of this one\r\n", s.serial, s.serial)
}

// deliver brings a message into a mailbox, as a program that knows our store does.
func (s *school) deliver(mailbox, text string, flags maildir.Flags, keywords ...string) maildir.UID {
	s.t.Helper()
	m := s.open(mailbox)
	defer m.Close()
	staged, err := s.user.Stage(s.t.Context(), strings.NewReader(text))
	s.must(err)
	uids, err := m.Append(s.t.Context(), []maildir.Append{{Staged: staged, Flags: flags, Keywords: keywords}})
	s.must(err)
	return uids[0]
}

func (s *school) open(mailbox string) *maildir.Mailbox {
	s.t.Helper()
	m, err := s.user.Open(s.t.Context(), mailbox)
	s.must(err)
	return m
}

func (s *school) move(uid maildir.UID, from, to string) maildir.UID {
	s.t.Helper()
	src, dst := s.open(from), s.open(to)
	defer src.Close()
	defer dst.Close()
	_, err := src.Move(s.t.Context(), []maildir.UID{uid}, dst)
	s.must(err)
	st := dst.State()
	return st.UIDs()[st.Len()-1]
}

func (s *school) mark(mailbox string, uid maildir.UID, op maildir.Op, keyword string) {
	s.t.Helper()
	m := s.open(mailbox)
	defer m.Close()
	_, err := m.Store(s.t.Context(), []maildir.UID{uid}, maildir.Change{Op: op, Keywords: []string{keyword}})
	s.must(err)
}

// There and back, by MOVE: learned once each time, and unlearned on the way back.
func TestMove(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.must(s.user.Create(t.Context(), "Shop/Orders", ""))
	uid := s.deliver("INBOX", s.text(), 0)
	s.knows(0, 0)
	uid = s.move(uid, "INBOX", "Junk")
	s.knows(0, 1)
	s.knows(0, 1)
	uid = s.move(uid, "Junk", "Shop/Orders")
	s.knows(1, 0)
	uid = s.move(uid, "Shop/Orders", "Junk")
	s.knows(0, 1)
	s.move(uid, "Junk", "Trash") // that is no praise
	s.knows(0, 1)
}

// A copy, and the original goes later: as programs without MOVE do it.
func TestCopy(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	uid := s.deliver("INBOX", s.text(), 0)
	inbox, box := s.open("INBOX"), s.open("Junk")
	_, err := inbox.Copy(t.Context(), []maildir.UID{uid}, box)
	s.must(err)
	s.knows(0, 1)
	_, err = inbox.Store(t.Context(), []maildir.UID{uid}, maildir.Change{Op: maildir.Add, Flags: maildir.FlagDeleted})
	s.must(err)
	_, err = inbox.Expunge(t.Context(), []maildir.UID{uid})
	s.must(err)
	s.knows(0, 1)
	_, err = box.Copy(t.Context(), box.State().UIDs(), inbox)
	s.must(err)
	inbox.Close()
	box.Close()
	s.mark("Junk", 1, maildir.Add, "touched") // or \Deleted, or EXPUNGE
	s.knows(1, 0)
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	uid := s.deliver("INBOX", s.text(), 0)
	s.deliver("INBOX", s.text(), 0, "NonJunk")
	s.knows(1, 0)
	s.mark("INBOX", uid, maildir.Add, "$Junk")
	s.knows(1, 1)
	s.mark("INBOX", uid, maildir.Remove, "$Junk")
	s.mark("INBOX", uid, maildir.Add, "$NotJunk")
	s.knows(2, 0)
	s.deliver("Junk", s.text(), 0, "$NotJunk") // on its way out
	s.knows(3, 0)
}

// mutt renames files from one Maildir to another; mbsync writes new ones.
func TestOtherPrograms(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	tree := filepath.Join(s.mail, "example.org", "ana", "Maildir")
	text := s.text()
	s.must(os.WriteFile(filepath.Join(tree, "new", "1.M1P1.host"), []byte(text), 0o600))
	s.knows(0, 0)
	s.must(os.Rename(s.only(tree, "*"), filepath.Join(tree, ".Junk", "cur", "2.M2P2.host:2,S")))
	s.knows(0, 1)
	s.must(os.WriteFile(filepath.Join(tree, ".Archive", "cur", "3.M3P3.host:2,S"), []byte(text), 0o600))
	s.must(os.Remove(s.only(filepath.Join(tree, ".Junk"), "2.*")))
	s.knows(1, 0)
}

func (s *school) only(dir, pattern string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "[nc][eu][wr]", pattern))
	s.must(err)
	if len(found) != 1 {
		s.t.Fatalf("%q", found)
	}
	return found[0]
}

// What we filed as junk ourselves is no lesson, and taking it out is one.
func TestFiled(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	text := s.text()
	s.must(s.library.Filed(ana, strings.NewReader(text), int64(len(text))))
	uid := s.deliver("Junk", text, 0)
	s.knows(0, 0)
	uid = s.move(uid, "Junk", "INBOX")
	s.knows(1, 0)
	s.move(uid, "INBOX", "Junk")
	s.knows(0, 1)
}

// Mail that was read is learned as good, one for each that was junk and no more.
func TestBalance(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	for range 6 {
		s.deliver("INBOX", s.text(), maildir.FlagSeen)
		s.deliver("Archive", s.text(), maildir.FlagSeen)
		s.deliver("INBOX", s.text(), 0)
		s.deliver("Trash", s.text(), maildir.FlagSeen)
	}
	s.knows(0, 0)
	for i := range 10 {
		s.deliver("Junk", s.text(), 0)
		if i%5 == 4 {
			s.knows(i+1, i+1)
		}
	}
	for range 5 {
		s.deliver("Junk", s.text(), 0)
	}
	s.knows(12, 15)
	// One that counted as good turns out to be junk.
	m := s.open("INBOX")
	seen := m.State().UIDs()[0]
	m.Close()
	s.move(seen, "INBOX", "Junk")
	s.knows(11, 16)
}

// What was there when we came is no lesson, nor is what has other UIDs now.
// A memory of some MB is not written for every new message; a lesson is, at once.
func TestSave(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	uid := s.deliver("INBOX", s.text(), 0)
	s.look()
	file := func() string {
		text, err := os.ReadFile(s.learned)
		s.must(err)
		return string(text)
	}
	s.seen[ana].saved = time.Now().Add(time.Hour) // however slow this machine is
	before := file()
	s.deliver("INBOX", s.text(), 0)
	s.look()
	if file() != before {
		t.Error("it was written for a message that taught nothing")
	}
	s.seen[ana].saved = time.Now().Add(-saveEvery)
	s.seen[ana].unsettled = false
	s.look()
	if file() == before {
		t.Error("it was not written later, when nothing new came")
	}
	s.seen[ana].saved, before = time.Now().Add(time.Hour), file()
	s.move(uid, "INBOX", "Junk")
	s.look()
	if file() == before {
		t.Error("it was not written with a lesson")
	}
}

func TestFirstLook(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	for range 3 {
		s.deliver("Junk", s.text(), 0)
	}
	s.must(s.library.With(ana, func(m *junk.Memory) error { m.KeepPlaces(func(string) bool { return false }); return nil }))
	s.knows(0, 0)
	s.must(s.library.With(ana, func(m *junk.Memory) error { m.SetPlace("Junk", junk.Place{Validity: 7, Next: 1}); return nil }))
	s.knows(0, 0)
	s.deliver("Junk", s.text(), 0)
	s.knows(0, 1)
}

func TestTrain(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.deliver("Junk", s.text(), 0)
	s.knows(0, 1)
	for range 4 {
		s.deliver("Junk", s.text(), 0)
		s.deliver("INBOX", s.text(), maildir.FlagSeen)
		s.deliver("INBOX", s.text(), 0)
		s.deliver("Archive", s.text(), maildir.FlagSeen)
		s.deliver("Sent", s.text(), maildir.FlagSeen)
		s.deliver("INBOX", s.text(), maildir.FlagSeen, "$Junk")
	}
	last := map[string]int{}
	good, bad, err := s.Train(t.Context(), ana, func(mailbox string, done, total int) {
		if done < last[mailbox] || done > total {
			t.Errorf("%s: %d of %d after %d", mailbox, done, total, last[mailbox])
		}
		last[mailbox] = done
	})
	s.must(err)
	if good != 8 || bad != 9 || last["INBOX"] != 12 || last["Junk"] != 5 {
		t.Errorf("%d good, %d junk, %v", good, bad, last)
	}
	s.knows(8, 9) // nothing counts twice
}

// Run looks at everybody, those too who have no mail, and ends when it is told to.
func TestRun(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.Teacher.cfg.Interval = 1
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.deliver("Junk", s.text(), 0)
	deadline := time.Now().Add(30 * time.Second)
	for bad := 0; bad == 0; {
		var err error
		_, bad, err = s.Known(ana)
		s.must(err)
		if time.Now().After(deadline) {
			t.Fatal("nothing is learned")
		}
		runtime.Gosched()
	}
	cancel()
	s.must(<-done)
}
