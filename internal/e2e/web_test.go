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
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPort443 reads what is said there with curl, and mail by ALPN.
func TestPort443(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ip := loopback()
	port := freePort(t, ip)
	h := start(t, hostConfig{
		Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}, IP: ip, Ports: map[string]int{"https": port},
		Extra: "[web]\nmta_sts = \"enforce\"\n",
	})
	get := func(name, path string) string {
		t.Helper()
		out, code := run(t, nil, "curl", "--silent", "--show-error", "--fail", "--insecure", "--max-time", "30",
			"--resolve", fmt.Sprintf("%s:%d:%s", name, port, ip), fmt.Sprintf("https://%s:%d%s", name, port, path))
		if code != 0 {
			t.Fatalf("curl %s%s: exit code %d\n%s", name, path, code, out)
		}
		return out
	}
	wantAll(t, "policy", get("mta-sts.a.test", "/.well-known/mta-sts.txt"), "version: STSv1\r\n", "mode: enforce\r\n", "mx: mx.a.test\r\n")
	wantAll(t, "autoconfig", get("autoconfig.a.test", "/mail/config-v1.1.xml"), "<hostname>mx.a.test</hostname>", fmt.Sprintf("<port>%d</port>", h.Ports["imaps"]))
	wantAll(t, "health", get("mx.a.test", "/health"), "ok")

	h.deliver(t, "ana@a.test", "through 443")
	config := h.tls(t)
	config.NextProtos = []string{"imap"}
	c := dialTLSAt(t, h.Addr("https"), config)
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "a LOGIN ana@a.test %s\r\nb SELECT INBOX\r\n", password)
	c.until(t, "* 1 EXISTS")
	c.until(t, "b OK")
}

// TestClientCertificate logs in by EXTERNAL with a certificate that an
// authority of the family has signed, over IMAP, and is not asked for one on
// port 25.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := filepath.Join(dir, "family.pem")
	cert := clientCertificate(t, ca, "ana@a.test")
	h := start(t, hostConfig{
		Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"},
		Extra: fmt.Sprintf("[auth]\nclient_ca = %q\n", ca),
	})
	config := h.tls(t)
	config.Certificates = []tls.Certificate{cert}
	c := dialTLSAt(t, h.Addr("imaps"), config)
	c.SetDeadline(time.Now().Add(patience))
	wantAll(t, "greeting", c.until(t, "* OK"), "AUTH=EXTERNAL")
	fmt.Fprint(c, "a AUTHENTICATE EXTERNAL bHVpc0BhLnRlc3Q=\r\n")
	c.until(t, "a NO [AUTHENTICATIONFAILED]")
	fmt.Fprint(c, "b AUTHENTICATE EXTERNAL =\r\n")
	c.until(t, "b OK")

	c = dialTLSAt(t, h.Addr("submissions"), config)
	c.SetDeadline(time.Now().Add(patience))
	c.until(t, "220 ")
	fmt.Fprint(c, "EHLO c.test\r\n")
	wantAll(t, "AUTH", c.until(t, "250-AUTH"), "EXTERNAL")
	fmt.Fprint(c, "AUTH EXTERNAL =\r\n")
	c.until(t, "235 ")
}

// clientCertificate makes an authority, written to ca, and a certificate of
// it for an address.
func clientCertificate(t *testing.T, ca, address string) tls.Certificate {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "family"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, key := newKey(), newKey()
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err == nil {
		err = os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "ana's phone"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		EmailAddresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
