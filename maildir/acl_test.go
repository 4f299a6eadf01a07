package maildir

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The table is what Dovecot's vfile backend makes of such files.
func TestRightsOfACL(t *testing.T) {
	for _, c := range []struct {
		file, id string
		owner    bool
		want     string
	}{
		{"", "luis@x", false, ""},
		{"", "ana@x", true, "lrwstipekxa"},
		{"user=luis@x lr\n", "luis@x", false, "lr"},
		{"user=luis@x lr\n", "eva@x", false, ""},
		{"anyone lr\nuser=luis@x l\n", "luis@x", false, "l"}, // the more exact one counts
		{"anyone lr\nuser=luis@x\n", "luis@x", false, ""},
		{"authenticated lrs\nanyone l\n", "eva@x", false, "lrs"},
		{"anyone lrs\n-user=luis@x rs\n", "luis@x", false, "l"},
		{"user=luis@x lr\n-anyone r\n", "luis@x", false, "l"},
		{"user=luis@x l\nuser=luis@x r\n", "luis@x", false, "lr"}, // of one kind they add up
		{"user=luis@x :lookup read write-seen\n", "luis@x", false, "lrs"},
		{"user=luis@x l :read nonsense\n", "luis@x", false, "lr"},
		{"\"user=luis@x\" lr\n", "luis@x", false, "lr"},
		{"group=x lr\ngroup-override=x lr\n", "luis@x", false, ""},
		{"# user=luis@x lr\n", "luis@x", false, ""},
		{"owner lr\n", "luis@x", false, ""},
		{"owner lr\n", "ana@x", true, "lra"}, // l and a are never lost
		{"user=ana@x\n-owner la\n", "ana@x", true, "la"},
		{"anyone lr\n", "ana@x", true, "lrwstipekxa"},
		{"user=luis@x LRzz\n", "luis@x", false, ""},
	} {
		if got := parseACL([]byte(c.file)).Rights(c.id, c.owner).String(); got != c.want {
			t.Errorf("%q gives %s %q, want %q", c.file, c.id, got, c.want)
		}
	}
}

// What a person or Dovecot wrote stays in the file, and a file that cannot be read lets nobody in.
func TestEditACL(t *testing.T) {
	h := newHarness(t).open()
	ctx := h.ctx()
	if err := h.user.Create(ctx, "plan", ""); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.root, ".plan", aclFile)
	if err := os.WriteFile(file, []byte("# ours\ngroup=team lrs\nuser=eva@x lrq :odd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.user.EditACL(ctx, "plan", func(a *ACL) error {
		a.Set(ACLUser("luis smith@x"), false, RightLookup|RightRead, false)
		a.Set(ACLUser("eva@x"), true, RightRead, false)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if want := "# ours\ngroup=team lrs\nuser=eva@x lrq :odd\n\"user=luis smith@x\" lr\n-user=eva@x r\n"; err != nil || string(text) != want {
		t.Errorf("file %q, %v", text, err)
	}
	if ok, err := h.store.Shares("ana@example.org", "eva@x", true); err != nil || !ok {
		t.Errorf("shares: %v, %v", ok, err)
	}
	if ok, err := h.store.Shares("ana@example.org", "otto@x", true); err != nil || ok {
		t.Errorf("shares with a stranger: %v, %v", ok, err)
	}
	for _, nobody := range []string{"nobody@example.org", "x", "../x@y", "x@.."} {
		if ok, err := h.store.Shares(nobody, "eva@x", true); err != nil || ok {
			t.Errorf("%s shares: %v, %v", nobody, ok, err)
		}
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("anyone lr\n", maxACLFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.user.ACL(ctx, "plan"); err == nil {
		t.Error("a file beyond all bounds was taken")
	}
}

// Whatever is read is written as a file that gives the same rights.
func FuzzACL(f *testing.F) {
	f.Add([]byte("user=luis@x lr\n-anyone r :read odd\n\"a b\\\" c\" l\n# x\n\n"), "luis@x")
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		a := parseACL(data)
		b := parseACL(a.format())
		if !reflect.DeepEqual(a.rest, b.rest) || len(a.Entries) != len(b.Entries) {
			t.Fatalf("%q became %q", data, b.format())
		}
		for _, owner := range []bool{false, true} {
			if a.Rights(id, owner) != b.Rights(id, owner) {
				t.Errorf("%q gives %s, %q gives %s", data, a.Rights(id, owner), a.format(), b.Rights(id, owner))
			}
		}
	})
}
