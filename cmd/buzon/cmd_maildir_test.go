package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMaildirCheck(t *testing.T) {
	s := newSite(t)
	s.do("ana-secret", "account", "add", "ana@buzon.test")
	s.do("luis-secret", "account", "add", "luis@example.org")
	if out := s.do("", "maildir", "check"); out != "checked 2 accounts: all is well\n" {
		t.Errorf("without any mail: %s", out)
	}
	s.refused(exitFailed, "there is no mail of ana@buzon.test", "", "maildir", "check", "ana@buzon.test")
	s.refused(exitFailed, "malformed address", "", "maildir", "check", "ana")
	s.refused(exitUsage, "flag provided but not defined", "", "maildir", "check", "--mend")

	// The server runs all the while.
	r := s.serve()
	u, err := r.store.User(context.Background(), "ana@buzon.test")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	if _, err := u.Status(context.Background(), "INBOX"); err != nil { // which writes its uidlist
		t.Fatal(err)
	}
	if out := s.do("", "maildir", "check", "--deep", "-v"); out != "checked 2 accounts: all is well\n" {
		t.Errorf("a good tree: %s", out)
	}
	tree := filepath.Join(s.data, "mail/buzon.test/ana/Maildir")
	for name, text := range map[string]string{"cur/1.M1P1.h:2,SF": "mail\r\n", "new/2.M1P1.h": ""} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errors, code := s.run("", "maildir", "check", "ana@buzon.test")
	if code != exitFailed || !strings.Contains(errors, "checked 1 account: wrong: 2") {
		t.Errorf("exit code %d: %s", code, errors)
	}
	for _, want := range []string{
		"ana@buzon.test INBOX cur/1.M1P1.h:2,SF: its flags are not sorted, or stand twice (--repair: rename it to 1.M1P1.h:2,FS)\n",
		"ana@buzon.test INBOX new/2.M1P1.h: is empty\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, errors, code = s.run("", "maildir", "check", "--repair", "ana@buzon.test", "luis@example.org")
	if code != exitFailed || !strings.Contains(errors, "there is no mail of luis@example.org") || !strings.Contains(out, "(repaired: rename it to 1.M1P1.h:2,FS)") {
		t.Errorf("exit code %d: %s%s", code, out, errors)
	}
	if _, err := os.Stat(filepath.Join(tree, "cur/1.M1P1.h:2,FS")); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(tree, "new/2.M1P1.h")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(tree, ".Sent/maildirfolder")); err != nil {
		t.Fatal(err)
	}
	if out := s.do("", "maildir", "check", "--repair"); !strings.Contains(out, "checked 2 accounts, 1 repaired: all is well\n") {
		t.Error(out)
	}
}
