package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// swaks's exit codes for a refusal, by the command that was refused.
const (
	swaksMail = 23
	swaksRcpt = 24
	swaksData = 26
	swaksAuth = 28
)

// newSwaksHost is the host that all tests of this file talk to.
func newSwaksHost(t *testing.T) *host {
	need(t, "swaks")
	return start(t, hostConfig{
		Domains:  []string{"a.test"},
		Accounts: []string{"ana@a.test", "luis@a.test", "niño@a.test"},
		Aliases:  map[string]string{"todos@a.test": "ana@a.test luis@a.test"},
	})
}

func TestSwaksDelivers(t *testing.T) {
	t.Parallel()
	h := newSwaksHost(t)
	eva, ana := []string{"--from", "eva@far.test"}, []string{"--from", "ana@a.test", "--auth-user", "ana@a.test", "--auth-password", password}
	for _, c := range []struct {
		name, service string
		login         []string
		args          []string
		tls           bool
	}{
		{"25 plain", "smtp", eva, nil, false},
		{"25 STARTTLS", "smtp", eva, []string{"--tls"}, true},
		{"25 pipelined", "smtp", eva, []string{"--pipeline"}, false},
		{"25 STARTTLS pipelined", "smtp", eva, []string{"--tls", "--pipeline"}, true},
		{"587 PLAIN", "submission", ana, []string{"--tls", "--auth", "PLAIN"}, true},
		{"587 LOGIN", "submission", ana, []string{"--tls", "--auth", "LOGIN"}, true},
		{"587 pipelined", "submission", ana, []string{"--tls", "--auth", "PLAIN", "--pipeline"}, true},
		{"465 PLAIN", "submissions", ana, []string{"--tls-on-connect", "--auth", "PLAIN"}, true},
		{"465 LOGIN", "submissions", ana, []string{"--tls-on-connect", "--auth", "LOGIN"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--server", h.Addr(c.service), "--to", "luis@a.test", "--header", "Subject: " + c.name}, c.login...)
			out, code := run(t, nil, "swaks", append(args, c.args...)...)
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			got := h.message(t, "luis@a.test", c.name)
			trace, _, _ := strings.Cut(got, "\r\nDate: ")
			wantAll(t, "trace", trace, "Return-Path: <"+c.login[1]+">\r\n", "Delivered-To: luis@a.test\r\n", "Received: ")
			protocol := "with ESMTP"
			if c.service != "smtp" {
				protocol = "with ESMTPSA"
				if strings.Contains(trace, "127.0.0.1") {
					t.Errorf("the trace tells where our user is:\n%s", trace)
				}
			} else if c.tls {
				protocol = "with ESMTPS"
			}
			if !strings.Contains(trace, protocol) || c.tls != strings.Contains(trace, "TLS") {
				t.Errorf("want %q, TLS %v in the trace:\n%s", protocol, c.tls, trace)
			}
		})
	}
}

func TestSwaksRefused(t *testing.T) {
	t.Parallel()
	h := newSwaksHost(t)
	ana := []string{"--tls", "--auth", "PLAIN", "--auth-user", "ana@a.test", "--from", "ana@a.test", "--to", "luis@a.test", "--auth-password"}
	for _, c := range []struct {
		name, service string
		args          []string
		code          int
		reply         string
	}{
		{"relay", "smtp", []string{"--from", "eva@far.test", "--to", "bob@other.test"}, swaksRcpt, " 550 5.7.1 "},
		{"relay by percent", "smtp", []string{"--from", "eva@far.test", "--to", "bob%other.test@a.test"}, swaksRcpt, " 550 5.1.1 "},
		{"relay for a sender that claims to be ours", "smtp", []string{"--from", "ana@a.test", "--to", "bob@other.test"}, swaksRcpt, " 550 5.7.1 "},
		{"unknown user", "smtp", []string{"--from", "eva@far.test", "--to", "nadie@a.test"}, swaksRcpt, " 550 5.1.1 "},
		{"submission without login", "submission", []string{"--tls", "--from", "ana@a.test", "--to", "luis@a.test"}, swaksMail, " 530 5.7.0 "},
		{"submission without TLS", "submission", append(ana, password)[1:], swaksAuth, ""},
		{"wrong password", "submission", append(ana, "wrong"), swaksAuth, " 535 5.7.8 "},
		{"another's envelope sender", "submission", append(ana, password, "--from", "luis@a.test"), swaksMail, " 5.7.1 "},
		{"another's From", "submission", append(ana, password, "--h-From", "<luis@a.test>"), swaksData, " 5.7.1 "},
		{"AUTH on 25", "smtp", append(ana, password), swaksAuth, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := run(t, nil, "swaks", append([]string{"--server", h.Addr(c.service)}, c.args...)...)
			if code != c.code || !strings.Contains(out, c.reply) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, c.code, c.reply, out)
			}
		})
	}
	for _, account := range []string{"ana@a.test", "luis@a.test"} {
		if files := h.files(t, account); len(files) > 0 {
			t.Errorf("%s got %v", account, files)
		}
	}
	if queued := h.buzon(t, "", "queue", "list"); strings.Contains(queued, "@") {
		t.Errorf("the queue holds\n%s", queued)
	}
}

func TestSwaksRecipients(t *testing.T) {
	t.Parallel()
	h := newSwaksHost(t)
	// todos@ leads to both, ana+casa@ to ana once more: one copy for each account.
	out, code := run(t, nil, "swaks", "--server", h.Addr("smtp"), "--from", "eva@far.test",
		"--to", "ana@a.test,luis@a.test,todos@a.test,ana+casa@a.test,postmaster@a.test", "--header", "Subject: several")
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	h.message(t, "ana@a.test", "several")
	h.message(t, "luis@a.test", "several")

	// A refused recipient does not cost the others their copy.
	out, _ = run(t, nil, "swaks", "--server", h.Addr("smtp"), "--from", "eva@far.test",
		"--to", "ana@a.test,nadie@a.test,luis@a.test", "--header", "Subject: but one")
	wantAll(t, "transcript", out, "550 5.1.1")
	h.message(t, "ana@a.test", "but one")
	h.message(t, "luis@a.test", "but one")
}

// TestSwaksEightBit sends what is not ASCII: in the body, the header and the
// address. swaks cannot say SMTPUTF8, so its UTF-8 address comes without.
func TestSwaksEightBit(t *testing.T) {
	t.Parallel()
	h := newSwaksHost(t)
	body := "Ñandú, αβγ, 邮箱, \xe9\xe8 in Latin-1\r\n"
	out, code := run(t, nil, "swaks", "--server", h.Addr("smtp"), "--from", "eva@far.test",
		"--to", "niño@a.test", "--header", "Subject: acción", "--body", body)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if got := h.message(t, "niño@a.test", "acción"); !strings.Contains(got, "\r\n\r\n"+body) {
		t.Errorf("the body has changed:\n%q", got)
	}
}

func TestSwaksLargeAttachment(t *testing.T) {
	t.Parallel()
	h := newSwaksHost(t)
	attachment := make([]byte, 20<<20)
	rand.Read(attachment)
	name := filepath.Join(t.TempDir(), "large.bin")
	if err := os.WriteFile(name, attachment, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range [][]string{
		{"--server", h.Addr("smtp"), "--from", "eva@far.test", "--header", "Subject: large 25"},
		{"--server", h.Addr("submissions"), "--from", "ana@a.test", "--header", "Subject: large 465", "--tls-on-connect",
			"--auth", "PLAIN", "--auth-user", "ana@a.test", "--auth-password", password},
	} {
		out, code := run(t, nil, "swaks", append(way, "--to", "luis@a.test", "--attach", "@"+name, "--suppress-data")...)
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		_, subject, _ := strings.Cut(way[5], ": ")
		got := h.message(t, "luis@a.test", subject)
		_, rest, _ := strings.Cut(got, "large.bin")
		_, rest, _ = strings.Cut(rest, "\r\n\r\n")
		encoded, _, _ := strings.Cut(rest, "\r\n--")
		decoded, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "\r\n", ""))
		if err != nil || !bytes.Equal(decoded, attachment) {
			t.Errorf("%s: the attachment has changed (%d bytes, %v)", subject, len(decoded), err)
		}
	}
}
