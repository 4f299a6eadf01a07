package maildir

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// qresyncClient is what a client keeps of a mailbox, to come back with (RFC 7162 3.2.5).
type qresyncClient struct {
	validity uint32
	since    ModSeq
	flags    map[UID]string
}

func (h *harness) client() qresyncClient {
	s := h.inbox.State()
	c := qresyncClient{s.UIDValidity(), s.HighestModSeq(), map[UID]string{}}
	for i := range s.Len() {
		c.flags[s.uids[i]] = h.shown(s, i)
	}
	return c
}

func (h *harness) shown(s *State, i int) string {
	msg := s.Message(i)
	return fmt.Sprint(flagText(msg.Flags), s.keywords.names(msg.Keywords))
}

// comesBack has the client told what changed since, as SELECT with QRESYNC does, and
// wants it to know the mailbox as it is then.
func (h *harness) comesBack(c qresyncClient) {
	h.t.Helper()
	s := h.inbox.State()
	if s.UIDValidity() != c.validity {
		h.t.Fatalf("UIDVALIDITY %d, the client has %d", s.UIDValidity(), c.validity)
	}
	gone, complete := h.inbox.VanishedSince(c.since)
	for uid := range c.flags {
		_, there := s.Find(uid)
		said := slices.ContainsFunc(gone, func(r UIDRange) bool { return r.First <= uid && uid <= r.Last })
		if said && there {
			h.t.Errorf("UID %d is told to be gone", uid)
		}
		if said || !complete && !there { // without the history it is told the complement
			delete(c.flags, uid)
		}
	}
	for i := range s.Len() {
		if s.modseqAt(i) > c.since {
			c.flags[s.uids[i]] = h.shown(s, i)
		}
	}
	for i := range s.Len() {
		if want := h.shown(s, i); c.flags[s.uids[i]] != want {
			h.t.Errorf("the client has UID %d as %q, it is %q", s.uids[i], c.flags[s.uids[i]], want)
		}
	}
	if len(c.flags) != s.Len() {
		h.t.Errorf("the client has %d messages of %d", len(c.flags), s.Len())
	}
}

// Bytes all over the index are changed, and its files cut there, one at a
// time: the same UIDs, flags and keywords, HIGHESTMODSEQ never below what was told, and
// a client that comes back with what it knew knows all.
func TestCase34AnyByteOfTheIndex(t *testing.T) {
	h := newHarness(t, quiet).open()
	h.append(h.inbox, 6, FlagSeen, "One", "Two")
	if err := h.inbox.lockedCompact(); err != nil {
		t.Fatal(err)
	}
	early := h.client()
	if _, err := h.inbox.Store(h.ctx(), []UID{1, 6}, Change{Op: Replace, Flags: FlagAnswered, Keywords: []string{"Three"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.inbox.Expunge(h.ctx(), []UID{2, 3, 5}); err != nil {
		t.Fatal(err)
	}
	h.append(h.inbox, 1, FlagFlagged)
	h.sync(h.inbox)
	late := h.client()
	want := []string{"1 R Three", "4 S One Two", "6 R Three", "7 F"}
	h.check(h.inbox.State(), want...)
	dir := h.indexDir()
	h.close()
	sound := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if sound[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	times := 0
	try := func(what, name string, damaged []byte) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for other, data := range sound {
			if other == name {
				data = damaged
			}
			if err := os.WriteFile(filepath.Join(dir, other), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h.open()
		s := h.inbox.State()
		h.check(s, want...)
		if s.HighestModSeq() < late.since {
			t.Errorf("HIGHESTMODSEQ %d went back from %d", s.HighestModSeq(), late.since)
		}
		for _, c := range []qresyncClient{early, late} {
			known := qresyncClient{c.validity, c.since, map[UID]string{}}
			for uid, flags := range c.flags {
				known.flags[uid] = flags
			}
			h.comesBack(known)
		}
		h.close()
		if times++; t.Failed() {
			t.Fatalf("%s of %s", what, name)
		}
	}
	for name, data := range sound {
		// All 20 000 bytes would take a quarter of an hour on a disk: where it begins
		// is another byte each time.
		step := 1 + len(data)/ifLong(1000, 7)
		for at := rand.IntN(step); at < len(data); at += step {
			flipped := slices.Clone(data)
			flipped[at] ^= 1 << (at % 8)
			try(fmt.Sprintf("bit %d of byte %d", at%8, at), name, flipped)
			if at%4 == 0 || !long() {
				try(fmt.Sprintf("all after byte %d", at), name, data[:at])
			}
		}
		try("all", name, nil)
	}
	fmt.Printf("%d times damage to the index, %d files\n", times, len(sound))
}
