package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// A peer is a server whose one user's Maildir can be compared with another's:
// ours, or Debian's Dovecot.
type peer interface {
	name() string
	maildir() string
	// session logs in.
	session(t testing.TB) *imapSession
	// restart forgets whatever the server holds in memory.
	restart(t testing.TB)
	// pids are the processes that serve.
	pids() []int
}

// ours is a host with the one account that benchmarks use.
type ours struct {
	*host
	// withoutTLS: sessions use the port without it, as those of the peer do.
	withoutTLS bool
}

const benchAccount = "ana@bench.test"

func newOurs(t testing.TB) *ours {
	return &ours{host: newHost(t, hostConfig{Domains: []string{"bench.test"}, Accounts: []string{benchAccount}})}
}

func (o *ours) name() string    { return "buzon" }
func (o *ours) maildir() string { return o.host.maildir(benchAccount) }
func (o *ours) pids() []int     { return []int{o.cmd.Process.Pid} }

func (o *ours) restart(t testing.TB) {
	if o.cmd != nil {
		o.stop(t)
	}
	o.start(t)
}

func (o *ours) session(t testing.TB) *imapSession {
	t.Helper()
	return o.sessionOf(t, benchAccount)
}

// sessionOf logs in to an account of the host.
func (o *ours) sessionOf(t testing.TB, account string) *imapSession {
	t.Helper()
	var conn net.Conn
	var err error
	if o.withoutTLS {
		conn, err = net.Dial("tcp", o.Addr("imap"))
	} else {
		conn, err = tls.Dial("tcp", o.Addr("imaps"), o.tls(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &imapSession{t: t, w: conn, limit: conn, r: bufio.NewReaderSize(conn, 64<<10), end: func() { conn.Close() }}
	s.line()
	s.do("LOGIN %s %s", account, password)
	return s
}

// dovecot is Debian's imap program, started for each session as its login
// service would, as the user nobody.
type dovecot struct {
	dir     string
	running map[int]bool
}

const nobody = 65534

func newDovecot(t testing.TB) *dovecot {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can start Dovecot for somebody else")
	}
	if _, err := os.Stat("/usr/lib/dovecot/imap"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("dovecot-imapd is not installed")
		}
		t.Skip("dovecot-imapd is not installed")
	}
	d := &dovecot{dir: t.TempDir(), running: map[int]bool{}}
	conf := fmt.Sprintf(`base_dir = %[1]s/run
log_path = %[1]s/log
mail_location = maildir:%[1]s/Maildir
ssl = no
first_valid_uid = 1
stats_writer_socket_path =
namespace inbox {
  separator = /
  inbox = yes
}
`, d.dir)
	if err := os.WriteFile(filepath.Join(d.dir, "dovecot.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	// nobody must reach it below the directories of the test.
	for dir := d.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil {
			os.Chmod(dir, fi.Mode().Perm()|0o055)
		}
	}
	d.own(t)
	t.Cleanup(func() {
		if log, _ := os.ReadFile(filepath.Join(d.dir, "log")); strings.Contains(string(log), "Error") || strings.Contains(string(log), "Panic") {
			t.Logf("Dovecot said:\n%s", tail(string(log), 20))
		}
	})
	return d
}

// own gives Dovecot's user all that is in its directory.
func (d *dovecot) own(t testing.TB) {
	t.Helper()
	if out, err := child.Command(t, 5*time.Minute, "chown", "-R", strconv.Itoa(nobody), d.dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v %s", err, out)
	}
}

func (d *dovecot) name() string         { return "dovecot" }
func (d *dovecot) maildir() string      { return filepath.Join(d.dir, "Maildir") }
func (d *dovecot) restart(t testing.TB) {}

// log is what Dovecot complained of.
func (d *dovecot) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b)
}

func (d *dovecot) pids() (all []int) {
	for pid := range d.running {
		all = append(all, pid)
	}
	return all
}

func (d *dovecot) session(t testing.TB) *imapSession {
	t.Helper()
	cmd := child.Command(t, time.Hour, "/usr/lib/dovecot/imap", "-c", filepath.Join(d.dir, "dovecot.conf"))
	cmd.Env = []string{"HOME=" + d.dir, "USER=ana", "PATH=" + os.Getenv("PATH")}
	cmd.Dir = d.dir
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	d.running[pid] = true
	limit, _ := out.(deadline) // a pipe has one, if it is a file
	s := &imapSession{t: t, w: in, limit: limit, r: bufio.NewReaderSize(out, 64<<10), end: func() {
		in.Close()
		cmd.Wait()
		delete(d.running, pid)
	}}
	s.line()
	return s
}

type deadline interface{ SetReadDeadline(time.Time) error }

// longestCommand is more than any command takes on a million messages.
const longestCommand = 5 * time.Minute

// imapSession speaks IMAP as lines; a literal is part of its line.
type imapSession struct {
	t   testing.TB
	w   io.Writer
	r   *bufio.Reader
	tag int
	end func()
	// limit bounds the wait for a line.
	limit deadline
	read  []byte // the last response
	// races: others expunge what this session works on, and it may be told so.
	races bool
}

func (s *imapSession) line() string { return string(s.response()) }

// response is line in memory that the next one uses again: benchmarks are to measure the
// server, not the client.
func (s *imapSession) response() []byte {
	s.read = s.read[:0]
	if s.limit != nil && s.r.Buffered() == 0 {
		s.limit.SetReadDeadline(time.Now().Add(longestCommand))
	}
	for {
		start := len(s.read)
		part, err := s.r.ReadSlice('\n')
		s.read = append(s.read, part...)
		if err == bufio.ErrBufferFull {
			rest, readErr := s.r.ReadBytes('\n')
			s.read, err = append(s.read, rest...), readErr
		}
		if err != nil {
			s.t.Errorf("IMAP: %v after %.200q", err, s.read)
			return nil
		}
		size, literal := literalSize(s.read[start:])
		if !literal {
			return s.read
		}
		start = len(s.read)
		s.read = slices.Grow(s.read, size)[:start+size]
		if _, err := io.ReadFull(s.r, s.read[start:]); err != nil {
			s.t.Errorf("IMAP literal: %v", err)
			return nil
		}
	}
}

// literalSize finds {n} or {n+} at the end of a line.
func literalSize(line []byte) (n int, ok bool) {
	line, ok = bytes.CutSuffix(bytes.TrimRight(line, "\r\n"), []byte("}"))
	open := bytes.LastIndexByte(line, '{')
	if !ok || open < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(string(line[open+1:]), "+"))
	return n, err == nil
}

// each runs a command and calls fn, where there is one, with each untagged response; it
// wants OK.
func (s *imapSession) each(fn func(line string), format string, args ...any) (took time.Duration) {
	s.tag++
	tag := fmt.Appendf(nil, "t%d ", s.tag)
	start := time.Now()
	fmt.Fprintf(s.w, "%s"+format+"\r\n", append([]any{tag}, args...)...)
	for {
		l := s.response()
		if len(l) == 0 {
			return time.Since(start)
		}
		if rest, ok := bytes.CutPrefix(l, tag); ok {
			if !bytes.HasPrefix(rest, []byte("OK")) && !(s.races && bytes.Contains(rest, []byte("EXPUNGEISSUED"))) {
				s.t.Errorf("%.60q: %s", fmt.Sprintf(format, args...), rest)
			}
			return time.Since(start)
		}
		if fn != nil {
			fn(string(l))
		}
	}
}

// do runs a command and returns its untagged responses.
func (s *imapSession) do(format string, args ...any) (lines []string) {
	s.each(func(l string) { lines = append(lines, l) }, format, args...)
	return lines
}

// timed is how long a command takes.
func (s *imapSession) timed(format string, args ...any) time.Duration {
	return s.each(nil, format, args...)
}

// number is the one after word in a list of responses, as in [UIDNEXT 7].
func number(lines []string, word string) int {
	for _, l := range lines {
		if _, after, ok := strings.Cut(l, word+" "); ok {
			end := 0
			for end < len(after) && after[end] >= '0' && after[end] <= '9' {
				end++
			}
			n, _ := strconv.Atoi(after[:end])
			return n
		}
	}
	return 0
}

// fillMaildir writes n small messages into cur/, as a server of long ago had them.
func fillMaildir(t testing.TB, dir string, n int) {
	t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const writers = 4
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < n; i += writers {
				text := fmt.Sprintf("From: a@far.test\r\nTo: %s\r\nSubject: number %08d\r\nMessage-ID: <%08d@far.test>\r\n\r\nText\r\n", benchAccount, i, i)
				name := fmt.Sprintf("%d.M%dP77Q%d.host,S=%d,W=%d:2,%s", 1600000000+i/10, i%1000000, i, len(text), len(text), []string{"", "S", "RS"}[i%3])
				if err := os.WriteFile(filepath.Join(dir, "cur", name), []byte(text), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
