package e2e_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
	"buzon/maildir"
)

// rightWords are Dovecot's words for our letters.
var rightWords = map[string]string{
	"lookup": "l", "read": "r", "write": "w", "write-seen": "s", "write-deleted": "t", "insert": "i",
	"post": "p", "expunge": "e", "create": "k", "delete": "x", "admin": "a",
}

// A tree with shared mailboxes can change servers: of every dovecot-acl file Dovecot and we make the
// same rights, for its owner's guests, and what either writes the other reads.
func TestDovecotRights(t *testing.T) {
	need(t, "doveadm")
	d := newDovecot(t)
	const owner = "ana@example.org"
	home := filepath.Join(d.dir, "mail", "example.org", "ana", "Maildir")
	conf := fmt.Sprintf(`
mail_plugins = acl
auth_socket_path = /nonexistent
namespace {
  type = shared
  separator = /
  prefix = shared/%%%%u/
  location = maildir:%[1]s/mail/%%%%d/%%%%n/Maildir
}
plugin {
  acl = vfile
}
`, d.dir)
	name := filepath.Join(d.dir, "dovecot.conf")
	text, err := os.ReadFile(name)
	if err == nil {
		text = []byte(strings.Replace(string(text), "maildir:"+d.dir+"/Maildir", "maildir:"+d.dir+"/mail/%d/%n/Maildir", 1) + conf)
		err = os.WriteFile(name, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := maildir.Open(maildir.Config{Mail: filepath.Join(d.dir, "mail"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	user, err := store.User(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Release()
	doveadm := func(as string, args ...string) string {
		t.Helper()
		cmd := child.Command(t, time.Minute, "doveadm", append([]string{"-c", name, "acl"}, args...)...)
		cmd.Env = []string{"HOME=" + filepath.Join(d.dir, as), "USER=" + as, "PATH=" + os.Getenv("PATH")}
		cmd.Dir = d.dir
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("doveadm %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for i, file := range []string{
		"user=luis@example.org lrs\n-user=eva@example.org r\nanyone lr\n",
		"user=luis@example.org lr\n-anyone r\n",
		"anyone lrs\nuser=luis@example.org l\n",
		"anyone lrs\nuser=luis@example.org\n",
		"authenticated lrs\nanyone l\n",
		"user=luis@example.org l\nuser=luis@example.org r\n",
		"user=luis@example.org :lookup read write-seen\n",
		"# a comment\nowner lr\ngroup=team lrwstipekxa\nanyone lrwstipekxa\n",
	} {
		mailbox := fmt.Sprintf("Plans%d", i)
		if err := user.Create(t.Context(), mailbox, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "."+mailbox, "dovecot-acl"), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		d.own(t)
		for _, guest := range []string{"luis@example.org", "eva@example.org"} {
			acl, err := user.ACL(t.Context(), mailbox)
			if err != nil {
				t.Fatal(err)
			}
			want := dovecotsLetters(doveadm(guest, "rights", "shared/"+owner+"/"+mailbox))
			if got := sortedLetters(acl.Rights(guest, false).String()); got != want {
				t.Errorf("%q gives %s %q, by Dovecot %q", file, guest, got, want)
			}
		}
	}
	// Each reads what the other wrote.
	doveadm(owner, "set", "Plans0", "user=otto@example.org", "lookup", "insert")
	acl, err := user.ACL(t.Context(), "Plans0")
	if got := acl.Rights("otto@example.org", false); err != nil || got != maildir.RightLookup|maildir.RightInsert {
		t.Errorf("rights that Dovecot gave: %v, %v", got, err)
	}
	err = user.EditACL(t.Context(), "Plans1", func(a *maildir.ACL) error {
		a.Set(maildir.ACLUser("otto@example.org"), false, maildir.AllRights&^maildir.RightAdmin, false)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.own(t)
	if got := dovecotsLetters(doveadm("otto@example.org", "rights", "shared/"+owner+"/Plans1")); got != sortedLetters("lwstipekx") { // r is taken from all
		t.Errorf("Dovecot reads %q from our file", got)
	}
}

// dovecotsLetters reads the second line of "doveadm acl rights".
func dovecotsLetters(out string) string {
	lines := strings.Split(strings.TrimSpace(out)+"\n", "\n")
	letters := ""
	for _, word := range strings.Fields(lines[min(1, len(lines)-1)]) {
		letters += rightWords[word]
	}
	return sortedLetters(letters)
}

func sortedLetters(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}
