package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	mdns "github.com/miekg/dns"

	"buzon/internal/e2e/child"
)

// signedDNS is a name system of the test's own: NSD with a signed zone "test.",
// and Unbound before it, which validates.
type signedDNS struct {
	dir      string
	resolver string // address, port 53
	unbound  *exec.Cmd
}

// startSignedDNS signs the records and serves them. Of the records of each name
// in forged the data is changed after that, so that a validator refuses them.
func startSignedDNS(t *testing.T, records []string, forged map[string]string) *signedDNS {
	t.Helper()
	need(t, "nsd", "unbound", "ldns-keygen", "ldns-signzone")
	// The two give up their rights to users who cannot enter t.TempDir.
	dir, err := os.MkdirTemp("", "buzon-dns-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &signedDNS{dir: dir, resolver: loopback()}
	authority := loopback()
	zone := "$ORIGIN test.\n$TTL 30\ntest. SOA ns.test. root.test. 1 3600 600 86400 5\ntest. NS ns.test.\nns.test. A " + authority + "\n" + strings.Join(records, "\n") + "\n"
	d.write(t, "zone", zone)
	key := strings.TrimSpace(d.run(t, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "test"))
	d.run(t, "ldns-signzone", "-f", "zone.signed", "zone", key)
	signed, err := os.ReadFile(filepath.Join(dir, "zone.signed"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(signed)
	for was, is := range forged {
		if !strings.Contains(text, was) {
			t.Fatalf("the signed zone has no %q", was)
		}
		text = strings.ReplaceAll(text, was, is)
	}
	d.write(t, "zone.signed", text)
	d.write(t, "nsd.conf", fmt.Sprintf(`server:
  ip-address: %s@53
  username: ""
  database: ""
  zonesdir: %q
  xfrdir: %[2]q
  zonelistfile: %[2]s/zone.list
  xfrdfile: %[2]s/xfrd.state
  pidfile: %[2]s/nsd.pid
  logfile: %[2]s/nsd.log
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: "test"
  zonefile: "zone.signed"
`, authority, dir))
	d.write(t, "unbound.conf", fmt.Sprintf(`server:
  interface: %s
  port: 53
  username: ""
  chroot: ""
  directory: %q
  pidfile: "%[2]s/unbound.pid"
  logfile: "%[2]s/unbound.log"
  use-syslog: no
  verbosity: 1
  do-daemonize: no
  do-ip6: no
  num-threads: 1
  module-config: "validator iterator"
  trust-anchor-file: "%[2]s/%[3]s.key"
  local-zone: "test." nodefault
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  cache-max-negative-ttl: 5
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: %[4]s@53
`, d.resolver, dir, key, authority))
	d.start(t, "nsd", "-d", "-c", filepath.Join(dir, "nsd.conf"))
	d.unbound = d.start(t, "unbound", "-d", "-c", filepath.Join(dir, "unbound.conf"))
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"nsd.log", "unbound.log"} {
				log, _ := os.ReadFile(filepath.Join(dir, name))
				t.Logf("%s:\n%s", name, tail(string(log), 20))
			}
		}
	})
	// It answers, and it vouches for what it answers.
	eventually(t, patience, func() error {
		q := new(mdns.Msg).SetQuestion("ns.test.", mdns.TypeA)
		q.AuthenticatedData = true
		reply, err := mdns.Exchange(q, net.JoinHostPort(d.resolver, "53"))
		if err == nil && (len(reply.Answer) == 0 || !reply.AuthenticatedData) {
			err = fmt.Errorf("answer without AD: %v", reply)
		}
		return err
	})
	return d
}

// stall lets nobody have an answer until the returned function is called.
func (d *signedDNS) stall(t *testing.T) (resume func()) {
	t.Helper()
	if err := d.unbound.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() { d.unbound.Process.Signal(syscall.SIGCONT) }
}

func (d *signedDNS) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *signedDNS) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := child.Command(t, patience, program, args...)
	cmd.Dir = d.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

func (d *signedDNS) start(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := child.Command(t, internetTime, program, args...)
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, tail(log.String(), 20))
		}
	})
	return cmd
}

// tlsa is the record that binds a host at port 25 to its certificate's key.
func tlsa(t *testing.T, host string, cert *x509.Certificate) string {
	t.Helper()
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "_25._tcp." + host + ". TLSA 3 1 1 " + hex.EncodeToString(sum[:])
}

// certificateOf reads the certificate that writeCertificate has made in dir.
func certificateOf(t *testing.T, dir string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return pair, leaf
}
