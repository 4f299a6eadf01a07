package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"buzon/internal/e2e/child"
)

// TestInboundBench measures messages a second from another host into a Maildir, with
// SPF, DKIM and DMARC checked, ours beside Postfix with opendkim and opendmarc (which
// checks SPF itself), in turns of the same run. All ask one validating resolver before a zone
// of the test's own; opendkim has the key in a file. The clock stops when everything lies in the Maildir.
// BUZON_BENCH_MESSAGES is how many are sent to each, with each number of connections.
func TestInboundBench(t *testing.T) {
	messages, _ := strconv.Atoi(os.Getenv("BUZON_BENCH_MESSAGES"))
	if os.Getenv("BUZON_BENCH_INBOUND") == "" || messages == 0 {
		t.Skip("make bench-inbound runs it")
	}
	need(t, "postfix", "unshare", "opendkim", "opendmarc")
	if os.Getuid() != 0 {
		t.Skip("Postfix needs root")
	}
	text, key := signedBenchText(t)
	sender := loopback()
	zone := startSignedDNS(t, []string{
		"far.test. MX 10 mx.far.test.", "mx.far.test. A " + sender, "far.test. TXT \"v=spf1 ip4:127.0.0.0/8 -all\"",
		"_dmarc.far.test. TXT \"v=DMARC1; p=reject\"", fmt.Sprintf("s1._domainkey.far.test. TXT \"%s\" \"%s\"", key[:200], key[200:]),
	}, nil)

	ours := newHost(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"},
		Extra: fmt.Sprintf("[dns]\nservers = [\"%s:53\"]\n", zone.resolver)})
	ours.start(t)
	postfix, milters := startJudgingPostfix(t, zone.resolver, key)

	dial := func(addr string) func() (*smtp.Client, error) {
		return func() (*smtp.Client, error) {
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(sender)}}
			conn, err := from.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			client := smtp.NewClient(conn)
			return client, client.Hello("mx.far.test")
		}
	}
	in := map[string]string{"buzon": ours.maildir("ana@a.test"), "postfix": filepath.Join(postfix.dir, "mail", "p")}
	contest{
		messages: messages,
		ours:     contestant{name: "buzon", pids: []int{ours.cmd.Process.Pid}, to: "ana@a.test", dial: dial(ours.Addr("smtp"))},
		theirs:   contestant{name: "postfix", pids: append(milters, postfix.master(t)), to: "ana@p.test", dial: dial(postfix.ip + ":25")},
		send: func(client *smtp.Client, to *contestant) error {
			return client.SendMail("eva@far.test", []string{to.to}, bytes.NewReader(text))
		},
		arrived: func(c *contestant) int64 {
			names, _ := os.ReadDir(filepath.Join(in[c.name], "new"))
			return int64(len(names))
		},
	}.run(t)
	for name, dir := range in { // both have made the checks
		one, err := os.ReadFile(filepath.Join(dir, "new", someFile(t, filepath.Join(dir, "new"))))
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, name, string(one), "dkim=pass", "spf=pass", "dmarc=pass")
	}
}

// signedBenchText returns a message of 4 KiB from far.test that is signed, and the
// record of its key.
func signedBenchText(t *testing.T) (text []byte, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	plain := "From: Eva <eva@far.test>\r\nTo: Ana <ana@a.test>\r\nSubject: bench\r\nDate: Sun, 22 Nov 2026 03:17:18 +0000\r\nMessage-ID: <bench@far.test>\r\n\r\n" +
		strings.Repeat(strings.Repeat("x", 78)+"\r\n", 50)
	var signed bytes.Buffer
	err = msgauth.Sign(&signed, strings.NewReader(plain), &msgauth.SignOptions{Domain: "far.test", Selector: "s1", Signer: private, Hash: crypto.SHA256,
		HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Bytes(), record
}

// startJudgingPostfix runs Postfix for p.test with opendkim and opendmarc before it,
// and returns their processes too.
func startJudgingPostfix(t *testing.T, resolver, key string) (p *mailPeer, milters []int) {
	t.Helper()
	ip := loopback()
	// As Debian has it: over TCP each step would wait for an acknowledgement.
	socket := func(program string) string { return filepath.Join(p.dir, program+".sock") }
	p = newPostfixPeer(t, ip, func(main string) string {
		return main + "smtpd_milters = unix:{dir}/opendkim.sock unix:{dir}/opendmarc.sock\nmilter_default_action = tempfail\n"
	})
	p.write(t, "resolv.conf", "nameserver "+resolver+"\n")
	// It has a resolver of its own that asks no name server on this machine: the key lies in a file.
	p.write(t, "opendkim.conf", fmt.Sprintf("Mode v\nSocket local:%s\nUMask 000\nSyslog no\nAuthservID mx.p.test\nTestDNSData %s/keys\n", socket("opendkim"), p.dir))
	p.write(t, "keys", "s1._domainkey.far.test "+key+"\n")
	p.write(t, "opendmarc.conf", fmt.Sprintf("Socket local:%s\nUMask 000\nSyslog false\nAuthservID mx.p.test\nTrustedAuthservIDs mx.p.test\nRejectFailures true\nSPFSelfValidate true\nSPFIgnoreResults true\n", socket("opendmarc")))
	for _, milter := range []struct{ program, config string }{{"opendkim", "-x"}, {"opendmarc", "-c"}} {
		cmd := child.Command(t, internetTime, "unshare", "-m", "--propagation", "private", "sh", "-ec",
			"mount --bind \"$1\" /etc/resolv.conf; exec \"$2\" -f \"$3\" \"$4\"", "sh",
			filepath.Join(p.dir, "resolv.conf"), "/usr/sbin/"+milter.program, milter.config, filepath.Join(p.dir, milter.program+".conf"))
		log := &logBuffer{}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", milter.program, tail(log.String(), 20))
			}
		})
		eventually(t, patience, func() error {
			conn, err := net.Dial("unix", socket(milter.program))
			if err == nil {
				conn.Close()
			}
			return err
		})
		milters = append(milters, cmd.Process.Pid)
	}
	p.startPostfix(t, map[string]string{"/etc/resolv.conf": filepath.Join(p.dir, "resolv.conf")})
	return p, milters
}
