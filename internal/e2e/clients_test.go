package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buzon/internal/e2e/child"
)

// reader is an account with some messages that a client reads over IMAP.
type reader struct {
	*host
	t *testing.T
	s *imapSession // another client that is there all the time
}

func newReader(t *testing.T, messages int) *reader {
	t.Helper()
	h := start(t, hostConfig{
		Domains: []string{"bench.test"}, Accounts: []string{benchAccount},
		Extra: "[limits]\nconnections_per_minute = 10000\n",
	})
	c := (&ours{host: h}).session(t) // makes the tree
	c.end()
	fillMaildir(t, h.maildir(benchAccount), messages)
	s := (&ours{host: h}).session(t)
	t.Cleanup(s.end)
	r := &reader{h, t, s}
	if n := existing(s.do("SELECT INBOX")); n != messages {
		t.Fatalf("INBOX has %d messages, want %d", n, messages)
	}
	return r
}

// file writes a configuration, for nobody else to read.
func (r *reader) file(text string) string {
	r.t.Helper()
	name := filepath.Join(r.t.TempDir(), "config")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// client runs one to its end and returns what it said.
func (r *reader) client(home, program string, args ...string) string {
	r.t.Helper()
	cmd := child.Command(r.t, 4*patience, program, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", program, err, tail(string(out), 30))
	}
	return string(out)
}

// flags are the letters of each message that a Maildir holds, by subject.
func (r *reader) flags(dir string) map[string]string {
	r.t.Helper()
	all := make(map[string]string)
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				return r.flags(dir) // renamed meanwhile
			}
			if err != nil {
				r.t.Fatal(err)
			}
			_, subject, _ := strings.Cut(string(text), "Subject: ")
			subject, _, _ = strings.Cut(subject, "\n")
			_, info, _ := strings.Cut(e.Name(), ":2,")
			subject = strings.TrimSpace(subject)
			if _, twice := all[subject]; twice {
				r.t.Errorf("%s has two messages %q", dir, subject)
			}
			all[subject] = strings.Map(func(c rune) rune {
				if c < 'A' || c > 'Z' {
					return -1 // keywords are the store's own
				}
				return c
			}, info)
		}
	}
	return all
}

// mark adds a flag to the file of a message, as a program on the files does.
func (r *reader) mark(dir, subject, letters string) {
	r.t.Helper()
	for _, sub := range []string{"cur", "new"} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range entries {
			text, _ := os.ReadFile(filepath.Join(dir, sub, e.Name()))
			if !strings.Contains(string(text), "Subject: "+subject) {
				continue
			}
			base, info, _ := strings.Cut(e.Name(), ":2,")
			all := []rune(info + letters)
			slices.Sort(all)
			to := filepath.Join(dir, "cur", base+":2,"+string(slices.Compact(all)))
			if err := os.Rename(filepath.Join(dir, sub, e.Name()), to); err != nil {
				r.t.Fatal(err)
			}
			return
		}
	}
	r.t.Fatalf("%s has no message %q", dir, subject)
}

// TestMbsyncOverIMAP keeps two devices in step with 2 000 messages over IMAP,
// while mutt works on the host's files: flags go from each to all, and in the
// end nothing moves any more.
func TestMbsyncOverIMAP(t *testing.T) {
	t.Parallel()
	need(t, "mbsync", "mutt", "tmux")
	const messages = 2000
	r := newReader(t, messages)
	type device struct{ dir, home, config string }
	var devices []device
	for range 2 {
		d := device{dir: filepath.Join(t.TempDir(), "INBOX"), home: t.TempDir()}
		d.config = r.file(fmt.Sprintf(`FSync no

IMAPAccount host
Host %s
Port %d
SSLType IMAPS
Timeout 100
CertificateFile %s
User %s
Pass %s

IMAPStore far
Account host

MaildirStore near
Path %s/
Inbox %s

Channel both
Far :far:
Near :near:
Create Both
Expunge Both
SyncState *
`, r.IP, r.Ports["imaps"], filepath.Join(r.host.dir, "cert.pem"), benchAccount, password, filepath.Dir(d.dir), d.dir))
		devices = append(devices, d)
	}
	sync := func(d device) string { return r.client(d.home, "mbsync", "-V", "-c", d.config, "both") }
	sync(devices[0])
	if got := r.flags(devices[0].dir); len(got) != messages {
		t.Fatalf("the first device has %d messages", len(got))
	}
	sync(devices[1])

	subject := func(n int) string { return fmt.Sprintf("number %08d", n) }
	r.mark(devices[0].dir, subject(3), "F")
	r.mark(devices[1].dir, subject(6), "FS")
	rc := r.file("set mbox_type=Maildir resolve=no quit=yes move=no wait_key=no mark_old=no delete=yes folder=" + r.host.dir + "\npush '<search>" + subject(9) +
		"<enter><flag-message><set-flag>r<search>" + subject(21) + "<enter><delete-message><quit>'\n")
	onTerminal(t, r.host.dir, "mutt -n -F "+rc+" -f "+r.maildir(benchAccount)).ends()
	r.s.do(`UID STORE 13 +FLAGS.SILENT (\Flagged \Answered)`) // number 12
	r.mark(devices[1].dir, subject(15), "T")                  // expunged with the next pass
	for range 2 {
		sync(devices[0])
		sync(devices[1])
	}
	sync(devices[0])
	host := r.flags(r.maildir(benchAccount))
	for n, want := range map[int]string{3: "F", 6: "FS", 9: "FRS", 12: "FR"} {
		if got := host[subject(n)]; got != want {
			t.Errorf("the host has %q for message %d, want %q", got, n, want)
		}
	}
	if len(host) != messages-2 {
		t.Errorf("the host has %d messages, want %d", len(host), messages-2)
	}
	for i, d := range devices {
		got := r.flags(d.dir)
		for subject, flags := range host {
			if got[subject] != flags {
				t.Errorf("device %d has %q for %s, the host has %q", i, got[subject], subject, flags)
			}
		}
		if len(got) != len(host) {
			t.Errorf("device %d has %d messages, the host %d", i, len(got), len(host))
		}
		// A pass with nothing to do moves no file here or there.
		names := func() []string {
			here, err1 := filepath.Glob(filepath.Join(d.dir, "*", "*"))
			there, err2 := filepath.Glob(filepath.Join(r.maildir(benchAccount), "*", "*"))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			return append(here, there...)
		}
		before := names()
		sync(d)
		if after := names(); !slices.Equal(before, after) {
			t.Errorf("device %d: a pass with nothing to do changed files", i)
		}
	}
}

// TestOfflineIMAP downloads, sends a flag back, and then has nothing to do.
func TestOfflineIMAP(t *testing.T) {
	t.Parallel()
	need(t, "offlineimap")
	r := newReader(t, 50)
	home, dir := t.TempDir(), t.TempDir()
	config := r.file(fmt.Sprintf(`[general]
accounts = a
metadata = %[1]s/state
ui = basic
[Account a]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = %[2]s
[Repository remote]
type = IMAP
remotehost = %[3]s
remoteport = %[4]d
remoteuser = %[5]s
remotepass = %[6]s
ssl = yes
cert_fingerprint = %[7]s
folderfilter = lambda name: name == 'INBOX'
auth_mechanisms = PLAIN
`, home, dir, r.IP, r.Ports["imaps"], benchAccount, password, fingerprint(t, r.host)))
	sync := func() string { return r.client(home, "offlineimap", "-o", "-c", config) }
	sync()
	inbox := filepath.Join(dir, "INBOX")
	if got := r.flags(inbox); len(got) != 50 {
		t.Fatalf("%d messages arrived", len(got))
	}
	r.mark(inbox, "number 00000003", "F")
	sync()
	eventually(t, patience, func() error {
		if got := r.flags(r.maildir(benchAccount))["number 00000003"]; got != "F" {
			return fmt.Errorf("the host has %q", got)
		}
		return nil
	})
	if out := sync(); strings.Contains(out, "Copy message") || strings.Contains(out, "Adding flags") {
		t.Errorf("a pass with nothing to do:\n%s", out)
	}
}

// fingerprint is the SHA-256 of a host's certificate: some clients look for names
// in it only, and we have an address.
func fingerprint(t *testing.T, h *host) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(h.dir, "cert.pem"), filepath.Join(h.dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(cert.Certificate[0]))
}

func TestFetchmail(t *testing.T) {
	t.Parallel()
	need(t, "fetchmail")
	r := newReader(t, 20)
	r.s.do(`STORE 1:* -FLAGS.SILENT (\Seen)`) // it takes the unseen ones
	home := t.TempDir()
	out := filepath.Join(home, "got")
	config := r.file(fmt.Sprintf(`poll %s protocol imap port %d auth password
  user "%s" password "%s" ssl sslcertfile "%s" sslcommonname "%s"
  keep mda "cat >> %s"
`, r.IP, r.Ports["imaps"], benchAccount, password, r.ca, r.Hostname, out))
	fetch := func() (string, int) {
		cmd := child.Command(t, 4*patience, "fetchmail", "-f", config, "--nosyslog", "--pidfile", filepath.Join(home, "pid"))
		cmd.Env = append(os.Environ(), "HOME="+home, "FETCHMAILHOME="+home)
		text, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(text), cmd.ProcessState.ExitCode()
	}
	if text, code := fetch(); code != 0 {
		t.Fatalf("fetchmail: exit code %d\n%s", code, text)
	}
	got, err := os.ReadFile(out)
	if err != nil || strings.Count(string(got), "Subject: number ") != 20 {
		t.Fatalf("%d messages arrived, %v", strings.Count(string(got), "Subject: number "), err)
	}
	if text, code := fetch(); code != 1 { // its word for no mail
		t.Errorf("the second time: exit code %d\n%s", code, text)
	}
}

// getmail starts getmail with a wait for its children that has an end: 6.18 starts one for each message, hears of its end in a signal
// handler, and waits for ever on a lock when that comes early.
const getmail = `
import os, runpy, sys
from getmailcore.baseclasses import ForkingBase
ForkingBase._prepare_child = lambda self: None
ForkingBase._wait_for_child = lambda self, pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.argv[0] = "getmail"
runpy.run_path("/usr/bin/getmail", run_name="__main__")
`

// TestGetmail downloads by UID, and the second time nothing.
func TestGetmail(t *testing.T) {
	t.Parallel()
	need(t, "getmail")
	r := newReader(t, 6)
	home := t.TempDir()
	out := filepath.Join(home, "got")
	config := r.file(fmt.Sprintf(`[retriever]
type = SimpleIMAPSSLRetriever
server = %s
port = %d
username = %s
password = %s
ca_certs = %s
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat >> %s")
allow_root_commands = true
unixfrom = true
[options]
read_all = false
delete = false
`, r.IP, r.Ports["imaps"], benchAccount, password, r.ca, out))
	for range 2 {
		r.client(home, "/usr/bin/python3", "-c", getmail, "--getmaildir", home, "--rcfile", config)
		got, err := os.ReadFile(out)
		if n := strings.Count(string(got), "Subject: number "); err != nil || n != 6 {
			t.Fatalf("%d messages arrived, %v", n, err)
		}
	}
}

// TestMuttOverIMAP opens a mailbox, reads, flags, removes, and is shown what comes meanwhile.
func TestMuttOverIMAP(t *testing.T) {
	t.Parallel()
	need(t, "mutt", "tmux")
	r := newReader(t, 5)
	inbox := func(want ...string) { // number and flags
		t.Helper()
		eventually(t, 2*patience, func() error {
			var got []string
			for subject, flags := range r.flags(r.maildir(benchAccount)) {
				got = append(got, strings.TrimLeft(strings.TrimPrefix(subject, "number "), "0")+flags)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("the host has %q, want %q", got, want)
			}
			return nil
		})
	}
	inbox("", "1S", "2RS", "3", "4S")
	url := fmt.Sprintf("imaps://%s:%d/", r.IP, r.Ports["imaps"])
	x := onTerminal(t, r.host.dir, "mutt -n -F "+r.file(fmt.Sprintf(`set folder=%q spoolfile=%[1]q imap_user=%q imap_pass=%q
set ssl_ca_certificates_file=%q ssl_verify_host=no certificate_file=/dev/null
set imap_idle=yes mail_check=1 timeout=1 sleep_time=0 mark_old=no delete=yes quit=yes move=no wait_key=no sort=mailbox-order
set index_format="%%Z <%%s>"
`, url+"INBOX", benchAccount, password, r.ca)))
	x.shows("<number 00000004>")
	x.keys("1", "Enter", "F") // the first one
	x.keys("4", "Enter", "Enter")
	x.shows("Subject: number 00000003") // in the pager, so that it counts as read
	x.keys("i", "5", "Enter", "d", "$")
	inbox("1S", "2RS", "3S", "F")
	// What others do is shown: a message, a flag, an expunge.
	text := "Subject: number 00000007\r\n\r\nnew\r\n"
	r.s.do("APPEND INBOX {%d+}\r\n%s", len(text), text)
	x.shows("<number 00000007>")
	r.s.do(`STORE 2 +FLAGS.SILENT (\Deleted)`)
	r.s.do("EXPUNGE")
	x.hides("<number 00000001>") // or 4 would still be another message
	x.keys("4", "Enter", "F", "$")
	inbox("2RS", "3S", "7F", "F")
	x.keys("q")
	x.ends()
}
