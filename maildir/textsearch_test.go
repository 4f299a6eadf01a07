package maildir

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/message"
	"buzon/maildir/textindex"
)

// oddMessage has texts of all kinds that SEARCH looks into.
func oddMessage(rnd *rand.Rand, i int) string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	words := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(pick("alpha", "beta", "Grüße", "Straße", "ﬁne", "καλημέρα", "Привет", "日本語", "e\u0301t\u0323e", "x", "I\u0307", "zebra\r\n"))
			b.WriteString(pick(" ", " ", "\t", ""))
		}
		return b.String()
	}
	var m strings.Builder
	fmt.Fprintf(&m, "From: %s\r\n", pick(`"Doe, Jane" <jane@example.org>`, "jane (a comment) @example.org", "=?utf-8?q?J=C3=A4ne?= <j@example.org>", "jane@example.org"))
	fmt.Fprintf(&m, "Subject: %s %d\r\n", pick("plain", "=?iso-8859-1?q?Gr=FC=DFe?=\r\n =?iso-8859-1?q?_weiter?=", "raw Grüße", "\xfcber", "=?x?b?broken"), i)
	fmt.Fprintf(&m, "X-Odd-%d : %s\r\nMIME-Version: 1.0\r\n", i%3, pick("one", "two", "Größe"))
	switch i % 5 {
	case 0:
		m.WriteString("\r\n" + words(20))
	case 1:
		m.WriteString("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe alpha=\r\nbeta =E9 end\r\n")
	case 2:
		m.WriteString("Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n8NLJ18XUIM3J0g==\r\n")
	case 3:
		fmt.Fprintf(&m, "Content-Type: multipart/mixed; boundary=b\r\n\r\nno text\r\n--b\r\nContent-Description: described %d\r\n\r\n%s\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner %s\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nX-Deep: deep\r\n\r\n%s\r\n--c--\r\n--b\r\nContent-Type: image/png\r\n\r\nunseen pixels\r\n--b--\r\n",
			i, words(6), pick("alpha", "=?utf-8?q?=C3=BCber?="), words(3))
	case 4:
		m.WriteString("Content-Type: text/plain; charset=utf-8\n\n" + words(300))
	}
	return m.String()
}

// holds is what the message itself says to a query.
func holds(t testing.TB, text string, q TextQuery) bool {
	t.Helper()
	r := strings.NewReader(text)
	root, err := message.Parse(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	if q.Field != "" {
		return q.Needle.InField(message.ParseHeader([]byte(text)), q.Field)
	}
	found, err := root.VisitTexts(r, q.Headers, message.NewTextSearch(q.Needle))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func textQueries(needle string) []TextQuery {
	n := message.NewNeedle(needle)
	return []TextQuery{
		{Needle: n, Body: true},
		{Needle: n, Body: true, Headers: true},
		{Needle: n, Headers: true, Field: "Subject"},
		{Needle: n, Headers: true, Field: "from"},
		{Needle: n, Headers: true, Field: "X-Odd-1"},
	}
}

var oddNeedles = []string{
	"a", "x", "É", "ß", "le", "ue", "alpha", "ALPHA BETA", "grüße", "GRÜSSE", "straße", "fine", "привет", "мир", "本", "日本語", "καλ", "ét", "described 3",
	"inner", "deep", "unseen", "no text", "jane@example.org", "doe, jane", "comment", "plain", "subject: ", "größe", "betaé", "nowhere to be found", "=?", "=fc", "\u0323", "0",
}

// textCase is a mailbox of odd messages.
type textCase struct {
	*harness
	texts  map[UID]string
	wanted map[[3]int]bool
}

func newTextCase(t *testing.T, n int) *textCase {
	h := newHarness(t)
	c := &textCase{h, map[UID]string{}, map[[3]int]bool{}}
	c.open()
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		st := c.stage(oddMessage(rnd, i))
		uids, err := c.inbox.Append(c.ctx(), []Append{{Staged: st}})
		if err != nil {
			t.Fatal(err)
		}
		c.texts[uids[0]] = c.read(c.inbox, uids[0])
	}
	return c
}

// open makes the store index without a rest.
func (c *textCase) open() {
	c.harness.open()
	c.store.texts.eager = true
}

func (c *textCase) restart() {
	c.close()
	c.open()
}

// index has all that is missing indexed, and waits for it.
func (c *textCase) index() {
	c.t.Helper()
	c.inbox.KeepTexts()
	q := &c.store.texts
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		done := !q.running
		q.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal("the index is not made")
		}
	}
}

// want is what the messages say to query k of textQueries(oddNeedles[n]).
func (c *textCase) want(uid UID, n, k int, q TextQuery) bool {
	at := [3]int{int(uid), n, k}
	want, ok := c.wanted[at]
	if !ok {
		want = holds(c.t, c.texts[uid], q)
		c.wanted[at] = want
	}
	return want
}

// check holds every verdict to the message, and returns how many messages were not
// known.
func (c *textCase) check() (unknown int) {
	c.t.Helper()
	s := c.inbox.State()
	for n, needle := range oddNeedles {
		for k, q := range textQueries(needle) {
			hits := c.inbox.FindTexts(s, q)
			unknown = 0
			for _, uid := range s.UIDs() {
				switch v := hits.Of(uid); {
				case v == TextUnknown:
					unknown++
				case v == TextNo && c.want(uid, n, k, q), v == TextYes && !c.want(uid, n, k, q):
					c.t.Fatalf("%q %+v: message %d: verdict %d", needle, q, uid, v)
				}
			}
		}
	}
	return unknown
}

func (c *textCase) segments() (paths []string) {
	paths, _ = filepath.Glob(filepath.Join(c.cfg.State, "*", "*", "*", textPrefix+"*"))
	return paths
}

func TestTextIndexAgreesWithMessages(t *testing.T) {
	c := newTextCase(t, 200)
	if n := c.check(); n != 200 {
		t.Fatalf("%d messages not known before they were indexed", n)
	}
	c.index()
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known", n)
	}
	c.restart()
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known after a restart", n)
	}
	// What came since is read.
	rnd := rand.New(rand.NewPCG(9, 9))
	for i := range 3 {
		uids, err := c.inbox.Append(c.ctx(), []Append{{Staged: c.stage(oddMessage(rnd, i))}})
		if err != nil {
			t.Fatal(err)
		}
		c.texts[uids[0]] = c.read(c.inbox, uids[0])
	}
	if n := c.check(); n != 3 {
		t.Errorf("%d messages are not known, want the 3 new ones", n)
	}
	// The files may go at any time.
	for _, path := range c.segments() {
		os.Remove(path)
	}
	c.check()
	c.restart()
	if n := c.check(); n != 203 {
		t.Errorf("%d messages not known without an index", n)
	}
}

// What a search had to read is known afterwards.
func TestTextGatherer(t *testing.T) {
	c := newTextCase(t, 300)
	s := c.inbox.State()
	hits := c.inbox.FindTexts(s, textQueries("alpha")[1])
	g := c.inbox.GatherTexts(s)
	r := g.Reader()
	for _, uid := range s.UIDs() {
		f, err := c.inbox.OpenMessage(c.ctx(), uid)
		if err != nil {
			t.Fatal(err)
		}
		root, err := c.inbox.Structure(uid, f)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // two keys of one search
			if may, err := r.May(hits, uid, root, f); err != nil || !may && holds(t, c.texts[uid], hits.Query) {
				t.Errorf("message %d: %t, %v", uid, may, err)
			}
		}
		f.Close()
	}
	g.Close()
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known", n)
	}
	for range 2 * textGatherers { // the places are given back
		if g := c.inbox.GatherTexts(s); g == nil {
			t.Fatal("no place to gather")
		} else {
			g.Close()
		}
	}
	for range textGatherers {
		defer c.inbox.GatherTexts(s).Close()
	}
	if g := c.inbox.GatherTexts(s); g != nil {
		t.Error("one gatherer too many")
	}
}

// Whatever is done to its files, the index gives no wrong answer, and is made again.
func TestTextIndexDamaged(t *testing.T) {
	c := newTextCase(t, 150)
	c.index()
	if len(c.segments()) != 1 {
		t.Fatalf("segments %v", c.segments())
	}
	path := c.segments()[0]
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range 25 {
		bad := bytes.Clone(sound)
		switch i {
		case 0:
			bad = nil
		case 1:
			bad = bad[:len(bad)/2]
		default:
			bad[rnd.IntN(len(bad))] ^= byte(1 + rnd.IntN(255))
		}
		c.close()
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c.open()
		c.check()
		c.index() // reads every page
	}
	c.close()
	for _, path := range c.segments() {
		os.Remove(path)
	}
	c.open()
	c.index()
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known", n)
	}
}

// An index of another time is none: its UIDs are other messages.
func TestTextIndexOfOtherUIDValidity(t *testing.T) {
	c := newTextCase(t, 130)
	c.index()
	sound, err := os.ReadFile(c.segments()[0])
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	seg, err := textindex.Open(bytes.NewReader(sound), int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	var b textindex.Builder
	var none textindex.Collector
	for _, uid := range seg.UIDs() {
		b.Add(uid, none.Grams())
	}
	if err := b.WriteTo(&other, seg.UIDValidity()+1); err != nil {
		t.Fatal(err)
	}
	c.close()
	if err := os.WriteFile(c.segments()[0], other.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.open()
	if n := c.check(); n != 130 {
		t.Errorf("%d messages are not known", n)
	}
}

// Many small segments become few, without the messages that are gone.
func TestTextIndexMerges(t *testing.T) {
	c := newTextCase(t, 0)
	rnd := rand.New(rand.NewPCG(5, 5))
	for range textTier {
		for i := range TextWorth {
			uids, err := c.inbox.Append(c.ctx(), []Append{{Staged: c.stage(oddMessage(rnd, i%4))}})
			if err != nil {
				t.Fatal(err)
			}
			c.texts[uids[0]] = c.read(c.inbox, uids[0])
		}
		c.index()
	}
	if n := len(c.segments()); n != 1 {
		t.Errorf("%d segments", n)
	}
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known", n)
	}
	before := c.size()
	all := c.inbox.State().UIDs()
	some := slices.Clone(all[:len(all)*2/3])
	if _, err := c.inbox.Store(c.ctx(), some, Change{Op: Add, Flags: FlagDeleted}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.inbox.Expunge(c.ctx(), some); err != nil {
		t.Fatal(err)
	}
	c.index()
	if n := c.check(); n != 0 || c.size() > before*2/3 {
		t.Errorf("%d messages are not known, %d bytes of %d", n, c.size(), before)
	}
}

func (c *textCase) size() (n int64) {
	for _, path := range c.segments() {
		if fi, err := os.Stat(path); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// The index takes no more than its share of the disk.
func TestTextIndexIsBounded(t *testing.T) {
	c := newTextCase(t, 130)
	c.index()
	x := c.inbox.index.Load()
	write := func(n int) error {
		return x.texts.add(func(w io.Writer) error {
			_, err := w.Write(make([]byte, n))
			return err
		}, nil)
	}
	if err := write(int(c.inbox.State().Bytes()/textShare) + textLeast); err == nil {
		t.Error("the index grew over its share")
	}
	if left, _ := filepath.Glob(filepath.Join(c.cfg.State, "*", "*", "*", textNewPrefix+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	x.texts.retry = time.Time{}
	if n := c.check(); n != 0 {
		t.Errorf("%d messages are not known", n)
	}
}

// FuzzTextIndex holds the index of one message to the message.
func FuzzTextIndex(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 10 {
		f.Add(oddMessage(rnd, i), oddNeedles[i*3], "Subject")
	}
	f.Add("a\xff:\xe9 x\r\n\r\n", "é", "a\xff")
	// The name is part of an encoded word, and the value alone is none.
	f.Add("=?utf-8?q?b: hello?= tail\r\n\r\n", "lo?= t", "=?utf-8?q?b")
	f.Add("From: \"a b\" (c) <a@b>\r\n\r\n", "a b <a", "from")
	f.Fuzz(func(t *testing.T, text, needle, field string) {
		needle = strings.ToValidUTF8(needle, "")
		if needle == "" && !SearchesField(field) || len(text) > 1<<16 {
			return
		}
		r := strings.NewReader(text)
		root, err := message.Parse(r, r.Size())
		if err != nil {
			t.Fatal(err)
		}
		reader := &TextReader{}
		if err := reader.read(root, &File{r: r, size: r.Size()}); err != nil {
			t.Fatal(err)
		}
		var b textindex.Builder
		b.Add(1, reader.collector.Grams())
		var out bytes.Buffer
		if err := b.WriteTo(&out, 1); err != nil {
			t.Fatal(err)
		}
		seg, err := textindex.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		n := message.NewNeedle(needle)
		queries := []TextQuery{{Needle: n, Body: true}, {Needle: n, Body: true, Headers: true}}
		if needle == "" {
			queries = nil
		}
		if SearchesField(field) {
			queries = append(queries, TextQuery{Needle: n, Headers: true, Field: field})
		}
		for _, q := range queries {
			want := holds(t, text, q)
			if want && !reader.collector.May(q.inIndex()) {
				t.Errorf("%q %+v: missed while it is read", needle, q)
			}
			res, err := seg.Find(q.inIndex())
			if err != nil {
				t.Fatal(err)
			}
			if may, full := res.Has(0); want && !may || q.inIndex().Exact() && may && !full && !want {
				t.Errorf("%q %+v: the message holds it: %t; the index says %t", needle, q, want, may)
			}
		}
	})
}

// The background works at most half of the time, and little where timers come late.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := pace{ctx: ctx}
		start := time.Now()
		for range 100 {
			if err := p.rest(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // the work
		}
		if took := time.Since(start); took < 190*time.Millisecond || took > 250*time.Millisecond {
			t.Errorf("100 ms of work took %v", took)
		}
		cancel()
		time.Sleep(workSlice)
		if err := p.rest(); err == nil {
			t.Error("a store that closes is kept waiting")
		}
	})
}
