package maildir

import (
	"os"
	"strings"
	"testing"
	"time"
)

// readings counts how often a folder's directory is opened while do runs.
func (f *faults) readings(dir string, do func()) (n int) {
	f.on(func(op operation) error {
		if op.kind == "opendir" && op.name == dir {
			n++
		}
		return nil
	})
	defer f.on(nil)
	do()
	return n
}

func (h *harness) names() string {
	h.t.Helper()
	boxes, err := h.user.Mailboxes(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, b := range boxes {
		all = append(all, strings.TrimSpace(b.Name+" "+b.SpecialUse))
	}
	return strings.Join(all, ", ")
}

func (h *harness) mkdir(path string) {
	h.t.Helper()
	if err := os.MkdirAll(h.path(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
}

const defaultNames = `INBOX, Archive \Archive, Drafts \Drafts, Junk \Junk, Sent \Sent, Trash \Trash`

// INBOX is the root of the tree: what we write there ourselves must not have all
// folders looked into again, and what others do must.
func TestFoldersAreLookedIntoWhenTheyChange(t *testing.T) {
	clock := newTestClock()
	f := &faults{}
	h := faulty(t, f, func(c *Config) { c.Now = clock.time }).open()
	expect := func(what, want string, looks bool) {
		t.Helper()
		n := f.readings(".Sent", func() {
			if got := h.names(); got != want {
				t.Errorf("%s: the mailboxes are\n\t%s\nwant\n\t%s", what, got, want)
			}
		})
		if (n > 0) != looks {
			t.Errorf("%s: .Sent was looked into %d times", what, n)
		}
	}
	h.names()
	expect("nothing happened", defaultNames, false)
	h.append(h.inbox, 1, FlagSeen)
	h.deliver(testMessage(1))
	h.sync(h.inbox)
	expect("messages came", defaultNames, false)

	h.mkdir(".Zebra/cur")
	expect("a new folder", defaultNames+", Zebra", true)
	h.rename(".Zebra", ".Yak")
	expect("it is renamed", defaultNames+", Yak", true)
	if err := os.RemoveAll(h.path(".Yak")); err != nil {
		t.Fatal(err)
	}
	expect("it is removed", defaultNames, true)

	// Another directory in the place of one that we know.
	h.mkdir("aside/cur")
	h.put("aside/special-use", "\\Important\n")
	h.rename(".Archive", "was")
	h.rename("aside", ".Archive")
	expect("another directory has the name", strings.Replace(defaultNames, `\Archive`, `\Important`, 1), true)

	// A use that is given by hand counts within a minute, once INBOX changes.
	h.put(".Archive/special-use", "\\Archive\n")
	clock.add(treeAge)
	h.append(h.inbox, 1, FlagSeen)
	expect("a use by hand", defaultNames, true)

	// A directory that is no folder yet costs no looks into the others.
	h.mkdir(".Later")
	expect("an empty directory", defaultNames, true)
	expect("it stays empty", defaultNames, false)
	h.append(h.inbox, 1, FlagSeen)
	expect("it stays empty, a message came", defaultNames, false)
	h.mkdir(".Later/cur")
	expect("it becomes a folder", strings.Replace(defaultNames, "Junk \\Junk", "Junk \\Junk, Later", 1), true)
	clock.add(-time.Hour)
	h.append(h.inbox, 1, FlagSeen)
	expect("the clock goes back", strings.Replace(defaultNames, "Junk \\Junk", "Junk \\Junk, Later", 1), true)
}
