package imapd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/internal/sasl"
	"buzon/maildir"
)

// The dialogues of testdata/dialog are run against a real listener over a real Maildir.
//
//	# comments; the first says what is shown, and which section of which RFC says so
//	# INBOX: 3 messages. Archive: empty. Lists: simple, nested (\Seen \Flagged).
//	# strict        every line that the server sends must be listed
//	# raw           nobody is logged in, and the greeting is shown
//	A> a1 NOOP      connection A sends a line
//	A< a1 OK ...    connection A receives one; "..." matches anything; $name keeps what stands there, and is that text from then on
//	A<! * ...       no such line comes before the next line that is expected on A
//	A. closed       the server closes connection A
//	S> deliver simple to INBOX
//
// Connections L and M log in as luis, E as eva, all others as ana, whose the mailboxes are.
//
// Lines that are not listed are passed over, except tagged ones. The numbered messages are made by
// numbered, the named ones stand in testdata/mail.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialog/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runDialogue(t, file)
		})
	}
}

// goodToken knows one token, which is Ana's.
type goodToken struct{}

func (goodToken) Verify(_ context.Context, token string) (string, error) {
	if token != "good" {
		return "", sasl.ErrCredentials
	}
	return ana, nil
}

func (goodToken) Configuration() string { return "https://login.test/.well-known/openid-configuration" }

type dialogue struct {
	*host
	t           *testing.T
	user        *maildir.User
	strict, raw bool
	conns       map[string]*dialogueConn
	vars        map[string]string
}

type dialogueConn struct {
	net.Conn
	r      *bufio.Reader
	forbid []*regexp.Regexp
	tags   map[string]bool
}

func runDialogue(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("# ")) || !regexp.MustCompile(`RFC \d+|draft`).Match(text) {
		t.Fatal("the first line must say what is shown and which RFC says so")
	}
	h := newHost(t, func(cfg *imapd.Config) {
		cfg.Logins = sasl.New(sasl.Config{Directory: cfg.Directory, Tokens: goodToken{}})
	})
	d := &dialogue{host: h, t: t, conns: make(map[string]*dialogueConn), vars: make(map[string]string)}
	d.user, err = h.store.User(t.Context(), ana)
	if err != nil {
		t.Fatal(err)
	}
	defer d.user.Release()
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		where := fmt.Sprintf("%s:%d: %s", filepath.Base(file), i+1, line)
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			d.setUp(where, rest)
		} else if line != "" {
			d.step(where, line)
		}
	}
}

var setupEntry = regexp.MustCompile(`([A-Za-z0-9/&-]+): (empty|\d+ messages?|[a-z0-9-]+(?: \([^)]*\))?(?:, [a-z0-9-]+(?: \([^)]*\))?)*)\.`)

// setUp understands comments that describe mailboxes.
func (d *dialogue) setUp(where, comment string) {
	switch comment {
	case "strict":
		d.strict = true
		return
	case "raw":
		d.raw = true
		return
	}
	if strings.TrimSpace(setupEntry.ReplaceAllString(comment, "")) != "" {
		return // plain text
	}
	for _, m := range setupEntry.FindAllStringSubmatch(comment, -1) {
		name, what := m[1], m[2]
		if err := d.user.Create(d.t.Context(), name, ""); err != nil && name != "INBOX" && !strings.Contains(err.Error(), "exists") {
			d.t.Fatalf("%s: create: %v", where, err)
		}
		var n int
		if what == "empty" {
			continue
		}
		if _, err := fmt.Sscanf(what, "%d message", &n); err == nil {
			for i := range n {
				d.put(where, name, numbered(i+1), "")
			}
			continue
		}
		for _, entry := range regexp.MustCompile(`([a-z0-9-]+)(?: \(([^)]*)\))?`).FindAllStringSubmatch(what, -1) {
			d.put(where, name, mailFile(d.t, entry[1]), entry[2])
		}
	}
}

// put appends a message with the internal date 2-Jan-2026 03:04:05 +0000.
func (d *dialogue) put(where, mailbox string, content []byte, flags string) {
	ctx := d.t.Context()
	box, err := d.user.Open(ctx, mailbox)
	if err != nil {
		d.t.Fatalf("%s: %v", where, err)
	}
	defer box.Close()
	staged, err := d.user.Stage(ctx, bytes.NewReader(content))
	if err != nil {
		d.t.Fatalf("%s: %v", where, err)
	}
	a := maildir.Append{Staged: staged, InternalDate: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, f := range strings.Fields(flags) {
		switch f {
		case `\Seen`:
			a.Flags |= maildir.FlagSeen
		case `\Answered`:
			a.Flags |= maildir.FlagAnswered
		case `\Flagged`:
			a.Flags |= maildir.FlagFlagged
		case `\Deleted`:
			a.Flags |= maildir.FlagDeleted
		case `\Draft`:
			a.Flags |= maildir.FlagDraft
		default:
			a.Keywords = append(a.Keywords, f)
		}
	}
	if _, err := box.Append(ctx, []maildir.Append{a}); err != nil {
		d.t.Fatalf("%s: append: %v", where, err)
	}
}

func numbered(n int) []byte {
	return fmt.Appendf(nil, "From: Ana <ana@buzon.test>\r\nTo: Luis <luis@buzon.test>\r\nSubject: Message %d\r\nDate: Thu, 1 Jan 2026 00:00:0%d +0000\r\nMessage-ID: <m%d@buzon.test>\r\n\r\nBody %d\r\n", n, n%10, n, n)
}

func mailFile(t testing.TB, name string) []byte {
	b, err := os.ReadFile(filepath.Join("testdata/mail", name+".eml"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

func (d *dialogue) step(where, line string) {
	name, rest, ok := strings.Cut(line, " ")
	if !ok {
		rest = ""
	}
	if name == "S>" {
		d.outside(where, rest)
		return
	}
	actor, op := name[:1], name[1:]
	c := d.conn(where, actor)
	switch op {
	case ">":
		rest = d.expand(rest)
		if tag, _, ok := strings.Cut(rest, " "); ok && commandTag.MatchString(tag) {
			c.tags[tag] = true
		}
		if _, err := c.Write([]byte(rest + "\r\n")); err != nil {
			d.t.Fatalf("%s: %v", where, err)
		}
	case "<":
		d.expect(where, c, rest)
	case "<!":
		c.forbid = append(c.forbid, d.pattern(rest))
	case ".":
		d.expectClosed(where, c)
	default:
		d.t.Fatalf("%s: not a step", where)
	}
}

func (d *dialogue) outside(where, what string) {
	var mail, mailbox string
	if what == "lengthen the names in INBOX" {
		d.lengthenNames(where)
		return
	}
	if _, err := fmt.Sscanf(what, "deliver %s to %s", &mail, &mailbox); err != nil {
		d.t.Fatalf("%s: not a step", where)
	}
	d.deliver(d.t, mail, mailbox)
}

// lengthenNames gives all files of INBOX the longest names that there are, by a field
// behind the flags as another program might have one. Their bases are too short to be
// made shorter.
func (d *dialogue) lengthenNames(where string) {
	user, domain, _ := strings.Cut(ana, "@")
	names, err := filepath.Glob(filepath.Join(d.mail, domain, user, "Maildir", "*", "*:2,*"))
	if err != nil || len(names) == 0 {
		d.t.Fatalf("%s: %q %v", where, names, err)
	}
	for i, name := range names {
		const longest = 255
		dir, old := filepath.Split(name)
		_, info, _ := strings.Cut(old, ":")
		long := fmt.Sprintf("%d:%s,", i, info)
		if err := os.Rename(name, dir+long+strings.Repeat("x", longest-len(long))); err != nil {
			d.t.Fatalf("%s: %v", where, err)
		}
	}
}

func (d *dialogue) conn(where, actor string) *dialogueConn {
	if c := d.conns[actor]; c != nil {
		return c
	}
	nc := d.dial(d.t)
	c := &dialogueConn{Conn: nc, r: bufio.NewReader(nc), tags: make(map[string]bool)}
	d.conns[actor] = c
	if !d.raw {
		d.line(where, c)
		if _, err := fmt.Fprintf(c, "login LOGIN %s %q\r\n", dialogueUser(actor), password); err != nil {
			d.t.Fatal(err)
		}
		if line := d.line(where, c); !strings.HasPrefix(line, "login OK") {
			d.t.Fatalf("%s: %s", where, line)
		}
	}
	return c
}

func dialogueUser(actor string) string {
	switch actor {
	case "L", "M":
		return luis
	case "E":
		return eva
	}
	return ana
}

func (d *dialogue) line(where string, c *dialogueConn) string {
	c.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := c.r.ReadString('\n')
	if err != nil {
		d.t.Fatalf("%s: got %q, %v", where, line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// expect reads lines until one matches.
func (d *dialogue) expect(where string, c *dialogueConn, want string) {
	re := d.pattern(want)
	var passed []string
	for {
		line := d.line(where, c)
		for _, f := range c.forbid {
			if f.MatchString(line) {
				d.t.Fatalf("%s: forbidden line %s", where, line)
			}
		}
		if m := re.FindStringSubmatch(line); m != nil {
			for i, name := range re.SubexpNames() {
				if name != "" {
					d.vars[name] = m[i]
				}
			}
			c.forbid = nil
			return
		}
		tag, _, _ := strings.Cut(line, " ")
		if d.strict || c.tags[tag] || tag == "+" {
			d.t.Fatalf("%s:\n got %s\nafter %s", where, line, strings.Join(passed, "\n      "))
		}
		passed = append(passed, line)
	}
}

func (d *dialogue) expectClosed(where string, c *dialogueConn) {
	c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		if _, err := c.r.ReadString('\n'); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				d.t.Fatalf("%s: still open", where)
			}
			return
		}
	}
}

// commandTag tells a command from the content of a literal.
var commandTag = regexp.MustCompile(`^[a-z]\d+$`)

var variable = regexp.MustCompile(`\$[a-z][a-z0-9]*`)

func (d *dialogue) expand(s string) string {
	return variable.ReplaceAllStringFunc(s, func(v string) string {
		if text, ok := d.vars[v[1:]]; ok {
			return text
		}
		return v
	})
}

// pattern makes a regular expression of an expected line.
func (d *dialogue) pattern(want string) *regexp.Regexp {
	re := regexp.QuoteMeta(d.expand(want))
	re = regexp.MustCompile(`\\\$[a-z][a-z0-9]*`).ReplaceAllStringFunc(re, func(v string) string {
		return "(?P<" + v[2:] + `>[^ \[\]()<>,]+)`
	})
	return regexp.MustCompile("^" + strings.ReplaceAll(re, `\.\.\.`, ".*") + "$")
}
