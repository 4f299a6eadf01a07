package textindex

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// mail is a message of these tests: texts by kind.
type mail struct {
	uid   uint32
	texts [kinds][]string
}

func (m *mail) holds(q Query) bool {
	return slices.ContainsFunc(q.Kinds, func(k Kind) bool {
		for _, t := range q.Texts {
			if !slices.ContainsFunc(m.texts[k], func(s string) bool { return strings.Contains(s, t) }) {
				return false
			}
		}
		return true
	})
}

func collect(c *Collector, m *mail) Grams {
	c.Reset()
	for k, texts := range m.texts {
		for _, t := range texts {
			c.Begin(Kind(k))
			for i := 0; i < len(t); i += 7 { // in pieces
				c.Write([]byte(t[i:min(i+7, len(t))]))
			}
			c.End()
		}
	}
	return c.Grams()
}

func build(t testing.TB, mails []*mail) []byte {
	t.Helper()
	var c Collector
	var b Builder
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(len(mails)) {
		b.Add(mails[i].uid, collect(&c, mails[i]))
		for _, q := range someQueries {
			if mails[i].holds(q) && !c.May(q) {
				t.Fatalf("%v: message %d is missed while it is read", q, mails[i].uid)
			}
		}
	}
	var out bytes.Buffer
	if err := b.WriteTo(&out, 77); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(t testing.TB, data []byte) *Segment {
	t.Helper()
	s, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// someMails makes n messages of a few words; some letters are rare.
func someMails(rnd *rand.Rand, n int) []*mail {
	word := func() string {
		b := make([]byte, 1+rnd.IntN(9))
		for i := range b {
			b[i] = "AAAEEEINORSTZ"[rnd.IntN(13)]
		}
		return string(b)
	}
	var mails []*mail
	for i := range n {
		m := &mail{uid: uint32(10 + 3*i)}
		for k := range m.texts {
			for range rnd.IntN(4) {
				var words []string
				for range rnd.IntN(12) {
					words = append(words, word())
				}
				m.texts[k] = append(m.texts[k], strings.Join(words, " "))
			}
		}
		mails = append(mails, m)
	}
	return mails
}

var someQueries = func() (all []Query) {
	for _, text := range []string{"A", "Z", "ZZ", "TE", "SEE", "ZZT", "NOTE", "RATE ", "ÜBER", "ENTERTAIN", "\xc3", ""} {
		for _, kinds := range [][]Kind{{Body}, {Header}, {Body, Header}} {
			all = append(all, Query{Texts: []string{text}, Kinds: kinds})
		}
	}
	return append(all, Query{Texts: []string{"TEN", "OR"}, Kinds: []Kind{Header}})
}()

// check holds a segment to what the messages say.
func check(t *testing.T, s *Segment, mails []*mail) {
	t.Helper()
	for _, q := range someQueries {
		r, err := s.Find(q)
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		for _, m := range mails {
			i, ok := s.Number(m.uid)
			if !ok {
				t.Fatalf("message %d is not in the segment", m.uid)
			}
			may, full := r.Has(i)
			if m.holds(q) && !may {
				t.Fatalf("%v: message %d is missed", q, m.uid)
			}
			if q.Exact() && may && !full && !m.holds(q) {
				t.Fatalf("%v: message %d does not hold it", q, m.uid)
			}
		}
	}
}

func TestFind(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 7, 8, 9, 64, 65, 300, 3000} {
		mails := someMails(rnd, n)
		check(t, open(t, build(t, mails)), mails)
	}
}

// A text that is not there is ruled out without reading but a few messages.
func TestFindIsSelective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	mails := someMails(rnd, 1000)
	mails[500].texts[Body] = append(mails[500].texts[Body], "A ZANZIBARQUUX")
	r, err := open(t, build(t, mails)).Find(Query{Texts: []string{"ZANZIBARQUUX"}, Kinds: []Kind{Body}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.May.numbers(nil)); n != 1 {
		t.Errorf("%d messages may hold it, want 1", n)
	}
}

func TestMergeKeepsWhatIsWanted(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	mails := someMails(rnd, 900)
	// The middle third is in both.
	segments := []*Segment{open(t, build(t, mails[:600])), open(t, build(t, mails[300:]))}
	wanted := func(uid uint32) bool { return uid%2 == 0 }
	var out bytes.Buffer
	if err := Merge(&out, segments, wanted); err != nil {
		t.Fatal(err)
	}
	s := open(t, out.Bytes())
	mails = slices.DeleteFunc(mails, func(m *mail) bool { return !wanted(m.uid) })
	if len(s.UIDs()) != len(mails) || s.UIDValidity() != 77 {
		t.Fatalf("%d messages of %d, want %d of 77", len(s.UIDs()), s.UIDValidity(), len(mails))
	}
	check(t, s, mails)
	if !bytes.Equal(out.Bytes(), build(t, mails)) {
		t.Error("a merged segment is not the one that would have been built")
	}
}

// Encoded data has more trigrams than are worth a place: it may hold anything.
func TestFullMessageMayHoldAnything(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rnd.IntN(128))
	}
	mails := []*mail{{uid: 1}, {uid: 2}}
	mails[0].texts[Body] = []string{"SHORT"}
	mails[1].texts[Body] = []string{string(noise) + "NEEDLE"}
	data := build(t, mails)
	if len(data) > 4<<10 {
		t.Errorf("the segment has %d bytes", len(data))
	}
	s := open(t, data)
	for _, text := range []string{"NEEDLE", "A", "SHO"} {
		r, err := s.Find(Query{Texts: []string{text}, Kinds: []Kind{Body}})
		if err != nil {
			t.Fatal(err)
		}
		if may, full := r.Has(1); !may || !full {
			t.Errorf("%q: may %t, full %t", text, may, full)
		}
		if may, full := r.Has(0); may != strings.Contains("SHORT", text) || full {
			t.Errorf("%q in the other: may %t, full %t", text, may, full)
		}
	}
}

// Whatever byte is changed, the segment is found damaged or answers as before.
func TestEveryByteIsChecked(t *testing.T) {
	mails := someMails(rand.New(rand.NewPCG(9, 10)), 60)
	data := build(t, mails)
	caught := 0
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= byte(1 + i%255)
		s, err := Open(bytes.NewReader(bad), int64(len(bad)))
		if err == nil {
			err = readAll(s)
		}
		if errors.Is(err, ErrDamaged) {
			caught++
			continue
		}
		t.Errorf("byte %d of %d: %v", i, len(data), err)
	}
	for n := range len(data) {
		if s, err := Open(bytes.NewReader(data[:n]), int64(n)); err == nil {
			t.Errorf("cut to %d bytes: a segment of %d messages", n, len(s.UIDs()))
		}
	}
}

// readAll asks for everything.
func readAll(s *Segment) error {
	for _, q := range someQueries {
		if _, err := s.Find(q); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	return Merge(&out, []*Segment{s}, func(uint32) bool { return true })
}

// FuzzSegment gives anything as a segment: it is refused, or what it says is sound.
func FuzzSegment(f *testing.F) {
	f.Add(build(f, someMails(rand.New(rand.NewPCG(1, 1)), 3)))
	f.Add(build(f, someMails(rand.New(rand.NewPCG(1, 1)), 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if !slices.IsSorted(s.UIDs()) || len(s.UIDs()) > MaxMessages || len(s.UIDs()) > len(data) {
			t.Fatalf("%d UIDs", len(s.UIDs()))
		}
		var out bytes.Buffer
		if readAll(s) != nil || Merge(&out, []*Segment{s}, func(uint32) bool { return true }) != nil {
			return
		}
		m := open(t, out.Bytes())
		for _, q := range someQueries {
			a, err := s.Find(q)
			b, err2 := m.Find(q)
			if err != nil || err2 != nil || !slices.Equal(a.May, b.May) || !slices.Equal(a.Full, b.Full) {
				t.Fatalf("%v: %v and %v, after a merge %v and %v", q, a, err, b, err2)
			}
		}
	})
}

// FuzzPosting reads any posting, and writes what it says.
func FuzzPosting(f *testing.F) {
	f.Add([]byte{3, 0, 0, 9}, uint8(0), uint16(100))
	f.Add([]byte{0xff, 0x01}, uint8(1), uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, fm uint8, n uint16) {
		n = min(max(n, 1), MaxMessages)
		set := newBits(int(n))
		if !readPosting(set, data, form(fm), int(n)) {
			return
		}
		numbers := set.numbers(nil)
		if len(numbers) == 0 {
			return
		}
		if numbers[len(numbers)-1] >= n {
			t.Fatalf("number %d of %d messages", numbers[len(numbers)-1], n)
		}
		again, g := appendPosting(nil, numbers, int(n))
		back := newBits(int(n))
		if !readPosting(back, again, g, int(n)) || !slices.Equal(back, set) {
			t.Fatalf("%v came back as %v", numbers, back.numbers(nil))
		}
	})
}

func BenchmarkFind(b *testing.B) {
	mails := someMails(rand.New(rand.NewPCG(1, 2)), 10_000)
	s := open(b, build(b, mails))
	for _, text := range []string{"ENTERTAIN", "ZZ"} {
		b.Run(fmt.Sprint(len(text)), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Find(Query{Texts: []string{text}, Kinds: []Kind{Body}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
