package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Training works without a server and with one, and status says what came of it.
func TestJunkCommands(t *testing.T) {
	s := newSite(t, "[junk]\nminimum = 2\n")
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	tree := filepath.Join(s.data, "mail", "buzon.test", "ana", "Maildir")
	put := func(dir string, n int) {
		t.Helper()
		dir = filepath.Join(tree, dir, "cur")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, "..", sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprintf("Message-ID: <%d.%s@x>\nSubject: x\n\nx\n", n, filepath.Base(filepath.Dir(dir)))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.M1P1.host:2,S", n)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("", 1)
	put("", 2)
	put(".Junk", 3)
	if out := s.do("", "junk", "status"); !strings.Contains(out, "ana@buzon.test") || !strings.Contains(out, "from 2 of either on") {
		t.Errorf("status: %s", out)
	}
	if out := s.do("", "junk", "train", "ana@buzon.test"); !strings.Contains(out, "learned 1 messages as junk and 2 as good") || !strings.Contains(out, "2 of either") {
		t.Errorf("train: %s", out)
	}
	put(".Junk", 4)
	s.refused(1, "not found", "", "junk", "train", "eva@buzon.test")
	r := s.serve()
	if out := s.do("", "junk", "train", "ana@buzon.test"); !strings.Contains(out, "learned 2 messages as junk and 2 as good") || strings.Contains(out, "of either") {
		t.Errorf("train with a server: %s", out)
	}
	if out := s.do("", "junk", "status", "ana@buzon.test"); !strings.Contains(out, "yes") {
		t.Errorf("status with a server: %s", out)
	}
	r.end()

	s.configure("[junk]\nlearn = false\n")
	s.refused(1, "junk.learn", "", "junk", "train", "ana@buzon.test")
}
