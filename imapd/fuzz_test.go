package imapd

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/maildir"
)

// panics finds the log's records of panics, which the session survives.
type panics struct {
	slog.Handler
	t *testing.T
}

func (p panics) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "panic" {
		r.Attrs(func(a slog.Attr) bool { p.t.Error(a); return true })
	}
	return nil
}
func (p panics) Enabled(context.Context, slog.Level) bool { return true }
func (p panics) WithAttrs([]slog.Attr) slog.Handler       { return p }

// A script is a client that says everything it has to say, line by line, and hangs up.
type script struct {
	net.Conn
	says  *bufio.Reader
	left  []byte
	heard bytes.Buffer
}

func (c *script) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		line, err := c.says.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		c.left = line
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *script) Write(p []byte) (int, error)      { return c.heard.Write(p) }
func (c *script) Close() error                     { return nil }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }
func (c *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// A fuzzHost plays scripts, each to the fresh mail of another user: whatever one finds happens again
// when it is played alone.
type fuzzHost struct {
	store *maildir.Store
	dir   *account.Directory
	mail  string
	state string
	users int
}

// memoryDir is a folder where fsync costs nothing, if there is one.
func memoryDir(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "buzon-fuzz")
	if err != nil {
		return f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newFuzzHost(f *testing.F) *fuzzHost {
	h := &fuzzHost{mail: memoryDir(f), state: memoryDir(f)}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if h.store, err = maildir.Open(maildir.Config{Mail: h.mail, State: h.state, Host: "h", Log: quiet}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { h.store.Close() })
	if h.dir, err = account.Open(account.Config{Dir: f.TempDir(), Domains: []account.Domain{{Name: "buzon.test"}}, Log: quiet}); err != nil {
		f.Fatal(err)
	}
	if err = h.dir.Add(f.Context(), "luis@buzon.test", "open sesame", 0); err != nil {
		f.Fatal(err)
	}
	return h
}

// play runs a session of a user who has one message in INBOX and one in Sent, and returns what the
// server says. Without loggedIn the session begins before the login.
func (h *fuzzHost) play(t *testing.T, loggedIn bool, says []byte) []byte {
	h.users++
	name := "u" + strconv.Itoa(h.users)
	tree := filepath.Join(h.mail, "buzon.test", name)
	defer os.RemoveAll(tree)
	defer os.RemoveAll(filepath.Join(h.state, "buzon.test", name))
	if loggedIn {
		for _, box := range []string{"Maildir", "Maildir/.Sent"} {
			for _, sub := range []string{"cur", "new", "tmp"} {
				if err := os.MkdirAll(filepath.Join(tree, box, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			message := "From: a@b.test\nSubject: =?utf-8?q?=C3=BC?=\nMessage-ID: <1@b.test>\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nb\n--x--\n"
			if err := os.WriteFile(filepath.Join(tree, box, "cur/1.a.h:2,S"), []byte(message), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	srv := New(Config{Store: h.store, Directory: h.dir, Log: slog.New(panics{t: t}), PlaintextFromLoopback: true})
	client := &script{says: bufio.NewReader(bytes.NewReader(says))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if loggedIn {
			srv.ServeUser(t.Context(), client, account.Account{ID: account.ID(name + "@buzon.test")})
		} else {
			newSession(srv, client, netip.Addr{}).serve(t.Context(), false)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the session does not end")
	}
	return client.heard.Bytes()
}

// fuzzing says that inputs are made, not only played again: then there may be more seeds.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }

// FuzzSession sends anything to a session in each state. It must neither panic nor hang, and what it
// sends must be responses.
func FuzzSession(f *testing.F) {
	for _, seed := range sessionSeeds {
		for state := range byte(3) {
			f.Add(state, []byte(seed))
		}
	}
	if fuzzing() {
		for _, seed := range dialogueSeeds(f) {
			f.Add(byte(1), seed)
		}
	}
	h := newFuzzHost(f)
	f.Fuzz(func(t *testing.T, state byte, in []byte) {
		var prefix string
		if state%3 == 2 {
			prefix = "p SELECT INBOX\r\n"
		}
		said := h.play(t, state%3 > 0, append([]byte(prefix), in...))
		if err := checkResponses(said, mayEnableUTF8(in)); err != nil {
			t.Error(err)
		}
	})
}

// sessionSeeds are conversations; each command by itself is in argumentSeeds.
var sessionSeeds = []string{
	"a CAPABILITY\r\nb LOGIN ana {3}\r\nabc\r\n",
	"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb AUTHENTICATE SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\n*\r\nc LOGIN luis@buzon.test \"open sesame\"\r\n",
	"a ENABLE QRESYNC IMAP4rev2\r\nb IDLE\r\nDONE\r\nc SELECT INBOX (QRESYNC (1 1 1:* (1 1)))\r\nd UNSELECT\r\n",
	"a STORE 1 +FLAGS \\Deleted\r\nb APPEND INBOX {2+}\r\nx\n\r\nc EXPUNGE\r\nd SEARCH RETURN (SAVE) ALL\r\ne FETCH $ (UID BODY[])\r\nf CLOSE\r\n",
	"a ENABLE UIDONLY UTF8=ACCEPT\r\nb CREATE \"\xc3\xbc\"\r\nc UID FETCH 1:* (FLAGS)\r\nd FETCH 1 FLAGS\r\ne LIST \"\" *\r\n",
	"a NOTIFY SET STATUS (selected (MessageNew (UID) MessageExpunge)) (personal (MailboxName))\r\nb APPEND Sent {1+}\r\nx\r\nc COPY 1 Sent\r\nd IDLE\r\nDONE\r\n",
	"a UID SEARCH RETURN (UPDATE CONTEXT) ALL\r\nb APPEND INBOX {1+}\r\nx\r\nc NOOP\r\nd CANCELUPDATE \"a\"\r\n",
	"a COMPRESS DEFLATE\r\n\x4a\x54\xf0\xf3\xf7\x0f\xe0\xe5\x02\x00\x00\x00\xff\xff",
	"a UNAUTHENTICATE\r\nb LOGIN luis@buzon.test \"open sesame\"\r\nc LIST \"\" * RETURN (MYRIGHTS STATUS (MESSAGES))\r\n",
	"a NOOP\r\n* NOOP\r\nb NOOP {3}\r\nc NOOP {3+}\r\nxyz\r\n\r\nd LOGOUT\r\n",
}

// dialogueSeeds are what clients say in the dialogues.
func dialogueSeeds(f *testing.F) (all [][]byte) {
	files, err := filepath.Glob("testdata/dialog/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var says []byte
		for line := range strings.Lines(string(text)) {
			if after, ok := strings.CutPrefix(line, "A> "); ok {
				says = append(says, strings.TrimSuffix(after, "\n")...)
				says = append(says, "\r\n"...)
			}
		}
		all = append(all, says)
	}
	return all
}

// FuzzArguments sends a command with any arguments, in the state where it is known.
func FuzzArguments(f *testing.F) {
	names := slices.Sorted(maps.Keys(commands))
	for which, name := range names {
		if len(argumentSeeds[name]) == 0 {
			f.Errorf("%s has no seed", name)
		}
		for _, seed := range argumentSeeds[name] {
			f.Add(uint8(which), []byte(seed))
		}
	}
	h := newFuzzHost(f)
	f.Fuzz(func(t *testing.T, which uint8, arguments []byte) {
		name := names[int(which)%len(names)]
		var says bytes.Buffer
		if commands[name].in&selected != 0 {
			says.WriteString("p SELECT INBOX\r\n")
		}
		fmt.Fprintf(&says, "a %s%s\r\n\r\nz NOOP\r\n", name, arguments)
		said := h.play(t, commands[name].in&loggedIn != 0, says.Bytes())
		if err := checkResponses(said, mayEnableUTF8(arguments)); err != nil {
			t.Error(err)
		}
	})
}

func mayEnableUTF8(says []byte) bool {
	upper := bytes.ToUpper(says)
	return bytes.Contains(upper, []byte("UTF8=ACCEPT")) || bytes.Contains(upper, []byte("IMAP4REV2"))
}
