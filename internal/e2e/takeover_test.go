package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// oldTree writes what years of another server have left in a tree: a uidlist with all keys
// that are known and some that are not, as many keywords as there are letters,
// subscriptions of version 1, and a folder with a uidlist of that version.
func oldTree(t *testing.T, dir string) {
	t.Helper()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Unix(1600000000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"", ".Old", ".B&APw-ro.Alt"} {
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, folder, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	message := func(n int) string { return fmt.Sprintf("Subject: old %d\r\n\r\ntext %d\r\n", n, n) }
	var keywords strings.Builder
	for i := range 26 {
		fmt.Fprintf(&keywords, "%d Kw%c\n", i, 'A'+i)
	}
	write("dovecot-keywords", keywords.String())
	write("dovecot-uidlist", fmt.Sprintf(`3 V1234567 N500 G0123456789abcdef0123456789abcdef P%%v.%%u Zfoo
100 S%[1]d W%[1]d P%[2]s O7 G%[3]s Qwhat :1600000100.M1P1.host
205 G%[4]s :1600000205.M1P1.host
300 W%[1]d P0300 :1600000300.M1P1.host
301 O3 Xx Yy :1600000301.M1P1.host
302 :1600000302.M1P1.host
`, len(message(100)), "uidl-of-100", strings.Repeat("ab", 16), strings.Repeat("cd", 16)))
	write("cur/1600000100.M1P1.host:2,FSabcdefghijklmnopqrstuvwxyz", message(100))
	write("cur/1600000205.M1P1.host:2,Sz", message(205))
	write("cur/1600000300.M1P1.host:2,a", message(300))
	write("cur/1600000301.M1P1.host:2,RS", message(301))
	write("cur/1600000302.M1P1.host:2,", message(302))
	write("new/1600000400.M1P1.host", message(400)) // has no UID yet
	write(".Old/dovecot-uidlist", "1 777 30\n5 1500000005.M1P1.host\n29 1500000029.M1P1.host\n")
	write(".Old/cur/1500000005.M1P1.host:2,S", message(5))
	write(".Old/cur/1500000029.M1P1.host:2,", message(29))
	write("subscriptions", "INBOX\nOld\nB&APw-ro.Alt\nGone.Long.Ago\n")
}

// courierFolder is a folder as Courier leaves it: 12 and 17 have UIDs, one has none.
func courierFolder(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"courierimapuiddb":                        "1 424242 40\n12 1400000012.M1P1V0I1_0.host,S=34\n17 1400000017.M1P1V0I2_0.host,S=34\n",
		"cur/1400000012.M1P1V0I1_0.host,S=34:2,S": "Subject: courier 12\r\n\r\ntext 12\r\n\r\n",
		"cur/1400000017.M1P1V0I2_0.host,S=34:2,":  "Subject: courier 17\r\n\r\ntext 17\r\n\r\n",
		"cur/1400000044.M1P1V0I3_0.host,S=34:2,T": "Subject: courier 44\r\n\r\ntext 44\r\n\r\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// clientCache is what a client keeps that downloads each message once: the text by
// mailbox, UIDVALIDITY and UID.
type clientCache map[string]string

// refresh downloads what is new, drops what is gone, and checks that a text never changes.
func (c clientCache) refresh(s *imapSession, names ...string) (downloaded []string) {
	there := map[string]bool{}
	for _, name := range names {
		lines := s.do("EXAMINE %q", name)
		key := fmt.Sprintf("%s %d", name, number(lines, "[UIDVALIDITY"))
		if existing(lines) == 0 {
			continue
		}
		for _, l := range s.do("UID FETCH 1:* (UID BODY.PEEK[])") {
			if !strings.Contains(l, "FETCH (") {
				continue
			}
			_, text, _ := strings.Cut(l, "}\r\n")
			text, _, _ = strings.Cut(text, ")\r\n")
			id := fmt.Sprintf("%s %d", key, number([]string{l}, "UID"))
			there[id] = true
			if was, ok := c[id]; !ok {
				downloaded = append(downloaded, id)
			} else if was != text {
				s.t.Errorf("%s is %q, was %q", id, text, was)
			}
			c[id] = text
		}
	}
	maps.DeleteFunc(c, func(id, _ string) bool { return !there[id] })
	slices.Sort(downloaded)
	return downloaded
}

// withoutExtra leaves out the keywords that have no letter: each server keeps those where
// the other does not look.
func withoutExtra(lines []string) (left []string) {
	for _, l := range lines {
		fields := slices.DeleteFunc(strings.Split(l, " "), func(f string) bool { return strings.HasPrefix(f, "Extra") })
		left = append(left, strings.Join(fields, " "))
	}
	return left
}

// uidlistLines returns the header and each record's keys by UID.
func uidlistLines(t *testing.T, maildir string) (header string, keys map[int]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(maildir, "dovecot-uidlist"))
	if err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(string(b), "\n")
	keys = map[int]string{}
	for line := range strings.Lines(rest) {
		k, _, _ := strings.Cut(line, ":")
		_, fields, _ := strings.Cut(k, " ")
		keys[number([]string{" " + line}, "")] = fields
	}
	return header, keys
}

// Case 37 with all that a tree can hold: P, O, G and unknown keys, 26 keywords with a
// letter and four without, subscriptions of version 1, Courier's UIDs. A client that
// keeps what it has downloaded downloads nothing again, from Dovecot to us and back.
func TestCase37TakeOverOfAnOldTree(t *testing.T) {
	t.Parallel()
	d := newDovecot(t)
	oldTree(t, d.maildir())
	d.own(t)
	cache := clientCache{}
	s := d.session(t)
	s.do("SELECT INBOX")
	s.do("UID STORE 205 +FLAGS (Extra1 Extra2 Extra3 Extra4)")
	before := mailboxes(s)
	names := []string{"INBOX", "Old", "B&APw-ro/Alt"}
	cache.refresh(s, names...)
	s.end()
	for _, want := range []string{"INBOX validity 1234567 next 501", "Old validity 777 next 30", "subscribed B&APw-ro/Alt", "subscribed Old"} {
		if !slices.Contains(before, want) {
			t.Errorf("Dovecot does not show %q:\n%s", want, strings.Join(before, "\n"))
		}
	}
	header, keys := uidlistLines(t, d.maildir())

	o := onDovecotsTree(t, d)
	o.start(t)
	mine := o.session(t)
	if got := mailboxes(mine); !slices.Equal(got, withoutExtra(before)) {
		t.Errorf("we show\n%s\nDovecot showed\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	if again := cache.refresh(mine, names...); len(again) > 0 {
		t.Errorf("downloaded again from us: %q", again)
	}
	courierFolder(t, filepath.Join(o.maildir(), ".Courier"))
	names = append(names, "Courier")
	want := []string{"Courier 424242 12", "Courier 424242 17", "Courier 424242 40"}
	if fetched := cache.refresh(mine, names...); !slices.Equal(fetched, want) {
		t.Errorf("of Courier's folder we show %q, want %q", fetched, want)
	}

	mine.do("SELECT INBOX")
	mine.do("UID STORE 100 +FLAGS (Extra5 Extra6 Extra7 Extra8)")
	mine.do(`UID STORE 205 +FLAGS (\Flagged KwA KwM)`)
	mine.do("UID STORE 300 -FLAGS (KwA)")
	mine.do("UID MOVE 302 Courier")
	mine.do("SUBSCRIBE Courier")
	mine.do("UNSUBSCRIBE Gone/Long/Ago")
	want = []string{"Courier 424242 41"}
	if fetched := cache.refresh(mine, names...); !slices.Equal(fetched, want) {
		t.Errorf("after the move %q are new, want %q", fetched, want)
	}
	after := mailboxes(mine)
	mine.end()
	o.stop(t)
	if n := strings.Count(strings.Join(after, " "), "Extra"); n != 4 {
		t.Errorf("%d of four keywords without a letter are there:\n%s", n, strings.Join(after, "\n"))
	}

	// Another base has the uidlist written anew; the index is lost.
	if err := os.Rename(filepath.Join(o.maildir(), "cur/1600000301.M1P1.host:2,RS"), filepath.Join(o.maildir(), "cur/1600000301.M1P1.host,U=301:2,RS")); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	o.session(t).end()
	o.stop(t)
	if err := os.RemoveAll(filepath.Join(o.data(), "state")); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	mine = o.session(t)
	if got := mailboxes(mine); !slices.Equal(got, after) {
		t.Errorf("without the index we show\n%s\nand showed\n%s", strings.Join(got, "\n"), strings.Join(after, "\n"))
	}
	if again := cache.refresh(mine, names...); len(again) > 0 {
		t.Errorf("downloaded again without the index: %q", again)
	}
	mine.end()
	o.stop(t)
	nowHeader, nowKeys := uidlistLines(t, o.maildir())
	for f := range strings.FieldsSeq(header) {
		if !slices.Contains(strings.Fields(nowHeader), f) && f[0] != 'N' {
			t.Errorf("the uidlist's header is %q, was %q", nowHeader, header)
		}
	}
	for _, uid := range []int{100, 205, 300, 301} {
		if nowKeys[uid] != keys[uid] && !(uid == 301 && strings.HasPrefix(nowKeys[uid], keys[uid]+"G")) {
			t.Errorf("the keys of UID %d are %q, were %q", uid, nowKeys[uid], keys[uid])
		}
	}

	give(t, o.maildir())
	s = d.session(t)
	if got := withoutExtra(mailboxes(s)); !slices.Equal(got, withoutExtra(after)) {
		t.Errorf("Dovecot shows\n%s\nwe showed\n%s", strings.Join(got, "\n"), strings.Join(after, "\n"))
	}
	if again := cache.refresh(s, names...); len(again) > 0 {
		t.Errorf("downloaded again from Dovecot: %q", again)
	}
	s.end()
	if log := d.log(); strings.Contains(log, "Error") || strings.Contains(log, "Warning") {
		t.Errorf("Dovecot says\n%s", log)
	}
}
