package imapd_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/internal/durable"
	"buzon/maildir"
)

// denying is a directory with one file that nobody may read, not even root.
type denying struct {
	durable.Dir
	base string
}

func (d denying) Open(name string) (durable.File, error) {
	if strings.HasPrefix(name, d.base) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return d.Dir.Open(name)
}

func (d denying) OpenDir(name string) (durable.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	return denying{sub, d.base}, err
}

func (d denying) Rename(name string, to durable.Dir, newName string) error {
	return d.Dir.Rename(name, to.(denying).Dir, newName)
}

func (d denying) Link(name string, to durable.Dir, newName string) error {
	return d.Dir.Link(name, to.(denying).Dir, newName)
}

// One message that cannot be read is left out of FETCH, SEARCH and SORT, and FETCH
// says so in the end.
func TestUnreadableMessage(t *testing.T) {
	dir := t.TempDir()
	disk, err := durable.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := maildir.Open(maildir.Config{MailDir: denying{disk, "1700000002."}, State: t.TempDir(), Host: "h", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	h := newHost(t, func(c *imapd.Config) { c.Store = store })
	nc := h.dial(t)
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(nc)
	ask := func(command string) (lines []string, tagged string) {
		t.Helper()
		fmt.Fprintf(nc, "x %s\r\n", command)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "x ") {
				return lines, line
			}
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	ask(fmt.Sprintf("LOGIN %s %q", ana, password))
	ask("SELECT INBOX")
	for i := range 3 {
		writeFile(t, filepath.Join(dir, "buzon.test/ana/Maildir/cur", fmt.Sprintf("170000000%d.M1P1.x:2,S", i+1)), "Subject: same\r\n\r\nx\r\n")
	}
	ask("NOOP")
	for _, c := range []struct{ command, want, tagged string }{
		{"FETCH 1:* (FLAGS)", "3 FETCH", "x OK"},
		{"FETCH 1:* (RFC822.SIZE)", "3 FETCH", "x NO"},
		{"FETCH 1:* (BODY.PEEK[HEADER])", "3 FETCH", "x NO"},
		{"SEARCH SUBJECT same", "SEARCH 1 3", "x OK"},
		{"SEARCH BODY x", "SEARCH 1 3", "x OK"},
		{"SORT (SUBJECT) UTF-8 ALL", "SORT 2 1 3", "x OK"},
		{"STORE 2 +FLAGS (\\Flagged)", "2 FETCH", "x OK"},
	} {
		lines, tagged := ask(c.command)
		if !strings.HasPrefix(tagged, c.tagged) || strings.Contains(tagged, "Internal") {
			t.Errorf("%s is answered %s", c.command, tagged)
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "* "+c.want) }) {
			t.Errorf("%s: no %q in %q", c.command, c.want, lines)
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
