package junk

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sample(t testing.TB, text string) Sample {
	t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	s, err := Read(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func has(s Sample, kind, word string) bool {
	_, ok := slices.BinarySearch(s.Words, hashOf(kind, word))
	return ok
}

func TestWords(t *testing.T) {
	s := sample(t, `Return-Path: <bounce@mail.shop.example.com>
Delivered-To: ana@example.org
X-Junk-Score: 99
Received: from mail.shop.example.com (mail.shop.example.com [192.0.2.77])
	by mx.example.org with ESMTP id ABC;
	Sun, 22 Nov 2026 10:00:00 +0000
Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=shop.example.com; dkim=fail (bad)
From: =?utf-8?q?Jos=C3=A9?= Shop <Offers@Shop.example.com>
Subject: =?utf-8?b?R3JhbiBvZmVydGEg?= 50% $100 off!
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=UTF-8
Content-Transfer-Encoding: quoted-printable

<html><style>hiddenstyle</style><p>Caf=C3=A9 g<b>ra</b>tis</p>pi&#8203;llen
<a href=3D"http://user@click.bad.example.net:8080/unsubscribe?x=3Dtrackingtoken">aqu=C3=AD</a>
https://plain.example/link 特別優惠 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ab
--b
Content-Type: application/zip; name=invoice.exe

xxxxx zipcontent
--b--
`)
	for _, w := range [][2]string{
		{"subject", "gran"}, {"subject", "oferta"}, {"subject", "50%"}, {"subject", "$100"}, {"subject", "off!"},
		{"from", "offers@shop.example.com"}, {"from host", "example.com"}, {"from", "josé"}, {"return", "mail.shop.example.com"},
		{"ip", "192.0.2.0/24"}, {"hop", "example.com"}, {"auth", "spf=pass"}, {"auth", "dkim=fail"}, {"to", "nobody"},
		{"", "café"}, {"", "gratis"}, {"", "pillen"}, {"", "invisible"}, {"", "aquí"}, {"", "特別"}, {"", "優惠"}, {"", "long 3"},
		{"link", "click.bad.example.net"}, {"link", "example.net"}, {"link", "user"}, {"link port", "8080"}, {"link", "plain.example"},
		{"file", ".exe"}, {"type", "application/zip"}, {"charset", "utf-8"},
	} {
		if !has(s, w[0], w[1]) {
			t.Errorf("%s %q is missing", w[0], w[1])
		}
	}
	for _, w := range [][2]string{
		{"", "hiddenstyle"}, {"", "trackingtoken"}, {"", "zipcontent"}, {"", "ab"}, {"hop", "mx.example.org"},
		{"", "ana@example.org"}, {"auth", "smtp.mailfrom=shop.example.com"}, {"", "href"},
	} {
		if has(s, w[0], w[1]) {
			t.Errorf("%s %q is there", w[0], w[1])
		}
	}
}

// A message is the same one whatever its flags and wherever it lies, and is not
// when it came another time.
func TestIdentity(t *testing.T) {
	text := "Received: by us id 1\nMessage-ID: <1@x>\nDate: Sun, 22 Nov 2026 10:00:00 +0000\nSubject: a\n  b\n\nx\n"
	one := sample(t, text)
	if got := sample(t, "Status: RO\nX-Junk-Score: 3\n"+strings.Replace(text, "a\n  b", "a b", 1)); got.ID != one.ID {
		t.Error("another message after a program touched it")
	}
	if got := sample(t, strings.Replace(text, "id 1", "id 2", 1)); got.ID == one.ID {
		t.Error("the same message when it came again")
	}
	id, err := Identify(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), int64(strings.Count(text, "\n")+len(text)))
	if err != nil || id != one.ID {
		t.Errorf("%x, %v", id, err)
	}
}

// Hostile messages cost little, and end.
func TestLimits(t *testing.T) {
	var many strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&many, "word%d ", i)
	}
	for _, text := range []string{
		"Subject: " + strings.Repeat("x", 2<<20) + "\n\nx\n",
		"\n" + many.String(),
		"Content-Type: text/html\n\n" + strings.Repeat("<div ", 100_000),
		"Content-Type: text/html\n\n<a href=\"" + strings.Repeat("x", 1<<20),
		strings.Repeat("Received: from a.b.c.d.e.f by x\n", 5000) + "\n",
		"", "\n", "From: " + strings.Repeat("<a@b>,", 20_000) + "\n\n",
		"\n" + strings.Repeat("www.", 30_000),
	} {
		if s := sample(t, text); len(s.Words) > maxSample {
			t.Errorf("%.30q: %d words", text, len(s.Words))
		}
	}
}

func TestChance(t *testing.T) {
	for _, test := range []struct {
		x    float64
		n    int
		want float64
	}{
		{0, 1, 1}, {2, 1, math.Exp(-1)}, {4, 2, 3 * math.Exp(-2)}, {1e-9, 150, 1}, {300, 150, 0.4892}, {2000, 150, 0}, {1e6, 150, 0}, {1600, 700, 0.00014},
	} {
		if got := chance(test.x, test.n); math.Abs(got-test.want) > 1e-3 || math.IsNaN(got) {
			t.Errorf("chance(%g, %d) = %g, want %g", test.x, test.n, got, test.want)
		}
	}
	if got := chanceLog(5, 3); math.Abs(got-(chance(10, 3)-math.Exp(-5))) > 1e-9 {
		t.Errorf("%g", got)
	}
}

func TestLearnAndForget(t *testing.T) {
	m := newMemory()
	good, bad := sample(t, "Subject: letter\n\ndear friend see you tomorrow evening\n"), sample(t, "Subject: offer\n\nbuy cheap pills online now today\n")
	for _, step := range []struct {
		s         Sample
		as        Class
		new       bool
		good, bad int
	}{
		{good, Good, true, 1, 0}, {good, Good, false, 1, 0}, {bad, Good, true, 2, 0}, {bad, Junk, true, 1, 1}, {bad, Junk, false, 1, 1},
		{bad, Filed, true, 1, 0}, {bad, Junk, true, 1, 1}, {good, Unknown, true, 0, 1}, {good, Unknown, false, 0, 1}, {good, Good, true, 1, 1},
	} {
		if got := m.Learn(step.s, step.as); got != step.new || m.good != step.good || m.junk != step.bad {
			t.Fatalf("%+v: %t, %d good, %d junk", step, got, m.good, m.junk)
		}
	}
	again := func(as [2]Class) { // the same words in other messages
		for i := range MessageID(20) {
			m.Learn(Sample{ID: i, Words: good.Words}, as[0])
			m.Learn(Sample{ID: 100 + i, Words: bad.Words}, as[1])
		}
	}
	again([2]Class{Good, Junk})
	if x, y := m.score(good), m.score(bad); x > 0.1 || y < 0.9 {
		t.Errorf("good is %g, junk is %g", x, y)
	}
	if got := m.score(sample(t, "Subject: other\n\nnobody has ever seen these\n")); math.Abs(got-0.5) > 0.1 {
		t.Errorf("the unknown is %g", got)
	}
	// What is not learned any more leaves nothing behind.
	again([2]Class{Unknown, Unknown})
	m.Learn(good, Unknown)
	m.Learn(bad, Unknown)
	m.merge()
	if len(m.words) != 0 || len(m.lessons) != 0 {
		t.Errorf("%d words, %d lessons", len(m.words), len(m.lessons))
	}
}

func TestBounds(t *testing.T) {
	m := newMemory()
	const messages = maxLessons + 10
	for i := range messages {
		m.Learn(Sample{ID: MessageID(i), Size: int64(i), Words: []uint64{1 << 63}}, Good+Class(i%2)) // a word of all
	}
	for i := range maxWords/maxSample + 5 {
		s := Sample{ID: MessageID(messages + i)}
		for j := range maxSample {
			s.Words = append(s.Words, uint64(i*maxSample+j))
		}
		m.Learn(s, Good)
	}
	b := m.encode()
	if len(m.words) > maxWords || len(m.lessons) > maxLessons || len(b) > maxFile || m.good > maxCounted || m.junk > maxCounted {
		t.Fatalf("%d words, %d lessons, %d octets, %d good, %d junk", len(m.words), len(m.lessons), len(b), m.good, m.junk)
	}
	if w := m.word(1 << 63); w.good < maxCounted/4 || w.junk < maxCounted/4 {
		t.Errorf("the word of all is in %d and %d", w.good, w.junk)
	}
	if m.Class(messages) == Unknown || m.Class(0) != Unknown {
		t.Error("the newest is forgotten")
	}
	if _, err := decode(b); err != nil {
		t.Error(err)
	}
}

func library(t *testing.T, dir string) *Library {
	t.Helper()
	l, err := Open(Config{Dir: dir, Minimum: 2, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLibrary(t *testing.T) {
	dir := t.TempDir()
	l := library(t, dir)
	letter, offer := "Subject: letter\r\n\r\ndear friend see you tomorrow evening\r\n", "Subject: offer\r\n\r\nbuy cheap pills online now today\r\n"
	classify := func(l *Library, text string) Verdict {
		t.Helper()
		v, err := l.Classify("ana@example.org", strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	teach := func(text string, c Class, n int) {
		for i := range n {
			err := l.With("ana@example.org", func(m *Memory) error {
				m.Learn(sample(t, fmt.Sprintf("Received: %d\n%s", i, strings.ReplaceAll(text, "\r\n", "\n"))), c)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	teach(letter, Good, 1)
	teach(offer, Junk, 25)
	if v := classify(l, offer); v.Known {
		t.Errorf("too little is known, and yet %+v", v)
	}
	teach(letter, Good, 25)
	check := func(l *Library) {
		t.Helper()
		if a, b := classify(l, letter), classify(l, offer); !a.Known || a.Score > 0.1 || b.Score < 0.9 {
			t.Errorf("letter %+v, offer %+v", a, b)
		}
	}
	check(l)
	if err := l.Save("ana@example.org"); err != nil {
		t.Fatal(err)
	}
	// More accounts than are held at once.
	for i := range 3 * maxOpen {
		id := fmt.Sprintf("u%d@example.org", i)
		if err := l.With(id, func(m *Memory) error { m.SetPlace("INBOX", Place{1, uint32(i), 3}); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := l.Save(id); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.open) > maxOpen {
		t.Errorf("%d are open", len(l.open))
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = library(t, dir)
	defer l.Close()
	check(l)
	for i := range 3 * maxOpen {
		_ = l.With(fmt.Sprintf("u%d@example.org", i), func(m *Memory) error {
			if p, ok := m.Place("INBOX"); !ok || p.Next != uint32(i) {
				t.Errorf("%d: %+v", i, p)
			}
			return nil
		})
	}
	for _, id := range []string{"", "ana", "@example.org", "../x@example.org", "a/b@example.org", "ana@..", ".x@example.org", "a\x00@b"} {
		if err := l.With(id, func(*Memory) error { return nil }); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A file that is torn, damaged or foreign is as good as none.
func TestDamage(t *testing.T) {
	m := newMemory()
	m.Learn(sample(t, "Subject: x\n\nsome words are here\n"), Junk)
	m.SetPlace("INBOX", Place{1, 2, 3})
	whole := m.encode()
	for i := range whole {
		if _, err := decode(whole[:i]); err == nil {
			t.Fatalf("%d of %d octets were taken", i, len(whole))
		}
		broken := bytes.Clone(whole)
		broken[i] ^= 1
		if _, err := decode(broken); err == nil {
			t.Fatalf("octet %d may be anything", i)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "example.org", "ana"+suffix)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, whole[:len(whole)-1], 0o600)); err != nil {
		t.Fatal(err)
	}
	l := library(t, dir)
	defer l.Close()
	err := l.With("ana@example.org", func(m *Memory) error {
		if good, junk := m.Counts(); good != 0 || junk != 0 || len(m.places) != 0 {
			t.Errorf("%d, %d, %v", good, junk, m.places)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	m := newMemory()
	f.Add(m.encode())
	m.Learn(Sample{1, 2, []uint64{3, 4}}, Junk)
	m.Learn(Sample{5, 6, []uint64{4, 7}}, Good)
	m.SetPlace("Junk", Place{1, 2, 3})
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			t.Skip()
		}
		if got := m.encode(); !bytes.Equal(got, data) {
			t.Errorf("written again it is another file: %q", got)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add("Subject: x\r\n\r\nwww.x.example https://a\r\n")
	f.Add("Content-Type: text/html\r\n\r\n<a href='http://x'>y</a>")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Words) > maxSample || !slices.IsSorted(s.Words) || len(slices.Compact(slices.Clone(s.Words))) != len(s.Words) {
			t.Errorf("%d words", len(s.Words))
		}
		// What is learned and forgotten was never there.
		m := newMemory()
		m.Learn(s, Junk)
		if p := m.score(s); p < 0 || p > 1 || math.IsNaN(p) {
			t.Errorf("score %g", p)
		}
		m.Learn(s, Unknown)
		m.merge()
		if len(m.words) > 0 || len(slices.Collect(maps.Keys(m.lessons))) > 0 {
			t.Errorf("%v is left", m.words)
		}
	})
}
