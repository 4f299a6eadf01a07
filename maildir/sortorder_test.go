package maildir

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Places, and what threads are made of, are the same whether they were made at once or
// followed a mailbox in which messages come and go.
func TestPlacesFollowTheMailbox(t *testing.T) {
	h := newHarness(t).open()
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	for round := range 12 {
		var all []Append
		for range 1 + rnd.IntN(30) {
			n := rnd.IntN(50)
			text := fmt.Sprintf("From: %s\r\nSubject: %s\r\n%sMessage-ID: <%d@x>\r\nReferences: <%d@x> <%d@x>\r\n\r\n", pick("a@x", "B <b@x>", "z@x", "=?utf-8?q?=C3=84?= <c@x>"),
				pick("", "x", "Re: x", "Ärger", "z", "[list] b", "B"), pick("", "Date: Fri, 2 Jan 2026 03:04:05 +0000\r\n", "Date: Sat, 3 Jan 2026 03:04:05 +0000\r\n"), n, rnd.IntN(50), rnd.IntN(50))
			all = append(all, Append{Staged: h.stage(text)})
		}
		if _, err := h.inbox.Append(h.ctx(), all); err != nil {
			t.Fatal(err)
		}
		if round%3 == 2 {
			var some []UID
			for _, uid := range h.inbox.State().UIDs() {
				if rnd.IntN(3) == 0 {
					some = append(some, uid)
				}
			}
			if _, err := h.inbox.Store(h.ctx(), some, Change{Op: Add, Flags: FlagDeleted}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.inbox.Expunge(h.ctx(), some); err != nil {
				t.Fatal(err)
			}
		}
		if round == 7 {
			h.restart()
		}
		h.checkPlaces()
	}
}

func (h *harness) checkPlaces() {
	h.t.Helper()
	s := h.inbox.State()
	for key := range sortKeys {
		places, err := h.inbox.Places(h.ctx(), s, key)
		if err != nil {
			h.t.Fatal(err)
		}
		o := orderer{m: h.inbox, s: s, key: key}
		for i := range s.Len() {
			a, err := o.keyOf(h.ctx(), i)
			if err != nil {
				h.t.Fatal(err)
			}
			for j := range s.Len() {
				b, _ := o.keyOf(h.ctx(), j)
				if bytes.Compare(a, b) != compareUint(places[i], places[j]) {
					h.t.Fatalf("key %d: %q is in place %d, %q in %d", key, a, places[i], b, places[j])
				}
			}
		}
		if len(places) > 0 && int(slices.Max(places)) >= s.Len() {
			h.t.Errorf("key %d: place %d of %d messages", key, slices.Max(places), s.Len())
		}
	}
	f, err := h.inbox.ThreadFacts(h.ctx(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range s.Len() {
		keys, err := h.inbox.sortKeys(h.ctx(), s, i)
		if err != nil {
			h.t.Fatal(err)
		}
		if f.hashes[f.ID[i]] != keys.ID || len(f.Refs(i)) != keys.Refs() || f.Flags[i] != keys.threadFlags() {
			h.t.Fatalf("row %d: facts are those of another message", i)
		}
		for k, n := range f.Refs(i) {
			if f.hashes[n] != keys.Ref(k) {
				h.t.Fatalf("row %d: reference %d is another one", i, k)
			}
		}
	}
}

func compareUint(a, b uint32) int {
	return bytes.Compare([]byte{byte(a >> 8), byte(a)}, []byte{byte(b >> 8), byte(b)})
}

// FuzzParsed gives anything as a record of the parse cache.
func FuzzParsed(f *testing.F) {
	p := &Parsed{Depth: ParsePreview, Envelope: []byte("(NIL)"), Header: []byte("From: a\r\n"), Preview: []byte("x")}
	f.Add(p.appendRecord(nil, 7, 9)[logFixed:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		var p, again, other Parsed
		if !p.decode(payload, 7, 9) {
			return
		}
		keys := p.SortKeys()
		for i := range keys.Refs() {
			keys.Ref(i)
		}
		if !again.decode(p.appendRecord(nil, 7, 9)[logFixed:], 7, 9) || again.Depth != p.Depth || !bytes.Equal(again.Header, p.Header) || !bytes.Equal(again.keys, p.keys) || !bytes.Equal(again.Preview, p.Preview) {
			t.Errorf("%+v came back as %+v", p, again)
		}
		if other.decode(payload, 7, 10) || other.decode(payload, 8, 9) {
			t.Error("the record is taken for another message's")
		}
	})
}

// A header is read no further than it goes, and what is asked for beyond costs one
// more look.
func TestParsedDepth(t *testing.T) {
	h := newHarness(t).open()
	const text = "Subject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nFrom: \"A B\" <ab@x>\nReferences: <1@x> <2@x>\n\nfirst words\n"
	h.put("cur/1.a:2,", text)
	h.sync(h.inbox)
	for _, depth := range []Depth{ParseFields, ParseEnvelope, ParseAll, ParsePreview} {
		p, err := h.inbox.Parsed(h.ctx(), 1, depth, nil)
		if err != nil {
			t.Fatal(err)
		}
		keys := p.SortKeys()
		if p.Depth != depth || string(keys.Subject) != "GRU\u0308ßE" || !keys.Reply || string(keys.From) != "AB" || string(keys.DisplayFrom) != "A B" || keys.Refs() != 2 {
			t.Errorf("depth %d, keys %+v", p.Depth, keys)
		}
		if (len(p.BodyStructure) > 0) != (depth >= ParseAll) || (string(p.Preview) == "first words") != (depth == ParsePreview) {
			t.Errorf("depth %d: structure %q, preview %q", depth, p.BodyStructure, p.Preview)
		}
	}
	h.restart()
	if p := h.inbox.parseFile().get(h.inbox.State(), 0, &ParsedBuffer{}); p == nil || p.Depth != ParsePreview {
		t.Errorf("the cache has %+v", p)
	}
}
