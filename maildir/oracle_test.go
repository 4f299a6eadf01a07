package maildir

import (
	"io"
	"slices"
	"testing"

	gomaildir "github.com/emersion/go-maildir"
)

// An independent reader lists what we deliver and append, with the same flags and
// the same bytes.
func TestGoMaildirListsTheSame(t *testing.T) {
	h := newHarness(t).open()
	for _, f := range []Flags{FlagSeen, FlagSeen | FlagAnswered | FlagFlagged, FlagDraft | FlagDeleted | FlagForwarded, FlagFlagged} {
		h.append(h.inbox, 1, f, "Key")
	}
	h.deliver(testMessage(9))
	if _, err := h.inbox.ClaimRecent(h.ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Replace, Flags: FlagAnswered}); err != nil {
		t.Fatal(err)
	}
	s := h.sync(h.inbox)
	want := map[string]string{}
	for i := range s.Len() {
		base, in, _ := s.file(i)
		want[base] = in.raw[len(":2,"):] + " " + h.read(h.inbox, s.UIDs()[i])
	}
	got := map[string]string{}
	err := gomaildir.Dir(h.root).Walk(func(msg *gomaildir.Message) error {
		r, err := msg.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		var letters []byte
		for _, f := range msg.Flags() {
			letters = append(letters, byte(f))
		}
		slices.Sort(letters)
		got[msg.Key()] = string(letters) + " " + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("go-maildir lists %d messages, we %d", len(got), len(want))
	}
	for base, w := range want {
		if got[base] != w {
			t.Errorf("%s: go-maildir has %q, we %q", base, got[base], w)
		}
	}
}
