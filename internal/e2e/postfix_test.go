package e2e_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"buzon/internal/e2e/child"
)

// postfix is an instance of Debian's Postfix with everything of its own: the
// configuration, the queue, and p.test's mail in one Maildir.
type postfix struct {
	dir, ip string
	port    int
}

const postfixMain = `compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.p.test
mydestination =
mynetworks =
relay_domains = a.test
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
virtual_mailbox_domains = p.test
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = static:p/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
transport_maps = inline:{{ a.test = smtp:[{peer}]:{port} }}
{more}
smtp_tls_security_level = encrypt
smtp_tls_loglevel = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {dir}/cert.pem
smtpd_tls_key_file = {dir}/key.pem
smtpd_tls_received_header = yes
`

const postfixMaster = `{ip}:{port} inet n - n - - smtpd
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
verify   unix - - n - 1 verify
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp     unix - - n - - smtp
lmtp     unix - - n - - lmtp
error    unix - - n - - error
retry    unix - - n - - error
virtual  unix - n n - - virtual
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
`

// startPostfix runs Postfix on ip:port; mail for a.test goes to peer, at the
// same port, and nowhere without TLS. more are lines of main.cf.
func startPostfix(t *testing.T, ip, peer string, port int, more ...string) *postfix {
	t.Helper()
	need(t, "postfix")
	if os.Getuid() != 0 {
		t.Skip("Postfix needs root")
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	// t.TempDir stands below a directory that only root may enter.
	dir, err := os.MkdirTemp("", "buzon-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	writeCertificate(t, dir, "mx.p.test", ip)
	fill := strings.NewReplacer("{dir}", dir, "{ip}", ip, "{peer}", peer, "{port}", strconv.Itoa(port), "{uid}", owner.Uid, "{gid}", owner.Gid,
		"{more}", strings.Join(more, "\n"))
	for name, text := range map[string]string{"main.cf": postfixMain, "master.cf": postfixMaster} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for sub, of := range map[string]int{"queue": 0, "data": uid, "mail": uid} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, sub), of, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	p := &postfix{dir: dir, ip: ip, port: port}
	log := &logBuffer{}
	cmd := child.Command(t, 4*patience, "postfix", "-c", dir, "start-fg")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Postfix knows the id of its own master process.
		if out, err := child.Command(t, patience, "postfix", "-c", dir, "stop").CombinedOutput(); err != nil {
			t.Errorf("stop postfix: %v\n%s", err, out)
			cmd.Process.Kill()
		}
		cmd.Wait()
		if t.Failed() {
			maillog, _ := os.ReadFile(filepath.Join(dir, "maillog"))
			t.Logf("postfix said:\n%s%s", log.String(), tail(string(maillog), 50))
		}
	})
	eventually(t, patience, func() error { return answers(fmt.Sprintf("%s:%d", ip, port)) })
	return p
}

// message waits for a message with this subject.
func (p *postfix) message(t *testing.T, subject string) string {
	t.Helper()
	var found string
	eventually(t, patience, func() error {
		files, _ := filepath.Glob(filepath.Join(p.dir, "mail", "p", "new", "*"))
		for _, name := range files {
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if strings.Contains(string(raw), "Subject: "+subject+"\n") {
				found = string(raw)
				return nil
			}
		}
		return fmt.Errorf("postfix has no message %q", subject)
	})
	return found
}

// TestPostfix exchanges mail with Postfix, both ways under TLS.
func TestPostfix(t *testing.T) {
	t.Parallel()
	need(t, "swaks", "postfix")
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "niño@a.test"}})
	a.start(t)
	p := startPostfix(t, loopback(), a.IP, w.port)
	w.record(t, "p.test. MX 10 mx.p.test.", "elsewhere.test. MX 10 mx.p.test.", "mx.p.test. A "+p.ip)

	body := "¿Qué tal?\r\n.\r\n..\r\n" + strings.Repeat("x", 900) + "\r\n"
	t.Run("Postfix to Buzón", func(t *testing.T) {
		for _, to := range []string{"ana@a.test", "niño@a.test"} {
			out, code := run(t, nil, "swaks", "--server", fmt.Sprintf("%s:%d", p.ip, p.port), "--from", "eva@p.test",
				"--to", to, "--header", "Subject: from Postfix", "--body", body)
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			got := a.message(t, to, "from Postfix")
			wantAll(t, "delivered", got, "Return-Path: <eva@p.test>", "Received: from mx.p.test", "SMTPS", "by mx.p.test (Postfix)", "\r\n\r\n"+body)
		}
	})
	t.Run("Buzón to Postfix", func(t *testing.T) {
		out, code := run(t, nil, "swaks", "--server", a.Addr("submission"), "--tls", "--auth", "PLAIN", "--auth-user", "ana@a.test",
			"--auth-password", password, "--from", "ana@a.test", "--to", "eva@p.test", "--header", "Subject: to Postfix", "--body", body)
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		got := p.message(t, "to Postfix")
		wantAll(t, "received by Postfix", got, "Return-Path: <ana@a.test>", "Received: from mx.a.test", "using TLSv1.3", "with ESMTPS",
			"\n\n"+strings.ReplaceAll(body, "\r\n", "\n"))
	})
	t.Run("Postfix refuses", func(t *testing.T) {
		out, code := run(t, nil, "swaks", "--server", a.Addr("submission"), "--tls", "--auth", "PLAIN", "--auth-user", "ana@a.test",
			"--auth-password", password, "--from", "ana@a.test", "--to", "eva@elsewhere.test", "--header", "Subject: to nobody")
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		w.wantNotice(t, a, "ana@a.test", "eva@elsewhere.test", "5.7.1")
	})
}
