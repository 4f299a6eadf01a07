package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

func runLine(args ...string) (out, errors string, code int) {
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), args, streams{strings.NewReader(""), &stdout, &stderr})
	return stdout.String(), stderr.String(), code
}

// Every command explains itself: what it takes, does, and each of its flags.
func TestHelp(t *testing.T) {
	overviewText, _, code := runLine("--help")
	if code != 0 {
		t.Fatalf("buzon --help: exit code %d", code)
	}
	for _, c := range commands() {
		words := strings.Fields(c.name)
		for _, line := range [][]string{append(words, "--help"), append([]string{"help"}, words...), append(words, "-h")} {
			out, errors, code := runLine(line...)
			if code != 0 || errors != "" || !strings.Contains(out, "Usage: buzon "+c.name) || !strings.Contains(out, c.short) {
				t.Errorf("buzon %s: exit code %d\n%s%s", strings.Join(line, " "), code, out, errors)
			}
		}
		if !strings.Contains(overviewText, "  "+c.name+" ") {
			t.Errorf("buzon --help does not list %s", c.name)
		}
		if c.short == "" || strings.HasSuffix(c.short, ".") {
			t.Errorf("%s: %q is not a line of a list", c.name, c.short)
		}
	}
	if out, _, code := runLine("account", "--help"); code != 0 || !strings.Contains(out, "account remove") || strings.Contains(out, "queue") {
		t.Errorf("buzon account --help: %d\n%s", code, out)
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"", "a command is missing"},
		{"nonsense", `there is no command "nonsense"`},
		{"account", "a command is missing"},
		{"account nonsense", `there is no command "account nonsense"`},
		{"account add", "ADDRESS is missing"},
		{"account add a b", `"b" is too much`},
		{"account add --nonsense a", "flag provided but not defined"},
		{"account add a --quota much", `"much" is not a size`},
		{"alias add a@b.test", "MEMBER is missing"},
		{"queue show", "ID is missing"},
		{"version extra", `"extra" is too much`},
		{"serve --config", "flag needs an argument"},
	} {
		_, errors, code := runLine(strings.Fields(test.line)...)
		if code != exitUsage || !strings.Contains(errors, test.want) || !strings.Contains(errors, "--help") {
			t.Errorf("buzon %s: exit code %d\n%swant %s", test.line, code, errors, test.want)
		}
	}
	if out, _, code := runLine("version"); code != 0 || !strings.HasPrefix(out, "buzon devel (go") {
		t.Errorf("version: %d %s", code, out)
	}
}

func TestAccountCommands(t *testing.T) {
	s := newSite(t)
	s.refused(exitFailed, "there is no password on standard input", "", "account", "add", "ana@buzon.test")
	s.do("ana-secret\n", "account", "add", "--quota", "2 GiB", "Ana@Buzon.test")
	s.refused(exitFailed, "exists already", "", "account", "add", "ana@buzon.test")
	s.refused(exitFailed, "not one of our domains", "", "account", "add", "ana@far.test") // before the password is asked for
	s.refused(exitFailed, "malformed address", "x", "account", "add", "ana")
	s.refused(exitUsage, "exclude each other", "x", "account", "add", "max@buzon.test", "--generate", "--password-stdin")
	if _, errors, code := s.run("kurz\n", "account", "add", "luis@example.org", "--password-stdin"); code != 0 || !strings.Contains(errors, "soon guessed") {
		t.Errorf("a short password: %d %s", code, errors)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.do("", "account", "password", "luis@example.org", "--password-file", file)
	s.do("piped in\n", "account", "password", "luis@example.org", "--password-file", "-")
	if out := s.do("", "account", "add", "--generate", "eva@buzon.test"); !strings.Contains(out, "password for eva@buzon.test: ") {
		t.Errorf("generate: %s", out)
	}
	s.refused(exitFailed, "not found", "x", "account", "password", "nobody@buzon.test")
	list := s.do("", "account", "list")
	for _, want := range []string{"ana@buzon.test    active  2 GiB", "eva@buzon.test    active  default", "luis@example.org  active  default"} {
		if !strings.Contains(list, want) {
			t.Errorf("list has no %q:\n%s", want, list)
		}
	}
	for _, test := range []struct{ command, done, state string }{
		{"disable", "disabled", "disabled"}, {"disable", "disabled", "disabled"}, {"enable", "enabled", "active"},
	} {
		if out := s.do("", "account", test.command, "Ana@buzon.test"); out != test.done+" ana@buzon.test\n" {
			t.Errorf("%s: %s", test.command, out)
		}
		if list := s.do("", "account", "list"); !strings.Contains(list, "ana@buzon.test    "+test.state) {
			t.Errorf("after %s:\n%s", test.command, list)
		}
	}
	s.refused(exitFailed, "not found", "", "account", "disable", "nobody@buzon.test")
	if out := s.do("", "account", "remove", "eva@buzon.test"); !strings.Contains(out, filepath.Join(s.data, "mail/buzon.test/eva")) {
		t.Errorf("remove: %s", out)
	}
	s.refused(exitFailed, "not found", "", "account", "remove", "eva@buzon.test")
	if out := s.do("", "account", "list", "--json"); !strings.HasPrefix(out, `[{"address":"ana@buzon.test","disabled":false,"quota":2147483648,"created":"`) {
		t.Errorf("JSON: %s", out)
	}

	s.do("", "alias", "add", "info@buzon.test", "ana", "luis@example.org")
	s.refused(exitFailed, "plain addresses", "", "alias", "add", "info@buzon.test", "eva@[192.0.2.1]")
	s.do("", "alias", "remove", "info@buzon.test", "ana")
	if out := s.do("", "alias", "list", "--json"); out != `[{"alias":"info@buzon.test","members":["luis@example.org"]}]`+"\n" {
		t.Errorf("aliases: %s", out)
	}
	s.do("", "alias", "remove", "info@buzon.test")
	s.refused(exitFailed, "not found", "", "alias", "remove", "info@buzon.test")
}

func TestConfigCheck(t *testing.T) {
	s := newSite(t)
	if out := s.do("", "config", "check"); !strings.Contains(out, "is good: mx.buzon.test, domains buzon.test example.org, accounts: 0\nno account yet") {
		t.Errorf("%s", out)
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Error("config check made the data directory")
	}
	s.do("ana-secret", "account", "add", "ana@buzon.test")
	file := filepath.Join(s.data, "accounts/buzon.test/ana.toml")
	if err := os.WriteFile(file, []byte("\npasword = \"\""), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(exitConfig, file+":2: pasword: unknown key; did you mean password?", "", "config", "check")
	s.refused(exitConfig, file+":2: pasword", "", "serve")
	os.Remove(file)
	s.configure("[tls]\ncert = \"none.pem\"\nkey = \"none.key\"\n")
	s.refused(exitConfig, "none.pem", "", "config", "check")
	s.configure("[smarthost.\"*\"]\nhost = \"smtp.far.test\"\nuser = \"a\"\npassword_file = \"none\"\n")
	s.refused(exitConfig, "password_file", "", "config", "check")
	s.configure("[nonsense]\n")
	s.refused(exitConfig, "nonsense: unknown key", "", "config", "check")
	if _, errors, code := runLine("config", "check", "--config", "/nonexistent.toml"); code != exitConfig || !strings.Contains(errors, "there is no configuration at") {
		t.Errorf("%d %s", code, errors)
	}
}

// process starts this binary as buzon, in a process of its own.
func (s *site) process(args ...string) *exec.Cmd {
	cmd := child.Command(s.t, time.Minute, os.Args[0], append(args, "--config", s.config)...)
	cmd.Env = append(os.Environ(), "BUZON_TEST_MAIN=1")
	return cmd
}

func TestSignals(t *testing.T) {
	s := newSite(t)
	cmd, log := s.process("serve"), &logBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	signal := func(sig syscall.Signal) {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
	}
	log.wait(t, "msg=ready")
	if err := func() error { _, err := s.process("serve").CombinedOutput(); return err }(); err == nil {
		t.Error("a second process was let in")
	}
	signal(syscall.SIGHUP)
	log.wait(t, "msg=reloaded")
	signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, log)
		}
	case <-time.After(2 * time.Minute):
		cmd.Process.Kill()
		t.Errorf("SIGTERM does not end it\n%s", log)
	}
	log.wait(t, "msg=stopped")
}

// Root becomes the owner of the data: the server must be able to read what the
// commands write.
func TestRootBecomesOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const uid, gid = 54321, 54322
	s := newSite(t)
	if err := os.Mkdir(s.data, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir := s.data; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if dir != s.data {
			os.Chmod(dir, 0o711) // so that the other user gets there
		}
	}
	if err := os.Chown(s.data, uid, gid); err != nil {
		t.Fatal(err)
	}
	cmd := s.process("account", "add", "--generate", "ana@buzon.test")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server, log := s.process("serve"), &logBuffer{}
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "msg=ready", "uid=54321")
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Process.Pid))
	if !strings.Contains(string(status), "Uid:\t54321\t54321\t54321\t54321\nGid:\t54322\t54322\t54322\t54322\n") {
		t.Errorf("the server's status:\n%s", status)
	}
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	err := filepath.WalkDir(s.data, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
			return fmt.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
