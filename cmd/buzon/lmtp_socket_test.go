package main

import (
	"bufio"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	group := ""
	if g, err := user.LookupGroupId(self(t).Gid); err == nil {
		group = g.Name
	}
	ln, err := listenSocket(path, "0660", group)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := listenSocket(path, "0660", ""); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while another listens: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil { // the one that listens is unharmed
		t.Error(err)
	} else {
		conn.Close()
	}

	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as a crash leaves it
	ln.Close()
	if ln, err = listenSocket(path, "0600", ""); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}

	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path, "0600", ""); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := listenSocket(path+"2", "0600", "no-such-group"); err == nil || !strings.Contains(err.Error(), "lmtp_group") {
		t.Errorf("a group that is not: %v", err)
	}
}

func self(t *testing.T) *user.User {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestServeLMTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	s := newSite(t)
	s.do("ana-secret\n", "account", "add", "ana@buzon.test")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "[listen]\n", "[listen]\nlmtp = [\""+path+"\"]\n", 1))
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := &dialogue{t, conn, bufio.NewReader(conn)}
	d.say("", "220 mx.buzon.test LMTP")
	d.say("LHLO mta", "250 ")
	d.say("MAIL FROM:<eva@far.test>", "250 ")
	d.say("RCPT TO:<ana@buzon.test>", "250 ")
	d.say("DATA", "354 ")
	d.say("Subject: hola\r\n\r\nhola\r\n.", "250 2.1.5 <ana@buzon.test> delivered")
	if out := s.do("", "health"); !strings.Contains(out, "lmtp") {
		t.Errorf("health: %s", out)
	}
}
