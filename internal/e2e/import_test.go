package e2e_test

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// front puts TLS and LOGIN before Debian's Dovecot, whose imap program wants a
// login service there.
type front struct {
	t    *testing.T
	d    *dovecot
	addr string
	left atomic.Int64 // bytes until it breaks down; negative for never
}

func newFront(t *testing.T, d *dovecot, h *host) *front {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(h.dir, "cert.pem"), filepath.Join(h.dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", net.JoinHostPort(h.IP, "0"), &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, d: d, addr: ln.Addr().String()}
	f.left.Store(-1)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go f.serve(nc)
		}
	}()
	return f
}

// serve answers LOGIN and then lets Dovecot talk, until the bytes are used up.
func (f *front) serve(nc net.Conn) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	r := bufio.NewReader(nc)
	io.WriteString(nc, "* OK [CAPABILITY IMAP4rev1] ready\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(rest, "CAPABILITY") {
			fmt.Fprintf(nc, "* CAPABILITY IMAP4rev1\r\n%s OK\r\n", tag)
			continue
		}
		if !strings.Contains(rest, password) {
			fmt.Fprintf(nc, "%s NO wrong\r\n", tag)
			continue
		}
		fmt.Fprintf(nc, "%s OK [CAPABILITY IMAP4rev1 NAMESPACE LIST-EXTENDED LIST-STATUS SPECIAL-USE UIDPLUS ESEARCH LITERAL+] in\r\n", tag)
		break
	}
	cmd := child.Command(f.t, 5*time.Minute, "/usr/lib/dovecot/imap", "-c", filepath.Join(f.d.dir, "dovecot.conf"))
	cmd.Env = []string{"HOME=" + f.d.dir, "USER=ana", "PATH=" + os.Getenv("PATH")}
	cmd.Dir = f.d.dir
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	lines := bufio.NewReader(out)
	lines.ReadString('\n') // its own greeting
	buf := make([]byte, 4096)
	for {
		n, err := lines.Read(buf)
		if left := f.left.Load(); left >= 0 {
			n = min(n, int(left))
			f.left.Store(left - int64(n))
			if left == int64(n) { // not at the next output: the client may be waiting for what was cut off
				cmd.Process.Kill()
				err = io.EOF
			}
		}
		nc.Write(buf[:n])
		if err != nil {
			break
		}
	}
	nc.Close()
	cmd.Wait()
}

// contents are the messages of an account: mailbox, flags, date and content.
func contents(s *imapSession) (all []string) {
	var names []string
	for _, l := range s.do(`LIST "" *`) {
		if i := strings.LastIndex(l, `"/" `); i > 0 && !strings.Contains(strings.ToLower(l), `\noselect`) && !strings.Contains(l, `\NonExistent`) {
			names = append(names, strings.Trim(strings.TrimSpace(l[i+4:]), `"`))
		}
	}
	for _, name := range names {
		if existing(s.do("EXAMINE %q", name)) == 0 {
			continue
		}
		for _, l := range s.do("FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])") {
			_, flags, ok := strings.Cut(l, "FLAGS (")
			if !ok {
				continue
			}
			flags, _, _ = strings.Cut(flags, ")")
			words := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return f == `\Recent` })
			slices.Sort(words)
			_, date, _ := strings.Cut(l, `INTERNALDATE "`)
			date, _, _ = strings.Cut(date, `"`)
			when, err := time.Parse("_2-Jan-2006 15:04:05 -0700", date)
			if err != nil {
				s.t.Errorf("%.100q: %v", l, err)
			}
			_, body, _ := strings.Cut(l, "BODY[] {")
			size := number([]string{"x " + body}, "x")
			_, body, _ = strings.Cut(body, "}\r\n")
			all = append(all, fmt.Sprintf("%s %s %d %x", name, strings.Join(words, " "), when.Unix(), sha256.Sum256([]byte(body[:min(size, len(body))]))))
		}
	}
	slices.Sort(all)
	return all
}

// TestImport copies an account from Debian's Dovecot, which dies in the middle,
// with a program that is killed in the middle, beside a running server and
// without one; then in and out by mbox and Maildir. Nothing is missing, nothing
// is there twice.
func TestImport(t *testing.T) {
	t.Parallel()
	d := newDovecot(t)
	fillMaildir(t, d.maildir(), 150)
	for folder, n := range map[string]int{".Archive.2025": 60, ".Entw&APw-rfe": 5, ".Sent": 20} {
		fillMaildir(t, filepath.Join(d.maildir(), folder), n)
		os.WriteFile(filepath.Join(d.maildir(), folder, "maildirfolder"), nil, 0o644)
	}
	d.own(t)
	source := d.session(t)
	source.do("SELECT INBOX")
	source.do(`STORE 1:40 +FLAGS.SILENT ($Forwarded Work \Flagged)`)
	source.do(`STORE 7 +FLAGS.SILENT (\Deleted \Draft)`)
	want := contents(source)
	source.end()

	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test", "eva@a.test"}})
	f := newFront(t, d, h)
	_, port, _ := net.SplitHostPort(f.addr)
	args := []string{"import", "imap", "ana@a.test", "--host", h.IP, "--port", port, "--ca", h.ca, "--user", "ana"}

	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--password-file", secret, "--config", h.config())
	if out, code := run(t, strings.NewReader("wrong\n"), buzon, slices.Replace(slices.Clone(args), len(args)-4, len(args)-2)...); code == 0 {
		t.Fatalf("a wrong password: %s", out)
	}
	for _, bytes := range []int64{5_000, 30_000} { // Dovecot dies
		f.left.Store(bytes)
		if out, code := run(t, nil, buzon, args...); code == 0 || !strings.Contains(out, "again to go on") {
			t.Fatalf("the other server died after %d bytes: exit code %d\n%s", bytes, code, out)
		}
	}
	f.left.Store(-1)
	for range 2 { // the program dies
		cmd := child.Command(t, patience, buzon, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(h.files(t, "ana@a.test"))
		eventually(t, patience, func() error {
			if n := len(h.files(t, "ana@a.test")); n < min(before+10, 150) {
				return fmt.Errorf("%d messages", n)
			}
			return nil
		})
		cmd.Process.Kill()
		cmd.Wait()
	}
	eventually(t, patience, func() error { // its session has ended, too
		out, code := run(t, nil, buzon, args...)
		if code != 0 {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
	same := func(what, account string) {
		t.Helper()
		c := (&ours{host: h}).sessionOf(t, account)
		defer c.end()
		got := contents(c)
		if missing, more := difference(want, got); len(missing)+len(more) > 0 {
			t.Errorf("%s: %d messages of %d; missing %.300q, too many %.300q", what, len(got), len(want), missing, more)
		}
	}
	same("import imap", "ana@a.test")
	wantAll(t, "once more", h.buzonOnce(t, args...), "0 messages new", fmt.Sprintf("%d known before", len(want)))

	// Out and in again, without a server.
	h.stop(t)
	dir := t.TempDir()
	h.buzon(t, "", "export", "mbox", "ana@a.test", filepath.Join(dir, "mbox"))
	h.buzon(t, "", "export", "maildir", "ana@a.test", filepath.Join(dir, "maildir"))
	for range 2 {
		h.buzon(t, "", "import", "maildir", "luis@a.test", filepath.Join(dir, "maildir"))
		err := filepath.WalkDir(filepath.Join(dir, "mbox"), func(path string, e os.DirEntry, err error) error {
			if name, ok := strings.CutSuffix(path, ".mbox"); err == nil && ok && !e.IsDir() {
				rel, _ := filepath.Rel(filepath.Join(dir, "mbox"), name)
				h.buzon(t, "", "import", "mbox", "eva@a.test", path, "--mailbox", rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.start(t)
	same("export and import maildir", "luis@a.test")
	same("export and import mbox", "eva@a.test")
}

// difference is what is only in the one and only in the other of two sorted lists.
func difference(a, b []string) (onlyA, onlyB []string) {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	for _, s := range b {
		if count[s]--; count[s] < 0 {
			onlyB = append(onlyB, s)
		}
	}
	for _, s := range a {
		if count[s] > 0 {
			count[s]--
			onlyA = append(onlyA, s)
		}
	}
	return onlyA, onlyB
}

// buzonOnce is buzon for arguments that name the configuration already.
func (h *host) buzonOnce(t testing.TB, args ...string) string {
	t.Helper()
	out, code := run(t, nil, buzon, args...)
	if code != 0 {
		t.Fatalf("buzon %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}
