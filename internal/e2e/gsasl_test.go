package e2e_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestGSASL logs in by each mechanism with GNU SASL, an implementation that has
// nothing in common with ours, over IMAP and submission.
func TestGSASL(t *testing.T) {
	t.Parallel()
	need(t, "gsasl")
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	out := h.buzon(t, "", "account", "app-password", "add", "ana@a.test", "gsasl")
	app := strings.TrimSpace(out[strings.LastIndex(out, ": ")+2:])

	login := func(service, mechanism, password string, extra ...string) (string, int) {
		t.Helper()
		protocol := "--imap"
		if service == "submission" {
			protocol = "--smtp"
		}
		args := append([]string{
			protocol, "--x509-ca-file=" + h.ca, "--mechanism=" + mechanism, "--authentication-id=ana@a.test", "--authorization-id=",
			"--password=" + password, "--verbose", "--no-client-first",
			"--connect=" + net.JoinHostPort(h.IP, fmt.Sprint(h.Ports[service])), "--hostname=" + h.Hostname,
		}, extra...)
		return run(t, strings.NewReader(""), "gsasl", args...)
	}
	for _, service := range []string{"imap", "submission"} {
		for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
			// A client that could bind the channel and does not is told off (RFC 5802 6).
			var extra []string
			if mechanism == "SCRAM-SHA-256" {
				extra = []string{"--no-cb"}
			}
			for _, right := range []string{password, app} {
				if out, code := login(service, mechanism, right, extra...); code != 0 {
					t.Errorf("%s %s: exit code %d\n%s", service, mechanism, code, out)
				}
			}
			if service == "submission" {
				continue // each wrong password costs a delay
			}
			if out, code := login(service, mechanism, "wrong", extra...); code == 0 {
				t.Errorf("%s %s: a wrong password was taken\n%s", service, mechanism, out)
			}
		}
	}
	eventually(t, patience, func() error {
		if text := h.log.String(); !strings.Contains(text, "mechanism=SCRAM-SHA-256-PLUS") || !strings.Contains(text, "device=gsasl") {
			return fmt.Errorf("the log does not tell how")
		}
		return nil
	})
	if text := h.log.String(); strings.Contains(text, app) {
		t.Error("the app password is in the log")
	}
	wantAll(t, "app passwords", h.buzon(t, "", "account", "app-password", "list", "ana@a.test"), "gsasl", "imap 127.")
}

// TestAppPasswordTakenBack ends a session that idles.
func TestAppPasswordTakenBack(t *testing.T) {
	t.Parallel()
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	out := h.buzon(t, "", "account", "app-password", "add", "ana@a.test", "phone")
	app := strings.TrimSpace(out[strings.LastIndex(out, ": ")+2:])
	d := dialTLS(t, h, "imaps")
	d.SetDeadline(time.Now().Add(3 * patience))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ana@a.test\x00" + app))
	fmt.Fprintf(d, "a AUTHENTICATE PLAIN %s\r\nb SELECT INBOX\r\nc IDLE\r\n", plain)
	d.until(t, "+ ")
	h.buzon(t, "", "account", "app-password", "remove", "ana@a.test", "phone")
	d.until(t, "* BYE")
	d = dialTLS(t, h, "imaps")
	d.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(d, "a AUTHENTICATE PLAIN %s\r\n", plain)
	d.until(t, "a NO [AUTHENTICATIONFAILED]")
}

// secureConn is a TLS connection to a host that is read line by line.
type secureConn struct {
	*tls.Conn
	r *bufio.Reader
}

func dialTLS(t testing.TB, h *host, service string) *secureConn {
	t.Helper()
	return dialTLSAt(t, h.Addr(service), h.tls(t))
}

func dialTLSAt(t testing.TB, addr string, config *tls.Config) *secureConn {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &secureConn{conn, bufio.NewReader(conn)}
}

// until reads lines up to the one that begins with prefix, and returns it.
func (c *secureConn) until(t testing.TB, prefix string) string {
	t.Helper()
	var passed strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatalf("want %q, got %q and %v after\n%s", prefix, line, err, passed.String())
		}
		if strings.HasPrefix(line, prefix) {
			return line
		}
		passed.WriteString(line)
	}
}
