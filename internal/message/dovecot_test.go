package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// dovecotConf is all that Dovecot's imap program needs to serve one Maildir over a
// pipe, without a master process.
const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
mail_location = maildir:%[1]s/Maildir
first_valid_uid = 1
first_valid_gid = 1
mail_uid = %[2]d
mail_gid = %[3]d
stats_writer_socket_path =
ssl = no
`

// askDovecot gives messages to Dovecot and returns what it says of each: the values of
// items, in their order.
func askDovecot(t *testing.T, messages [][]byte, items ...string) [][]node {
	if _, err := exec.LookPath("doveadm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("doveadm is missing: install dovecot-imapd")
		}
		t.Skip("doveadm is missing: install dovecot-imapd")
	}
	dir, err := os.MkdirTemp("", "dovecot") // t.TempDir is not readable for the user below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // Dovecot refuses to serve root
		uid, gid = 65534, 65534
	}
	for _, d := range []string{"Maildir/cur", "Maildir/new", "Maildir/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range messages {
		name := filepath.Join(dir, "Maildir/cur", fmt.Sprintf("%d.M%06dP1.host:2,", 1700000000+i, i))
		if err := os.WriteFile(name, m, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, dir, uid, gid), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		err := filepath.Walk(dir, func(p string, _ os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(p, uid, gid)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	cmd := child.Command(t, 2*time.Minute, "doveadm", "-c", conf, "exec", "imap")
	cmd.Env = []string{"HOME=" + dir, "USER=" + name, "PATH=" + os.Getenv("PATH")}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	// Standard input stays open to the end: Dovecot drops what it has not written when
	// its client is gone.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(stdin, "a SELECT INBOX\r\nb FETCH 1:* (%s)\r\nc LOGOUT\r\n", strings.Join(items, " ")); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("doveadm exec imap: %v\n%s", err, stderr.Bytes())
	}
	return readFetches(t, out, len(messages), items)
}

// readFetches takes the FETCH answers for messages 1 to n from a session.
func readFetches(t *testing.T, session []byte, n int, items []string) [][]node {
	all := make([][]node, n)
	r := bufio.NewReader(bytes.NewReader(session))
	for {
		line, err := readResponse(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(line, []byte("* ")) {
			if !bytes.Contains(line, []byte("OK")) {
				t.Fatalf("dovecot: %s", line)
			}
			continue
		}
		number, rest, ok := bytes.Cut(line[2:], []byte(" FETCH ("))
		if !ok {
			continue
		}
		i, err := strconv.Atoi(string(number))
		if err != nil || i < 1 || i > n {
			t.Fatalf("dovecot: %s", line)
		}
		for _, item := range items {
			var v node
			item = strings.Replace(item, ".PEEK", "", 1) + " "
			rest = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte(" ")), []byte(item))
			if v, rest, err = parseSyntax(rest); err != nil {
				t.Fatalf("dovecot: %s%v in %q", item, err, line)
			}
			all[i-1] = append(all[i-1], v)
		}
	}
	for i := range all {
		if len(all[i]) != len(items) {
			t.Fatalf("dovecot: no answer for message %d\n%q", i+1, session[max(0, len(session)-200):])
		}
	}
	return all
}

// readResponse reads a line with its literals.
func readResponse(r *bufio.Reader) ([]byte, error) {
	var resp []byte
	for {
		line, err := r.ReadBytes('\n')
		resp = append(resp, line...)
		if err != nil {
			return resp, err
		}
		var n int
		if i := bytes.LastIndexByte(line, '{'); i < 0 || !bytes.HasSuffix(line, []byte("}\r\n")) {
			return resp, nil
		} else if n, err = strconv.Atoi(string(line[i+1 : len(line)-3])); err != nil {
			return resp, nil
		}
		literal := make([]byte, n)
		if _, err := io.ReadFull(r, literal); err != nil {
			return resp, err
		}
		resp = append(resp, literal...)
	}
}

// TestAgreesWithDovecot compares ENVELOPE, BODYSTRUCTURE and BODY of the corpus with
// what Dovecot answers, value by value: whether a string comes quoted or as a
// literal is the server's choice.
func TestAgreesWithDovecot(t *testing.T) {
	corpus := dovecotCorpus(t)
	messages := make([][]byte, len(corpus))
	for i, c := range corpus {
		messages[i] = c.text
	}
	theirs := askDovecot(t, messages, "ENVELOPE", "BODYSTRUCTURE", "BODY")
	for i, c := range corpus {
		p, err := Parse(bytes.NewReader(c.text), int64(len(c.text)))
		if err != nil {
			t.Fatal(err)
		}
		for j, item := range []struct {
			name string
			ours []byte
		}{
			{"ENVELOPE", p.AppendEnvelope(nil)},
			{"BODYSTRUCTURE", p.AppendBodyStructure(nil, true)},
			{"BODY", p.AppendBodyStructure(nil, false)},
		} {
			ours, rest, err := parseSyntax(item.ours)
			if err != nil || len(rest) > 0 {
				t.Errorf("%s: %s %q: %v", c.name, item.name, item.ours, err)
				continue
			}
			if got, want := ours.String(), theirs[i][j].String(); got != want && !agree(ours, theirs[i][j]) {
				t.Errorf("%s: %s differs\n--- message\n%.1500q\n--- dovecot\n%s\n--- ours\n%s",
					c.name, item.name, c.text, want, got)
			}
		}
	}
}

// agree reports whether ours means what Dovecot says, in the few places where it need
// not be the same.
func agree(ours, theirs node) bool {
	switch {
	case ours.kind != theirs.kind:
		return false
	case ours.kind == 's':
		// BODY of a plain text is shown in lower case by Dovecot.
		return strings.EqualFold(*ours.str, *theirs.str)
	case ours.kind == 'a':
		return ours.atom == theirs.atom
	}
	if len(theirs.list) >= 2 && theirs.list[0].kind == 's' && theirs.list[1].kind == 's' && *theirs.list[1].str == "" {
		return true // a damaged Content-Type, see Part.setType
	}
	if len(ours.list) != len(theirs.list) {
		return false
	}
	for i := range ours.list {
		if !agree(ours.list[i], theirs.list[i]) {
			return false
		}
	}
	return true
}

// cutInMessage matches a message/rfc822 part whose header a boundary ends. Dovecot drops
// the connection when it is asked for such a header.
var cutInMessage = regexp.MustCompile(`(?m)^(Subject: .*|Content-.*|U3V.*)\n--`)

// TestSectionsAgreeWithDovecot compares what BODY[...] means in whole and broken
// messages.
func TestSectionsAgreeWithDovecot(t *testing.T) {
	var items []string
	var paths [][]int
	var specs []Specifier
	for _, path := range [][]int{{}, {1}, {2}, {3}, {1, 1}, {1, 2}, {2, 1}, {1, 1, 1}, {2, 1, 1}, {1, 1, 1, 1}, {1, 2, 1}} {
		number := strings.Trim(strings.ReplaceAll(fmt.Sprint(path), " ", "."), "[]")
		for spec, name := range []string{Whole: "", Head: "HEADER", Text: "TEXT", MIME: "MIME"} {
			if len(path) == 0 && name == "MIME" {
				continue
			}
			dot := ""
			if number != "" && name != "" {
				dot = "."
			}
			items = append(items, "BODY.PEEK["+number+dot+name+"]")
			paths = append(paths, path)
			specs = append(specs, Specifier(spec))
		}
	}
	var messages [][]byte
	for _, s := range structures {
		if !cutInMessage.MatchString(s) {
			messages = append(messages, []byte(strings.ReplaceAll(s, "\n", "\r\n")))
		}
	}
	theirs := askDovecot(t, messages, items...)
	for i, m := range messages {
		p, err := Parse(bytes.NewReader(m), int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		for j, item := range items {
			got := `""` // Dovecot does not tell what is missing from what is empty
			if r, ok := p.Section(paths[j], specs[j]); ok {
				got = strconv.Quote(string(m[r.Start:r.End]))
			}
			if n := len(paths[j]); n > 1 && paths[j][n-1] == 1 && isLeaf(p.Find(paths[j][:n-1])) {
				continue // RFC 9051 6.4.5.1 gives a part 1 to messages, Dovecot to all parts
			}
			if want := theirs[i][j].String(); got != want {
				t.Errorf("structure %d: %s differs\n--- message\n%q\n--- dovecot\n%s\n--- ours\n%s", i, item, m, want, got)
			}
		}
	}
}

func isLeaf(p *Part) bool { return p != nil && !p.IsMultipart() && !p.IsMessage() }

// TestHeaderFieldsAgreeWithDovecot compares HEADER.FIELDS and HEADER.FIELDS.NOT.
func TestHeaderFieldsAgreeWithDovecot(t *testing.T) {
	names := []string{"SUBJECT", "CONTENT-TYPE", "X", "NO", "FROM", "CONTENT-"}
	list := " (" + strings.Join(names, " ") + ")]"
	items := []string{"BODY.PEEK[HEADER.FIELDS" + list, "BODY.PEEK[HEADER.FIELDS.NOT" + list}
	var messages [][]byte
	for _, f := range otherFields {
		if strings.IndexByte(f, 0) < 0 { // which Dovecot turns into something else
			messages = append(messages, []byte(f+"\r\n\r\nbody\r\n"))
		}
	}
	for _, s := range structures {
		messages = append(messages, []byte(strings.ReplaceAll(s, "\n", "\r\n")))
	}
	theirs := askDovecot(t, messages, items...)
	for i, m := range messages {
		p, err := Parse(bytes.NewReader(m), int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		for j, not := range []bool{false, true} {
			got := strconv.Quote(string(AppendFields(nil, m[:p.Header.End], names, not)))
			if want := theirs[i][j].String(); got != want {
				t.Errorf("%q: %s differs\n--- dovecot\n%s\n--- ours\n%s", m, items[j], want, got)
			}
		}
	}
}
