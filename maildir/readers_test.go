package maildir

import (
	"errors"
	"strings"
	"testing"
)

// What was expunged can be read until the last reader has told its client, and no longer; what was
// expunged where nobody else reads costs nothing.
func TestExpungedIsReadUntilTold(t *testing.T) {
	h := newHarness(t).open()
	h.deliver("Subject: bare\n\nline\n")
	h.sync(h.inbox)
	h.append(h.inbox, maxKept+9, FlagSeen)
	h.sync(h.inbox)
	one := h.inbox.Reader()
	defer one.Close()
	if _, err := h.inbox.Expunge(h.ctx(), []UID{2}); err != nil {
		t.Fatal(err)
	}
	if len(h.inbox.readers.kept) != 0 {
		t.Error("a message is kept for the one who expunged it")
	}
	two := h.inbox.Reader()
	defer two.Close()
	all := append([]UID(nil), h.inbox.State().UIDs()...)
	if _, err := h.inbox.Expunge(h.ctx(), all); err != nil {
		t.Fatal(err)
	}
	if n := len(h.inbox.readers.kept); n != maxKept {
		t.Errorf("%d messages are kept, want %d", n, maxKept)
	}
	f, err := h.inbox.OpenMessage(h.ctx(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := f.WriteTo(&text); err != nil || text.String() != "Subject: bare\r\n\r\nline\r\n" {
		t.Errorf("read %q, %v", text.String(), err)
	}
	f.Close()
	if p, err := h.inbox.Parsed(h.ctx(), 1, ParseEnvelope, nil); err != nil || !strings.Contains(string(p.Envelope), "bare") {
		t.Errorf("parsed %v, %v", p, err)
	}
	one.Told(h.inbox.State())
	if _, _, ok := h.inbox.Kept(1); !ok {
		t.Error("a message is let go that one reader has not told of")
	}
	two.Told(h.inbox.State())
	if len(h.inbox.readers.kept) != 0 {
		t.Error("messages are kept that everybody has told of")
	}
	if _, err := h.inbox.OpenMessage(h.ctx(), 1); !errors.Is(err, ErrExpunged) {
		t.Errorf("opened: %v", err)
	}
}
