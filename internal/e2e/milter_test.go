package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// startFilter starts a program that listens for milter clients on a socket, and
// returns when it does.
func startFilter(t *testing.T, socket, program string, args ...string) *exec.Cmd {
	t.Helper()
	said := &logBuffer{}
	cmd := child.Command(t, 5*time.Minute, program, args...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Cancel()
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", program, tail(said.String(), 50))
		}
	})
	eventually(t, 2*patience, func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v\n%s", program, err, said.String())
		default:
		}
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cmd
}

// rspamdConfig is the least that rspamd needs to have an opinion: no redis, no
// DNS, no expressions that take a minute to compile. %[1]s is its directory.
const rspamdConfig = `
options {
  pidfile = "%[1]s/pid"; tempdir = "%[1]s"; url_tld = "%[1]s/tld"; filters = "";
  cache_file = "%[1]s/symbols"; history_file = "%[1]s/history"; hs_cache_dir = "%[1]s/"; control_socket = "%[1]s/control mode=0600";
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }
  enable_test_patterns = true; local_addrs = ["192.0.2.1"]; disable_monitoring = true; disable_hyperscan = true;
}
logging { type = "console"; level = "info"; }
worker "rspamd_proxy" {
  bind_socket = "%[1]s/milter mode=0666"; count = 1; milter = yes; timeout = 20s;
  upstream "local" { default = yes; self_scan = yes; }
}
actions { reject = 15; add_header = 6; greylist = null; }
milter_headers { use = ["x-spam-status", "x-spamd-bar"]; skip_local = false; }
modules { path = "/usr/share/rspamd/plugins/milter_headers.lua"; }
lua = "/dev/null";
`

// TestRspamd: Debian's rspamd refuses, marks and lets pass, and what becomes of
// mail when it is gone.
func TestRspamd(t *testing.T) {
	t.Parallel()
	need(t, "rspamd")
	dir := shortDir(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("tld", "com\nnet\norg\n")
	args := []string{"-f", "-c", write("conf", fmt.Sprintf(rspamdConfig, dir))}
	if os.Getuid() == 0 {
		args = append(args, "-i")
	}
	cmd := startFilter(t, filepath.Join(dir, "milter"), "rspamd", args...)
	h := newHost(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"},
		Extra: fmt.Sprintf("[incoming]\nmilters = [\"rspamd\"]\n[milter.rspamd]\naddress = \"unix:%s/milter\"\n"+
			"[greylist]\nenabled = true\n[dnsbl.\"bl.test\"]\n", dir)}) // both leave loopback alone
	h.start(t)
	bring := func(subject, body string, want int) {
		t.Helper()
		text := "X-Spam: forged\nFrom: <eva@far.test>\nTo: <ana@a.test>\nSubject: " + subject + "\nDate: Sun, 22 Nov 2026 10:00:00 +0000\nMessage-ID: <1@far.test>\n\n" + body + "\n"
		if code := h.stranger(t, "eva@far.test", "ana@a.test", text); code != want {
			t.Errorf("%s: answered %d, want %d", subject, code, want)
		}
	}
	bring("letter", "hola", 250)
	bring("refused", "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X", 554)
	bring("marked", "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X", 250)
	if m := h.message(t, "ana@a.test", "letter"); strings.Contains(m, "forged") || !strings.Contains(m, "X-Spamd-Bar: ") || !strings.HasSuffix(m, "\r\n\r\nhola\r\n") {
		t.Errorf("the letter:\n%s", m)
	}
	if m := h.inJunk(t, "ana@a.test", "Subject: marked\r\n"); len(m) != 1 || !strings.Contains(m[0], "X-Spam: Yes\r\n") || strings.Contains(m[0], "forged") {
		t.Errorf("in Junk:\n%s", m)
	}
	wantAll(t, "the log", h.log.String(), "msg=filtered", "by=rspamd", "verdict=refuse", "verdict=junk")

	cmd.Cancel()
	eventually(t, patience, func() error {
		if code := h.stranger(t, "eva@far.test", "ana@a.test", "Subject: without\n\nx\n"); code != 451 {
			return fmt.Errorf("without rspamd mail is answered %d", code)
		}
		return nil
	})
}

// TestOpenDKIMFilter: Debian's OpenDKIM signs what our users send, because we
// tell it that they have logged in, and another host believes it.
func TestOpenDKIMFilter(t *testing.T) {
	t.Parallel()
	need(t, "swaks", "/usr/sbin/opendkim")
	dir := shortDir(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(dir, "key"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("Syslog no\nMode s\nDomain a.test\nSelector od\nKeyFile %[1]s/key\nRequireSafeKeys no\nSocket local:%[1]s/s\nPidFile %[1]s/pid\nInternalHosts 192.0.2.1\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startFilter(t, filepath.Join(dir, "s"), "/usr/sbin/opendkim", "-f", "-x", filepath.Join(dir, "conf"))
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"},
		Extra: fmt.Sprintf("[domain.\"a.test\"]\nunsigned = true\n[submission]\nmilters = [\"opendkim\"]\n[milter.opendkim]\naddress = \"%s/s\"\n", dir)})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}})
	w.record(t, fmt.Sprintf("od._domainkey.a.test. TXT \"v=DKIM1; k=rsa; p=\" \"%s\" \"%s\"", base64.StdEncoding.EncodeToString(public)[:200], base64.StdEncoding.EncodeToString(public)[200:]))
	a.start(t)
	b.start(t)
	a.submit(t, "ana@a.test", "luis@b.test", "signed by a filter")
	got := b.message(t, "luis@b.test", "signed by a filter")
	wantAll(t, "the message", got, "dkim=pass (2048-bit key) header.d=a.test header.s=od", "DKIM-Signature: v=1; a=rsa-sha256; c=")
}

// shortDir is a directory whose name leaves room for a socket's (108 octets).
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
