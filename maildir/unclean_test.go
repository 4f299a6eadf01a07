package maildir

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// After a crash nothing half-written is left in any folder, and no lock that
// another server would wait for. What others write and hold is left alone.
func TestSweepAfterCrash(t *testing.T) {
	h := newHarness(t).open()
	h.append(h.inbox, 1, FlagSeen)
	dead := child.Command(t, time.Minute, "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	litter := []string{
		"dovecot-keywords.lock", "dovecot-uidlist.tmp", ".special-use.0123456789ab", "dovecot-uidlist.lock.17.4", "dovecot-uidlist.lock",
	}
	for _, folder := range []string{"", ".Sent"} {
		for _, name := range litter {
			text := "half"
			if name == uidlistLock {
				text = "999999999:test"
			}
			h.put(filepath.Join(folder, name), text)
		}
	}
	h.put(".Junk/dovecot-uidlist.lock", "1:elsewhere") // somebody works there
	h.put(".Junk/dovecot-uidlist.tmp", "3 V1 N1\n")
	h.put("tmp/"+newNamer(time.Now, "test").unique(), "half a message")
	h.put("tmp/1700000000.M1P1.other", "half a message")
	h.close()
	if err := os.Remove(filepath.Join(h.cfg.State, "example.org", "ana", cleanFile)); err != nil {
		t.Fatal(err)
	}
	h.open()
	for _, folder := range []string{"", ".Sent"} {
		for _, name := range h.files(folder) {
			if slices.Contains(litter, name) {
				t.Errorf("%s/%s is left", folder, name)
			}
		}
	}
	if files := h.files(".Junk"); !slices.Contains(files, "dovecot-uidlist.lock") || !slices.Contains(files, "dovecot-uidlist.tmp") {
		t.Errorf("what another host works on is gone: %q", files)
	}
	if files := h.files("tmp"); !slices.Equal(files, []string{"1700000000.M1P1.other"}) {
		t.Errorf("tmp has %q", files)
	}
	h.check(h.inbox.State(), "1 S")
}
