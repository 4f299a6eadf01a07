package maildir

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOrderOfDelivery: fsync of the file, rename, fsync of the directory, in this
// order and no more of them than needed.
func TestOrderOfDelivery(t *testing.T) {
	w := newWorld(t)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var got []string
	w.fs.Trace = func(op, name string) {
		dir := filepath.Base(filepath.Dir(name))
		got = append(got, op+" "+dir)
	}
	st, err := w.stage("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.user.Deliver(t.Context(), st, "INBOX", 0); err != nil {
		t.Fatal(err)
	}
	want := []string{"create tmp", "write tmp", "fsync tmp", "rename tmp", "fsync new"}
	if !slices.Equal(got, want) {
		t.Errorf("delivery does\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
