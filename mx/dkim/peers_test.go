package dkim_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/mx/dkim"
	"buzon/mx/dns/dnstest"
)

// program runs a peer to its end and returns what it printed.
func program(t *testing.T, stdin, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, 5*time.Second
	cmd.Stdin = strings.NewReader(stdin)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	return both.String(), err
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", what)
	}
	t.Skipf("%s is not installed", what)
}

// rsaFile writes a key as the peers read it.
func rsaFile(t *testing.T, key dkim.Key) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key.Private.(*rsa.PrivateKey))})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func record(t *testing.T, key dkim.Key) string {
	t.Helper()
	text, err := dkim.Record(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// debianPython is the one that Debian's packages are for, whatever else there is.
const debianPython = "/usr/bin/python3"

// python prepares a script against python3-dkim with the keys in its DNS.
func python(t *testing.T, keys []dkim.Key, script string) string {
	t.Helper()
	if _, err := program(t, "", debianPython, "-c", "import dkim"); err != nil {
		missing(t, "python3-dkim")
	}
	zone := ""
	for _, k := range keys {
		zone += fmt.Sprintf("%q: b%q, ", k.Name()+".", record(t, k))
	}
	return "import sys, dkim\nZONE = {" + zone + "}\ndef txt(name, timeout=5):\n" +
		"    return ZONE.get(name.decode() if isinstance(name, bytes) else name, b'')\nMSG = sys.stdin.buffer.read()\n" + script
}

func TestPythonDKIM(t *testing.T) {
	keys, zone := testKeys(t)
	check := python(t, keys, "d = dkim.DKIM(MSG)\nfor i in range(2):\n    print(d.verify(idx=i, dnsfunc=txt))")
	for name, text := range messages {
		if name == "old signature" || name == "no end" { // it counts that one too; it wants the end of the line
			continue
		}
		out, err := program(t, sign(t, keys, text), debianPython, "-c", check)
		if err != nil || strings.Count(out, "True") != 2 {
			t.Errorf("%s: python3-dkim says %v, %s", name, err, out)
		}
	}
	r := dnstest.NewClient(t, zone)
	file := rsaFile(t, keys[1])
	for _, canon := range []string{"relaxed', b'relaxed", "simple', b'simple"} {
		script := python(t, keys, fmt.Sprintf("sys.stdout.buffer.write(dkim.sign(MSG, b'r', b'test.example', open(%q, 'rb').read(), canonicalize=(b'%s')) + MSG)", file, canon))
		for name, text := range messages {
			if name == "no end" || name == "header alone" {
				continue
			}
			signed, err := program(t, text, debianPython, "-c", script)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, signed)
			}
			if got := verify(t, r, signed); len(got) == 0 || got[0].Result != dkim.Pass {
				t.Errorf("python3-dkim's signature, %s, %s: %+v", canon, name, got)
			}
		}
	}
}

// TestOpenDKIM lets opendkim's test mode verify what we sign, with the key in a
// file, and verifies what it would add.
func TestOpenDKIM(t *testing.T) {
	opendkim := "/usr/sbin/opendkim"
	if _, err := os.Stat(opendkim); err != nil {
		missing(t, "opendkim")
	}
	keys, zone := testKeys(t)
	keys = keys[1:] // it knows no Ed25519
	dir := t.TempDir()
	dnsFile, conf := filepath.Join(dir, "dns"), filepath.Join(dir, "conf")
	write(t, dnsFile, keys[0].Name()+" "+record(t, keys[0])+"\n")
	write(t, conf, "Mode v\nTestDNSData file:"+dnsFile+"\nAlwaysAddARHeader yes\nAuthservID test\nSyslog no\n")
	for name, text := range messages {
		if name == "no end" || name == "header alone" || name == "no last end" || name == "old signature" {
			continue // its test mode reads whole lines, and answers for all signatures together
		}
		file := filepath.Join(dir, "msg")
		write(t, file, sign(t, keys, text))
		out, err := program(t, "", opendkim, "-x", conf, "-t", file, "-vvv")
		if err != nil || !strings.Contains(out, "dkim=pass") {
			t.Errorf("%s: opendkim says %v\n%s", name, err, out)
		}
	}
	r := dnstest.NewClient(t, zone)
	for _, canon := range []string{"relaxed/relaxed", "relaxed/simple", "simple/simple"} {
		write(t, conf, "Mode s\nDomain test.example\nSelector r\nKeyFile "+rsaFile(t, keys[0])+"\nRequireSafeKeys no\n"+
			"SignatureAlgorithm rsa-sha256\nCanonicalization "+canon+"\nSyslog no\n")
		for name, text := range messages {
			if name == "no end" || name == "header alone" || name == "no last end" {
				continue
			}
			file := filepath.Join(dir, "msg")
			write(t, file, text)
			out, err := program(t, "", opendkim, "-x", conf, "-t", file, "-vvv")
			_, value, found := strings.Cut(out, "hname='DKIM-Signature' hvalue='")
			value, _, ended := strings.Cut(value, "'\n")
			if err != nil || !found || !ended {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
			signed := "DKIM-Signature: " + crlf(value) + "\r\n" + text
			if got := verify(t, r, signed); len(got) == 0 || got[0].Result != dkim.Pass {
				t.Errorf("opendkim's signature, %s, %s: %+v\n%.2000s", canon, name, got, signed)
			}
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
