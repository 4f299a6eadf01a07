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

// denying is a directory with one file that nobody may read, not even root, and with
// directories that nobody may enter.
type denying struct {
	durable.Dir
	base   string
	path   string // of the directory itself
	closed string // ends of paths, separated by spaces
}

func (d denying) Open(name string) (durable.File, error) {
	if strings.HasPrefix(name, d.base) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return d.Dir.Open(name)
}

func (d denying) OpenDir(name string) (durable.Dir, error) {
	path := d.path + "/" + name
	if slices.ContainsFunc(strings.Fields(d.closed), func(end string) bool { return strings.HasSuffix(path, end) }) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	sub, err := d.Dir.OpenDir(name)
	return denying{sub, d.base, path, d.closed}, err
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
	ask := askDenied(t, dir, denying{base: "1700000002."})
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

// askDenied logs in to a host whose mail, in dir, is behind d, and returns what asks it
// a command.
func askDenied(t *testing.T, dir string, d denying) func(command string) (lines []string, tagged string) {
	t.Helper()
	disk, err := durable.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.Dir = disk
	store, err := maildir.Open(maildir.Config{MailDir: d, State: t.TempDir(), Host: "h", Log: slog.New(slog.DiscardHandler)})
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
	return ask
}

// A folder that the server may not enter is listed, as one that cannot be selected; it
// and one whose messages may not be read say who can help; the others are served.
func TestClosedFolders(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"cur", "new", "tmp", ".Shut/cur", ".Blind/cur", ".Blind/new", ".Blind/tmp", ".Fine/cur"} {
		if err := os.MkdirAll(filepath.Join(dir, "buzon.test/ana/Maildir", sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ask := askDenied(t, dir, denying{base: "none", closed: "/.Shut /.Blind/cur"})
	lines, tagged := ask(`LIST "" *`)
	for name, attributes := range map[string]string{"Shut": `\HasNoChildren \Noselect`, "Blind": `\HasNoChildren`, "Fine": `\HasNoChildren`} {
		if want := fmt.Sprintf("* LIST (%s) \"/\" %s", attributes, name); !slices.Contains(lines, want) {
			t.Errorf("no %q in %q, %s", want, lines, tagged)
		}
	}
	for command, want := range map[string]string{
		"SELECT Shut":            "x NO [CONTACTADMIN] ",
		"SELECT Blind":           "x NO [CONTACTADMIN] ",
		"STATUS Shut (MESSAGES)": "x NO [CONTACTADMIN] ",
		"STATUS Blind (UNSEEN)":  "x NO [CONTACTADMIN] ",
		"CREATE Shut":            "x NO [ALREADYEXISTS] ",
		"APPEND Blind {1+}\r\nx": "x NO [CONTACTADMIN] ",
		"SELECT Fine":            "x OK ",
		"SELECT INBOX":           "x OK ",
	} {
		if _, tagged := ask(command); !strings.HasPrefix(tagged, want) {
			t.Errorf("%s is answered %s, want %s", command, tagged, want)
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
