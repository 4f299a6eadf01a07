package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/mx/queue"
)

// dialogue is a connection that is spoken line by line.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func connect(t *testing.T, addr string, useTLS bool) *dialogue {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if useTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // self-signed here
	}
	return &dialogue{t, conn, bufio.NewReader(conn)}
}

// say sends a line, where there is one, and wants an answer whose last line
// begins with a word.
func (d *dialogue) say(line, want string) string {
	d.t.Helper()
	d.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if line != "" {
		if _, err := fmt.Fprintf(d.conn, "%s\r\n", line); err != nil {
			d.t.Fatal(err)
		}
	}
	all := ""
	for {
		got, err := d.r.ReadString('\n')
		all += got
		if err != nil {
			d.t.Fatalf("%q: %v after %q", line, err, all)
		}
		if strings.HasPrefix(got, want) {
			return all
		}
		smtpMore := len(got) > 3 && got[3] == '-'
		if !smtpMore && !strings.HasPrefix(got, "* ") {
			d.t.Fatalf("%q was answered %q, want %q", line, got, want)
		}
	}
}

// deliver brings a message as a stranger.
func (r *running) deliver(to string) {
	r.t.Helper()
	d := connect(r.t, r.addr("smtp"), false)
	d.say("", "220 ")
	d.say("EHLO far.test", "250 ")
	d.say("MAIL FROM:<eva@far.test>", "250 ")
	d.say("RCPT TO:<"+to+">", "250 ")
	d.say("DATA", "354 ")
	d.say("From: eva@far.test\r\nSubject: hola\r\n\r\nhola\r\n.", "250 ")
	d.say("QUIT", "221 ")
}

// submit gives the server a message of a user for somebody.
func (r *running) submit(user, password, to string) {
	r.t.Helper()
	d := connect(r.t, r.addr("submissions"), true)
	d.say("", "220 ")
	d.say("EHLO laptop", "250 ")
	d.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)), "235 ")
	d.say("MAIL FROM:<"+user+">", "250 ")
	d.say("RCPT TO:<"+to+">", "250 ")
	d.say("DATA", "354 ")
	d.say("From: "+user+"\r\nSubject: hola\r\n\r\nhola\r\n.", "250 ")
	d.say("QUIT", "221 ")
}

// login opens an IMAP session.
func (r *running) login(user, password, want string) *dialogue {
	r.t.Helper()
	d := connect(r.t, r.addr("imaps"), true)
	d.say("", "* OK")
	d.say(fmt.Sprintf("a LOGIN %s %s", user, password), "a "+want)
	return d
}

func TestServe(t *testing.T) {
	s := newSite(t)
	s.refused(1, "not running", "", "health")
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	r := s.serve()
	r.deliver("ana@buzon.test")
	d := r.login("ana@buzon.test", "ana-secret", "OK")
	if got := d.say("b SELECT INBOX", "b OK"); !strings.Contains(got, "* 1 EXISTS") {
		t.Errorf("SELECT: %s", got)
	}
	d.say("c FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "Subject: hola")

	// Accounts and aliases count at once.
	s.do("luis-secret\n", "account", "add", "luis@example.org")
	s.do("", "alias", "add", "info@buzon.test", "luis@example.org")
	r.deliver("info@buzon.test")
	r.login("luis@example.org", "luis-secret", "OK")
	s.do("", "account", "remove", "luis@example.org")
	r.login("luis@example.org", "luis-secret", "NO")

	var state health
	if err := json.Unmarshal([]byte(s.do("", "health", "--json")), &state); err != nil || state.Accounts != 1 || len(state.Services) != 5 {
		t.Errorf("%+v, %v", state, err)
	}
	if out := s.do("", "health"); !strings.Contains(out, r.addr("imaps")) {
		t.Errorf("health: %s", out)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "buzon.sock": 0o600, "buzon.lock": 0o600, "accounts": 0o700, "queue": 0o700} {
		if info, err := os.Stat(filepath.Join(s.data, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v, %v", name, info.Mode().Perm(), want, err)
		}
	}
	r.end()
	r.log.wait(t, "msg=stopped", "msg=login", "msg=delivered")
	if strings.Contains(r.log.String(), "secret") {
		t.Error("the log holds a password")
	}
	s.refused(1, "not running", "", "health")

	// It starts again, and everything is there.
	r = s.serve()
	d = r.login("ana@buzon.test", "ana-secret", "OK")
	if got := d.say("b SELECT INBOX", "b OK"); !strings.Contains(got, "* 1 EXISTS") {
		t.Errorf("SELECT after a restart: %s", got)
	}
}

func TestSecondServer(t *testing.T) {
	s := newSite(t)
	s.serve()
	s.refused(1, "another buzon works on "+s.data, "", "serve")
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := newSite(t)
	text, _ := os.ReadFile(s.config)
	text = []byte(strings.Replace(string(text), "imaps = [\"127.0.0.1:0\"]", fmt.Sprintf("imaps = [%q]", ln.Addr()), 1))
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, "listen for imaps at "+ln.Addr().String(), "", "serve")
	s.refused(1, "address already in use; `ss -ltnp` shows", "", "serve")
}

// A transaction in flight finishes, new connections are refused, and an idle
// session is told.
func TestDrain(t *testing.T) {
	s := newSite(t)
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	r := s.serve()
	inFlight := connect(t, r.addr("smtp"), false)
	inFlight.say("", "220 ")
	inFlight.say("EHLO far.test", "250 ")
	inFlight.say("MAIL FROM:<eva@far.test>", "250 ")
	inFlight.say("RCPT TO:<ana@buzon.test>", "250 ")
	inFlight.say("DATA", "354 ")
	idle := r.login("ana@buzon.test", "ana-secret", "OK")
	addr := r.addr("imaps")

	r.stop()
	idle.say("", "* BYE")
	eventually(t, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return fmt.Errorf("a new connection is taken while it ends")
		}
		return nil
	})
	inFlight.say("Subject: late\r\n\r\nlate\r\n.", "250 ")
	r.end()
	found, err := filepath.Glob(filepath.Join(s.data, "mail/buzon.test/ana/Maildir/new/*"))
	if err != nil || len(found) != 1 {
		t.Errorf("%d messages are there, %v", len(found), err)
	}
}

func TestReload(t *testing.T) {
	s := newSite(t)
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	r := s.serve()

	s.configure("[log]\nlevel = \"loud\"\n")
	r.hangup <- syscall.SIGHUP
	r.log.wait(t, "reload refused", "log.level")
	r.deliver("ana@buzon.test")

	s.configure("domains = [\"buzon.test\", \"nuevo.test\"]\n", "[domain.\"nuevo.test\"]\ncatch_all = \"ana@buzon.test\"\n",
		"[limits]\nquota = \"4 KiB\"\nrecipients = 7\n", "[log]\nlevel = \"debug\"\n")
	r.hangup <- syscall.SIGHUP
	r.log.wait(t, "msg=reloaded", "these changes need a restart", "keys=limits.recipients")
	r.deliver("anybody@nuevo.test")
	if bytes, _ := r.quota("ana@buzon.test"); bytes != 4096 {
		t.Errorf("quota %d", bytes)
	}
	d := connect(t, r.addr("smtp"), false)
	d.say("", "220 ")
	d.say("EHLO far.test", "250 ")
	d.say("MAIL FROM:<eva@far.test>", "250 ")
	d.say("RCPT TO:<postmaster@example.org>", "550 ") // no domain of ours any more

	// A bad account file is reported, and stays as it was.
	file := filepath.Join(s.data, "accounts/buzon.test/ana.toml")
	if err := os.WriteFile(file, []byte("password = "), 0o600); err != nil {
		t.Fatal(err)
	}
	r.hangup <- syscall.SIGHUP
	r.log.wait(t, file+":1")
	r.login("ana@buzon.test", "ana-secret", "OK")
}

func TestQueueCommands(t *testing.T) {
	s := newSite(t)
	if out := s.do("", "queue", "list"); out != "the queue is empty\n" {
		t.Errorf("without a server: %q", out)
	}
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	r := s.serve()
	r.submit("ana@buzon.test", "ana-secret", "eva@far.test")
	r.submit("ana@buzon.test", "ana-secret", "max@far.test")
	list := func() (list []queue.Message) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.do("", "queue", "list", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	messages := list()
	if len(messages) != 2 || messages[0].From != "ana@buzon.test" {
		t.Fatalf("%+v", messages)
	}
	id, other := messages[0].ID, messages[1].ID
	eventually(t, func() error { // its first attempt is over
		if out := s.do("", "queue", "show", id); !strings.Contains(out, "waiting after 1 attempts") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := s.do("", "queue", "show", id, "--text"); !strings.Contains(out, "Subject: hola\r\n") {
		t.Errorf("the text: %s", out)
	}
	if out := s.do("", "queue", "list"); !strings.Contains(out, id) || !strings.Contains(out, "eva@far.test") {
		t.Errorf("list: %s", out)
	}
	s.do("", "queue", "hold", id, other)
	if out := s.do("", "queue", "list"); strings.Count(out, "held") != 2 {
		t.Errorf("held: %s", out)
	}
	s.do("", "queue", "release", id)
	s.do("", "queue", "retry", id)
	if out := s.do("", "queue", "retry", "--all"); out != "2 messages are attempted now\n" {
		t.Errorf("retry: %s", out)
	}
	s.refused(1, "no such message in the queue", "", "queue", "drop", "NONE")
	s.refused(1, "no such message in the queue", "", "queue", "show", "../x")
	s.refused(2, "name the messages, or say --all", "", "queue", "retry")
	s.do("", "queue", "drop", other)
	if messages := list(); len(messages) != 1 || messages[0].ID != id {
		t.Errorf("after drop: %+v", messages)
	}

	// Without the server the same commands work on the files.
	r.end()
	s.refused(1, "the server is not running", "", "queue", "retry", id)
	s.do("", "queue", "hold", id)
	if out := s.do("", "queue", "show", id); !strings.Contains(out, "held") {
		t.Errorf("show without a server: %s", out)
	}
	s.do("", "queue", "drop", id)
	if out := s.do("", "queue", "list"); out != "the queue is empty\n" {
		t.Errorf("at the end: %q", out)
	}
}

// A socket address has room for 107 bytes; data directories may be longer.
func TestLongDataPath(t *testing.T) {
	s := newSite(t)
	long := filepath.Join(filepath.Dir(s.data), strings.Repeat("long", 30))
	text, _ := os.ReadFile(s.config)
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "\"data\"", fmt.Sprintf("%q", long), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.do("", "health")
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	s := newSite(t)
	r := s.serve()
	r.hangup <- syscall.SIGHUP
	r.log.wait(t, "msg=reloaded")
	r.end()
	var got []string
	buf := make([]byte, 256)
	for range 4 {
		conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(buf[:n]), "\n")
		got = append(got, first)
	}
	if want := "READY=1 RELOADING=1 READY=1 STOPPING=1"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}
