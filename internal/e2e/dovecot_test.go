package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// onDovecotsTree makes a host of ours whose account has Dovecot's tree, where both
// find it from now on.
func onDovecotsTree(t *testing.T, d *dovecot) *ours {
	t.Helper()
	o := newOurs(t)
	home := filepath.Dir(o.maildir())
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.maildir(), o.maildir()); err != nil {
		t.Fatal(err)
	}
	d.move(t, o.maildir())
	return o
}

// move has Dovecot look for its mail elsewhere.
func (d *dovecot) move(t *testing.T, maildir string) {
	t.Helper()
	name := filepath.Join(d.dir, "dovecot.conf")
	conf, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(conf), "maildir:"+d.dir+"/Maildir", "maildir:"+maildir, 1)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(maildir); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil {
			os.Chmod(dir, fi.Mode().Perm()|0o055)
		}
	}
}

// give lets Dovecot's user read and write the whole tree, also what we made.
func give(t *testing.T, maildir string) {
	t.Helper()
	err := filepath.WalkDir(maildir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mailboxes is all that a client keeps of an account: names, subscriptions,
// UIDVALIDITY, UIDs, flags, keywords, sizes and dates.
func mailboxes(s *imapSession) (all []string) {
	var names []string
	for _, l := range s.do(`LIST "" *`) {
		if i := strings.LastIndex(l, `"/" `); i > 0 && !strings.Contains(strings.ToLower(l), `\noselect`) && !strings.Contains(l, `\NonExistent`) {
			names = append(names, strings.Trim(strings.TrimSpace(l[i+4:]), `"`))
		}
	}
	for _, l := range s.do(`LSUB "" *`) {
		if i := strings.LastIndex(l, `"/" `); i > 0 {
			all = append(all, "subscribed "+strings.Trim(strings.TrimSpace(l[i+4:]), `"`))
		}
	}
	for _, name := range names {
		lines := s.do("EXAMINE %q", name)
		all = append(all, fmt.Sprintf("%s validity %d next %d", name, number(lines, "[UIDVALIDITY"), number(lines, "[UIDNEXT")))
		if existing(lines) == 0 {
			continue
		}
		for _, l := range s.do("UID FETCH 1:* (UID FLAGS RFC822.SIZE INTERNALDATE)") {
			_, rest, ok := strings.Cut(l, "FETCH (")
			if !ok {
				continue
			}
			_, flags, _ := strings.Cut(rest, "FLAGS (")
			flags, _, _ = strings.Cut(flags, ")")
			kept := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return f == `\Recent` })
			slices.Sort(kept)
			_, date, _ := strings.Cut(rest, `INTERNALDATE "`)
			date, _, _ = strings.Cut(date, `"`)
			when, err := time.Parse("_2-Jan-2006 15:04:05 -0700", date)
			if err != nil {
				s.t.Errorf("%s: %v", l, err)
			}
			all = append(all, fmt.Sprintf("%s %d %s size %d date %d", name, number([]string{rest}, "UID"), strings.Join(kept, " "),
				number([]string{rest}, "RFC822.SIZE"), when.Unix()))
		}
	}
	slices.Sort(all)
	return all
}

// Case 37: Dovecot's tree is served by us, changed, and given back: no client has
// to download anything again.
func TestCase37DovecotRoundTrip(t *testing.T) {
	t.Parallel()
	d := newDovecot(t)
	fillMaildir(t, d.maildir(), 8)
	d.own(t)
	s := d.session(t)
	s.do("CREATE B&APw-ro/Alt")
	s.do("CREATE Work")
	s.do("SUBSCRIBE Work")
	s.do("SUBSCRIBE INBOX")
	s.do("SELECT INBOX")
	s.do(`UID STORE 1:3 +FLAGS ($Label1 \Flagged)`)
	s.do("UID STORE 2:4 +FLAGS (Later NonJunk)")
	s.do("UID COPY 1:4 Work")
	s.do("UID MOVE 5 Work")
	s.do(`UID STORE 6 +FLAGS (\Deleted)`)
	s.do("EXPUNGE")
	before := mailboxes(s)
	s.end()

	o := onDovecotsTree(t, d)
	o.start(t)
	mine := o.session(t)
	if got := mailboxes(mine); !slices.Equal(got, before) {
		t.Errorf("we show\n%s\nDovecot showed\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	mine.do("SELECT INBOX")
	mine.do(`UID STORE 1 +FLAGS (New \Answered)`)
	mine.do("UID STORE 3 -FLAGS (Later)")
	mine.do("UID MOVE 4 Work")
	mine.do(`UID STORE 8 +FLAGS (\Deleted)`)
	mine.do("EXPUNGE")
	mine.do("CREATE Ours")
	mine.do("SUBSCRIBE Ours")
	mine.do("UID COPY 1:3 Ours")
	after := mailboxes(mine)
	mine.end()
	o.stop(t)

	give(t, o.maildir())
	s = d.session(t)
	if got := mailboxes(s); !slices.Equal(got, after) {
		t.Errorf("Dovecot shows\n%s\nwe showed\n%s", strings.Join(got, "\n"), strings.Join(after, "\n"))
	}
	s.end()
	if log := d.log(); strings.Contains(log, "Error") || strings.Contains(log, "Warning") {
		t.Errorf("Dovecot says\n%s", log)
	}
}

// Case 20: two processes of ours and Dovecot serve one tree at the same time, and all
// add, flag and expunge; mail is delivered to both of ours. In the end all three show the
// same UIDs and flags, UIDs ascend in the list, and we numbered nothing twice. Dovecot may
// have: it takes a message for a new one when its scan misses it because we rename it just
// then. We follow it, and say so.
func TestCase20BesideDovecot(t *testing.T) {
	t.Parallel()
	during := time.Duration(fromEnv(t, "BUZON_BESIDE_SECONDS", 3)) * time.Second
	d := newDovecot(t)
	fillMaildir(t, d.maildir(), 50)
	d.own(t)
	d.session(t).end()
	o := onDovecotsTree(t, d)
	// Both as one user: what one makes the other may read.
	o.asUser = nobody
	give(t, o.dir)
	o.start(t)
	second := beside(t, o)

	work := func(p peer, seed int) {
		s := p.session(t)
		defer s.end()
		s.races = true
		s.do("SELECT INBOX")
		deadline := time.Now().Add(during)
		for i := seed; time.Now().Before(deadline) && !t.Failed(); i++ {
			text := fmt.Sprintf("Subject: %s %d\r\n\r\nx\r\n", p.name(), i)
			s.do("APPEND INBOX (\\Seen) {%d+}\r\n%s", len(text), text)
			if mine, ok := p.(*ours); ok && i%5 == 0 {
				mine.deliver(t, benchAccount, fmt.Sprintf("delivered to %s %d", mine.IP, i))
			}
			s.do("UID STORE %d +FLAGS (\\Flagged)", 1+i%50)
			s.do("UID STORE %d -FLAGS (\\Flagged)", 1+(i+7)%50)
			lines := slices.DeleteFunc(s.do("UID SEARCH ALL"), func(l string) bool { return !strings.HasPrefix(l, "* SEARCH") })
			if fields := strings.Fields(strings.Join(lines, " ")); i%3 == 0 && len(fields) > 60 {
				s.do("UID STORE %s +FLAGS (\\Deleted)", fields[len(fields)-1])
				s.do("UID EXPUNGE %s", fields[len(fields)-1])
			}
		}
	}
	var all sync.WaitGroup
	for i, p := range []peer{o, o, second} {
		all.Go(func() { work(p, i*11) })
	}
	work(d, 5)
	all.Wait()

	ask := func(p peer) []string {
		s := p.session(t)
		defer s.end()
		s.do("SELECT INBOX")
		s.do("NOOP")
		return slices.DeleteFunc(mailboxes(s), func(l string) bool { return !strings.HasPrefix(l, "INBOX ") })
	}
	time.Sleep(1100 * time.Millisecond) // Dovecot looks again only when a second has passed
	mine, theirs := ask(o), ask(d)
	if also := ask(second); !slices.Equal(also, mine) {
		t.Errorf("our two processes show\n%s\nand\n%s", strings.Join(mine, "\n"), strings.Join(also, "\n"))
	}
	for _, l := range mine {
		if !slices.Contains(theirs, l) {
			t.Errorf("only we show %s", l)
		}
	}
	for _, l := range theirs {
		if !slices.Contains(mine, l) {
			t.Errorf("only Dovecot shows %s", l)
		}
	}
	twice := doubledLines(t, o.maildir())
	logs := o.log.String() + second.log.String()
	if again := loggedCount(logs, "messages have new UIDs, as another server listed them again"); twice > again {
		t.Errorf("%d messages have two lines in the uidlist, Dovecot is to blame for %d", twice, again)
	}
	if back := loggedCount(logs, "files that were listed before are new messages"); back > 0 {
		t.Errorf("we gave %d listed messages new UIDs", back)
	}
	if log := d.log(); strings.Contains(log, "Error") || strings.Contains(log, "Broken") {
		t.Errorf("Dovecot says\n%s", log)
	}
	t.Logf("%d messages in the end, %d with a second line", len(mine)-1, twice)
}

// beside makes and starts another process of ours that has data of its own and o's mail.
func beside(t *testing.T, o *ours) *ours {
	t.Helper()
	second := newOurs(t)
	mail := filepath.Join(second.data(), "mail")
	if err := os.RemoveAll(mail); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(o.data(), "mail"), mail); err != nil {
		t.Fatal(err)
	}
	second.asUser = o.asUser
	give(t, second.dir)
	second.start(t)
	return second
}

// doubledLines counts the lines of a uidlist whose base has another one before.
// UIDs must ascend.
func doubledLines(t *testing.T, maildir string) (doubled int) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(maildir, "dovecot-uidlist"))
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(strings.TrimSuffix(string(list), "\n"), "\n")
	seen, last := map[string]bool{}, 0
	for line := range strings.SplitSeq(lines, "\n") {
		uid := number([]string{" " + line}, "")
		if uid <= last {
			t.Errorf("uidlist: UID %d after %d", uid, last)
		}
		_, base, _ := strings.Cut(line, ":")
		if seen[base] {
			doubled++
		}
		last, seen[base] = uid, true
	}
	return doubled
}

// loggedCount is the sum of the counts in all lines of a log with this message.
func loggedCount(log, msg string) (sum int) {
	for line := range strings.SplitSeq(log, "\n") {
		if strings.Contains(line, msg) {
			sum += number([]string{strings.ReplaceAll(line, "=", " ")}, " count")
		}
	}
	return sum
}
