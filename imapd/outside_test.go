package imapd_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What other programs do to the files reaches a client that idles: delivery, flags, removal.
func TestOutsideChanges(t *testing.T) {
	h := newHost(t, nil)
	nc := h.dial(t)
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\nb APPEND INBOX {6+}\r\nabcd\r\n\r\nc SELECT INBOX\r\nd IDLE\r\n", ana, password)
	readUntil(t, r, "c OK")
	readUntil(t, r, "+ ")
	dir := filepath.Join(h.mail, "buzon.test/ana/Maildir")
	if err := os.WriteFile(filepath.Join(dir, "new", "1700000000.M1P1.elsewhere"), []byte("Subject: x\n\ny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	readUntil(t, r, "* 2 EXISTS")
	files, err := filepath.Glob(filepath.Join(dir, "cur", "1700000000.M1P1.elsewhere*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	name, _, _ := strings.Cut(files[0], ":2,")
	if err := os.Rename(files[0], name+":2,FS"); err != nil {
		t.Fatal(err)
	}
	if line := readUntil(t, r, "* 2 FETCH"); !strings.Contains(line, `\Flagged`) || !strings.Contains(line, `\Seen`) {
		t.Errorf("after a rename: %s", line)
	}
	if err := os.Remove(name + ":2,FS"); err != nil {
		t.Fatal(err)
	}
	readUntil(t, r, "* 2 EXPUNGE")
	fmt.Fprint(nc, "DONE\r\n")
	readUntil(t, r, "d OK")
}
