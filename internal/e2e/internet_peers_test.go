package e2e_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"buzon/internal/e2e/child"
)

// mailPeer is another's mail host in the small internet: it takes mail for its
// domain into one Maildir, and relays for whoever comes from this machine.
type mailPeer struct {
	name, domain, ip string
	dir              string
}

// packagesDir holds Debian packages that cannot be installed beside each other,
// unpacked: Exim and OpenSMTPD beside Postfix. "" where they cannot be had.
func packagesDir(t *testing.T) string {
	t.Helper()
	cmd := child.Command(t, 3*patience, "../../.ci/peers")
	out, err := cmd.Output()
	if err != nil {
		t.Logf(".ci/peers: %v; the internet is without Exim and OpenSMTPD", err)
		return ""
	}
	return strings.TrimSpace(string(out))
}

// plannedPeer is a peer whose address is in the zone and that does not run yet.
type plannedPeer struct {
	domain, ip string
	start      func(t *testing.T, ip, resolvConf string) *mailPeer
}

// planPeers finds out which makes of mail host can be had.
func planPeers(t *testing.T) []plannedPeer {
	t.Helper()
	if out, err := child.Command(t, patience, "unshare", "-m", "--propagation", "private", "mount", "--bind", "/etc", "/etc").CombinedOutput(); err != nil {
		t.Logf("no mount name spaces here, so the internet has hosts of ours alone: %v\n%s", err, out)
		return nil
	}
	list := []plannedPeer{{"p.test", loopback(), startInternetPostfix}}
	root := packagesDir(t)
	if root == "" {
		return list
	}
	for _, other := range []struct {
		domain, program string
		start           func(t *testing.T, root, ip, resolvConf string) *mailPeer
	}{{"x.test", "exim4", startExim}, {"o.test", "smtpd", startOpenSMTPD}} {
		out, err := child.Command(t, patience, "ldd", filepath.Join(root, "usr/sbin", other.program)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "not found") {
			t.Logf("%s does not run here: %v\n%s", other.program, err, out)
			continue
		}
		list = append(list, plannedPeer{other.domain, loopback(), func(t *testing.T, ip, resolvConf string) *mailPeer {
			return other.start(t, root, ip, resolvConf)
		}})
	}
	return list
}

// newPeer makes the directories and the certificate of a peer, owned by who
// delivers.
func newPeer(t *testing.T, name, domain, ip string, mailOwner int) *mailPeer {
	t.Helper()
	dir, err := os.MkdirTemp("", "buzon-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &mailPeer{name: name, domain: domain, ip: ip, dir: dir}
	writeCertificate(t, dir, "mx."+domain, p.ip)
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "mail"), mailOwner, mailOwner); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *mailPeer) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs a program in a mount namespace of its own, where some files and
// directories are the peer's, and waits until it answers at port 25.
func (p *mailPeer) start(t *testing.T, own map[string]string, program string, args ...string) {
	t.Helper()
	var script strings.Builder
	for at, from := range own {
		fmt.Fprintf(&script, "mount --bind %s %s\n", from, at)
	}
	script.WriteString("exec \"$0\" \"$@\"\n")
	cmd := child.Command(t, internetTime, "unshare", append([]string{"-m", "--propagation", "private", "sh", "-ec", script.String(), program}, args...)...)
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, tail(log.String(), 30))
			logs, _ := filepath.Glob(filepath.Join(p.dir, "log", "*"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				t.Logf("%s %s:\n%s", p.name, filepath.Base(name), tail(string(text), 30))
			}
		}
	})
	eventually(t, patience, func() error { return answers(p.ip + ":25") })
}

// files are the messages that have arrived.
func (p *mailPeer) files(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.dir, "mail", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(p.dir, "mail", "*", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(found, more...)
}

// startInternetPostfix runs Postfix for p.test.
func startInternetPostfix(t *testing.T, ip, resolvConf string) *mailPeer {
	t.Helper()
	p := newPostfixPeer(t, ip, func(main string) string {
		return strings.NewReplacer("transport_maps = inline:{{ a.test = smtp:[{peer}]:{port} }}", "transport_maps =",
			"security_level = encrypt", "security_level = dane\nsmtp_dns_support_level = dnssec\nsmtp_host_lookup = dns\n"+
				"minimal_backoff_time = 5s\nmaximal_backoff_time = 10s\nqueue_run_delay = 5s").Replace(main)
	})
	p.startPostfix(t, map[string]string{"/etc/resolv.conf": resolvConf})
	return p
}

// startPostfix starts it and stops it at the end: its master process leaves the
// group of the one that was started.
func (p *mailPeer) startPostfix(t *testing.T, own map[string]string) {
	t.Helper()
	p.start(t, own, "/usr/sbin/postfix", "-c", p.dir, "start-fg")
	t.Cleanup(func() {
		if out, err := child.Command(t, patience, "postfix", "-c", p.dir, "stop").CombinedOutput(); err != nil {
			t.Errorf("stop postfix: %v\n%s", err, out)
		}
	})
}

// newPostfixPeer makes an instance of Postfix that relays for this machine,
// with its main.cf changed.
func newPostfixPeer(t *testing.T, ip string, change func(main string) string) *mailPeer {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	var uid, gid int
	fmt.Sscan(owner.Uid, &uid)
	fmt.Sscan(owner.Gid, &gid)
	p := newPeer(t, "postfix", "p.test", ip, uid)
	for sub, of := range map[string]int{"queue": 0, "data": uid, "log": 0} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(p.dir, sub), of, gid); err != nil {
			t.Fatal(err)
		}
	}
	main := strings.NewReplacer("relay_domains = a.test", "relay_domains =", "mynetworks =\n", "mynetworks = 127.0.0.0/8\n",
		"smtpd_relay_restrictions = reject_unauth_destination", "smtpd_relay_restrictions = permit_mynetworks,reject_unauth_destination\nsmtpd_client_connection_count_limit = 0",
		"maillog_file = {dir}/maillog", "maillog_file = {dir}/log/maillog").Replace(postfixMain)
	fill := strings.NewReplacer("{dir}", p.dir, "{ip}", p.ip, "{peer}", "", "{port}", "25", "{more}", "", "{uid}", owner.Uid, "{gid}", owner.Gid)
	p.write(t, "main.cf", fill.Replace(change(main)))
	p.write(t, "master.cf", fill.Replace(postfixMaster))
	return p
}

// users writes files like the system's, with those users that the packages
// would have made.
func (p *mailPeer) users(t *testing.T) map[string]string {
	t.Helper()
	own := make(map[string]string)
	for file, more := range map[string]string{
		"passwd": "Debian-exim:x:61001:61001::/:/bin/false\nopensmtpd:x:61002:61002::/nonexistent:/bin/false\nopensmtpq:x:61003:61003::/nonexistent:/bin/false\n",
		"group":  "Debian-exim:x:61001:\nopensmtpd:x:61002:\nopensmtpq:x:61003:\n",
	} {
		text, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		p.write(t, file, string(text)+more)
		own["/etc/"+file] = filepath.Join(p.dir, file)
	}
	return own
}

const eximConf = `primary_hostname = mx.x.test
exim_path = {root}/usr/sbin/exim4
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/exim.pid
local_interfaces = {ip}
daemon_smtp_ports = 25
tls_advertise_hosts = *
tls_certificate = {dir}/cert.pem
tls_privatekey = {dir}/key.pem
keep_environment =
acl_smtp_rcpt = accept
acl_smtp_data = accept
smtp_accept_max = 100
smtp_accept_max_per_host = 100
begin routers
local:
  driver = accept
  domains = x.test
  transport = maildir
remote:
  driver = dnslookup
  domains = ! x.test
  transport = smtp
begin transports
maildir:
  driver = appendfile
  directory = {dir}/mail
  maildir_format
  user = nobody
  group = nogroup
smtp:
  driver = smtp
begin retry
* * F,1h,2s
`

// startExim runs Debian's Exim for x.test.
func startExim(t *testing.T, root, ip, resolvConf string) *mailPeer {
	t.Helper()
	p := newPeer(t, "exim", "x.test", ip, nobody)
	for _, sub := range []string{"spool", "log"} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(p.dir, sub), 61001, 61001); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(p.dir, "key.pem"), 61001, 61001); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "lib/exim4"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Where Debian's Exim looks by itself: one that is named by -C costs it its rights.
	p.write(t, "lib/exim4/config.autogenerated", strings.NewReplacer("{dir}", p.dir, "{ip}", p.ip, "{root}", root).Replace(eximConf))
	own := p.users(t)
	own["/etc/resolv.conf"] = resolvConf
	own["/var/lib"] = filepath.Join(p.dir, "lib")
	p.start(t, own, filepath.Join(root, "usr/sbin/exim4"), "-bdf", "-q5s")
	return p
}

const opensmtpdConf = `pki o cert "{dir}/cert.pem"
pki o key "{dir}/key.pem"
table users { "@o.test" = "nobody" }
listen on {ip} port 25 hostname mx.o.test tls pki o
action "in" maildir "{dir}/mail" virtual <users>
action "out" relay helo "mx.o.test"
match from any for domain "o.test" action "in"
match from src 127.0.0.0/8 for any action "out"
`

// startOpenSMTPD runs OpenSMTPD for o.test.
func startOpenSMTPD(t *testing.T, root, ip, resolvConf string) *mailPeer {
	t.Helper()
	p := newPeer(t, "opensmtpd", "o.test", ip, nobody)
	for _, sub := range []string{"spool/smtpd", "lib/opensmtpd/empty", "log", "run"} {
		if err := os.MkdirAll(filepath.Join(p.dir, sub), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	p.write(t, "smtpd.conf", strings.NewReplacer("{dir}", p.dir, "{ip}", p.ip).Replace(opensmtpdConf))
	own := p.users(t)
	own["/etc/resolv.conf"] = resolvConf
	own["/var/spool"] = filepath.Join(p.dir, "spool")
	own["/var/lib"] = filepath.Join(p.dir, "lib")
	own["/run"] = filepath.Join(p.dir, "run") // for its control socket: another run of these tests may have one
	own["/usr/libexec"] = filepath.Join(root, "usr/libexec")
	p.start(t, own, filepath.Join(root, "usr/sbin/smtpd"), "-d", "-f", filepath.Join(p.dir, "smtpd.conf"))
	return p
}
