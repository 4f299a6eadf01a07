package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"buzon/internal/e2e/child"
)

// password is every account's. It must never be seen in a log.
const password = "Zanja-corriente-9"

// services are the listeners of a host, by the names that buzon.toml has for them.
var services = []string{"smtp", "submission", "submissions", "imap", "imaps", "managesieve"}

// hostConfig says what is special about a host.
type hostConfig struct {
	Hostname string // default "mx." and the first domain
	Domains  []string
	Accounts []string          // with the password that all have
	Aliases  map[string]string // address → addresses, separated by spaces
	IP       string            // default a loopback address of its own
	Ports    map[string]int    // by service; free ones where absent
	LMTP     string            // the path of a socket that everybody may write to
	Extra    string            // more of the configuration file
	asUser   uint32            // the system user that serves; 0: whoever runs the test
}

// host is one running buzon with its own data.
type host struct {
	hostConfig
	dir    string // configuration, certificate and data
	ca     string // file with the authority that signed the certificate
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan error
}

// start makes a host and waits until it answers. It is stopped with the test,
// and must not have said anything about passwords or panics by then.
func start(t testing.TB, cfg hostConfig) *host {
	t.Helper()
	h := newHost(t, cfg)
	h.start(t)
	return h
}

// newHost makes a host with its accounts that does not run yet.
func newHost(t testing.TB, cfg hostConfig) *host {
	t.Helper()
	if cfg.Hostname == "" {
		cfg.Hostname = "mx." + cfg.Domains[0]
	}
	if cfg.IP == "" {
		cfg.IP = loopback()
	}
	cfg.Ports = freePorts(t, cfg.IP, cfg.Ports)
	h := &host{hostConfig: cfg, dir: t.TempDir(), log: &logBuffer{}}
	h.ca = filepath.Join(h.dir, "ca.pem")
	writeCertificate(t, h.dir, cfg.Hostname, cfg.IP)
	h.configure(t)
	for _, account := range cfg.Accounts {
		h.account(t, account)
	}
	for alias, targets := range cfg.Aliases {
		h.buzon(t, "", append([]string{"alias", "add", alias}, strings.Fields(targets)...)...)
	}
	t.Cleanup(func() {
		if h.cmd != nil {
			h.stop(t)
		}
		text := h.log.String()
		for _, never := range []string{password, "panic"} {
			if strings.Contains(text, never) {
				t.Errorf("%s: the log holds %q", cfg.Hostname, never)
			}
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", cfg.Hostname, tail(text, 100))
		}
	})
	return h
}

// account adds an account with the password that all have.
func (h *host) account(t testing.TB, address string) {
	t.Helper()
	h.buzon(t, password+"\n", "account", "add", address)
}

// configure writes the configuration file.
func (h *host) configure(t testing.TB) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata = %q\ndomains = [%s]\n", h.Hostname, h.data(), quoted(h.Domains...))
	fmt.Fprintf(&b, "[tls]\ncert = %q\nkey = %q\n", filepath.Join(h.dir, "cert.pem"), filepath.Join(h.dir, "key.pem"))
	b.WriteString("[listen]\n")
	for _, service := range services {
		fmt.Fprintf(&b, "%s = [%q]\n", service, h.Addr(service))
	}
	if h.Ports["https"] != 0 {
		fmt.Fprintf(&b, "https = [%q]\n", h.Addr("https"))
	}
	if h.LMTP != "" {
		fmt.Fprintf(&b, "lmtp = [%q]\nlmtp_mode = \"0666\"\n", h.LMTP)
	}
	if !strings.Contains(h.Extra, "[dns]") { // nobody is asked, and nobody waited for
		b.WriteString("[dns]\nservers = [\"127.0.0.1:1\"]\n")
	}
	b.WriteString(h.Extra)
	if err := os.WriteFile(h.config(), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// quoted is a list of strings as TOML has it, without the brackets.
func quoted(list ...string) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(s))
	}
	return b.String()
}

func (h *host) config() string { return filepath.Join(h.dir, "buzon.toml") }
func (h *host) data() string   { return filepath.Join(h.dir, "data") }

// Addr is where a service listens.
func (h *host) Addr(service string) string {
	return fmt.Sprintf("%s:%d", h.IP, h.Ports[service])
}

// tls is how a careful client connects.
func (h *host) tls(t testing.TB) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(h.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool, ServerName: h.Hostname}
}

// buzon runs the command line on this host's configuration and wants success.
func (h *host) buzon(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	args = append(args[:len(args):len(args)], "--config", h.config())
	out, code := run(t, strings.NewReader(stdin), buzon, args...)
	if code != 0 {
		t.Fatalf("buzon %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (h *host) start(t testing.TB) {
	t.Helper()
	h.cmd = exec.Command(buzon, "serve", "--config", h.config())
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	child.Isolate(h.cmd) // a test that is killed takes its hosts with it
	if h.asUser != 0 {
		h.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: h.asUser, Gid: h.asUser}
	}
	if err := h.cmd.Start(); err != nil {
		h.cmd = nil
		t.Fatal(err)
	}
	h.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(h.cmd, h.exited)
	eventually(t, patience, func() error {
		select {
		case err := <-h.exited:
			h.exited <- err
			t.Fatalf("%s did not start: %v\n%s", h.Hostname, err, h.log.String())
		default:
		}
		for _, service := range services {
			conn, err := net.DialTimeout("tcp", h.Addr(service), time.Second)
			if err != nil {
				return err
			}
			conn.Close()
		}
		return nil
	})
}

// kill is a crash: nothing is said, nothing is finished.
func (h *host) kill(t testing.TB) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-h.exited
	h.cmd = nil
}

// stop asks the host to end and wants it to end well.
func (h *host) stop(t testing.TB) {
	t.Helper()
	defer func() { h.cmd = nil }()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("%s: %v", h.Hostname, err)
	}
	select {
	case err := <-h.exited:
		if err != nil {
			t.Errorf("%s ended: %v", h.Hostname, err)
		}
	case <-time.After(patience + 10*time.Second):
		t.Errorf("%s does not end", h.Hostname)
		h.cmd.Process.Kill()
		<-h.exited
	}
}

// maildir is the directory that holds an account's INBOX.
func (h *host) maildir(account string) string {
	user, domain, _ := strings.Cut(account, "@")
	return filepath.Join(h.data(), "mail", domain, user, "Maildir")
}

// files names the files of an account's INBOX, below new and cur.
func (h *host) files(t testing.TB, account string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.maildir(account), "[nc][eu][wr]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// messages returns the messages in an account's INBOX that contain text.
func (h *host) messages(t testing.TB, account, text string) []string {
	t.Helper()
	var found []string
	for _, name := range h.files(t, account) {
		raw, err := os.ReadFile(name)
		if os.IsNotExist(err) { // renamed meanwhile
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), text) {
			found = append(found, string(raw))
		}
	}
	return found
}

// message waits for the one message in an account's INBOX with this subject.
func (h *host) message(t testing.TB, account, subject string) string {
	t.Helper()
	var found []string
	eventually(t, patience, func() error {
		found = h.messages(t, account, "Subject: "+subject+"\r\n")
		if len(found) != 1 {
			return fmt.Errorf("%s holds %d messages with the subject %q", account, len(found), subject)
		}
		return nil
	})
	return found[0]
}

// deliver hands the host a message as a stranger does.
func (h *host) deliver(t testing.TB, to, subject string) {
	t.Helper()
	text := "From: <eva@far.test>\r\nTo: <" + to + ">\r\nSubject: " + subject + "\r\n\r\nhola\r\n"
	client, err := smtp.Dial(h.Addr("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SendMail("eva@far.test", []string{to}, strings.NewReader(text)); err != nil {
		t.Fatalf("deliver to %s: %v", to, err)
	}
	client.Quit()
}

var loopbacks atomic.Uint32

// loopback returns an address below 127/8 that no other host of this process
// has: two hosts may then use the same port, as MX records want it.
func loopback() string {
	n := loopbacks.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%250, n/250, 1+n%250)
}

// freePorts adds a free port for each service that has none yet; all differ.
func freePorts(t testing.TB, ip string, given map[string]int) map[string]int {
	t.Helper()
	ports := map[string]int{}
	taken := map[int]bool{}
	for service, port := range given {
		ports[service], taken[port] = port, true
	}
	for _, service := range services {
		for ports[service] == 0 {
			if port := freePort(t, ip); !taken[port] {
				ports[service], taken[port] = port, true
			}
		}
	}
	return ports
}

func freePort(t testing.TB, ip string) int {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// writeCertificate makes an authority and a certificate signed by it: ca.pem,
// cert.pem and key.pem in dir.
func writeCertificate(t testing.TB, dir, hostname, ip string, more ...string) {
	t.Helper()
	writeCertificateUntil(t, dir, time.Now().AddDate(0, 3, 0), hostname, ip, more...)
}

// writeCertificateUntil makes one that is good until then, for more names.
func writeCertificateUntil(t testing.TB, dir string, until time.Time, hostname, ip string, more ...string) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(name, kind string, der []byte, err error) {
		t.Helper()
		if err == nil {
			text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + hostname},
		NotBefore: time.Now().AddDate(0, 0, -7), NotAfter: time.Now().AddDate(0, 3, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, key := newKey(), newKey()
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	write("ca.pem", "CERTIFICATE", der, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hostname},
		DNSNames: append(more, hostname), IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: authority.NotBefore, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	write("cert.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(key)
	write("key.pem", "EC PRIVATE KEY", der, err)
}

// logBuffer keeps what a host says. It is safe for concurrent use.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}
