package arc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/message"
	"buzon/mx/arc"
	"buzon/mx/dns"
)

// zone has texts by name; a name with the text "!" has trouble.
type zone map[string]string

func (z zone) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	switch text := z[name]; text {
	case "":
		return nil, dns.Answer{}, dns.ErrNoSuchDomain
	case "!":
		return nil, dns.Answer{}, fmt.Errorf("no answer")
	default:
		return []string{text}, dns.Answer{}, nil
	}
}

func newKey(t testing.TB, z zone, domain, selector string, ed bool) arc.Key {
	t.Helper()
	var private crypto.Signer
	record := ""
	if ed {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private, record = key, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(pub)
	} else {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		private, record = key, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der)
	}
	z[selector+"._domainkey."+domain] = record
	return arc.Key{Domain: domain, Selector: selector, Private: private}
}

func split(t testing.TB, text string) (*message.Header, io.Reader) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(text))
	h, err := message.ReadHeader(r, message.HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

func validate(t testing.TB, z arc.Resolver, text string) arc.Chain {
	t.Helper()
	h, body := split(t, text)
	c, err := arc.Validate(t.Context(), z, h, body)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func seal(t testing.TB, z zone, key arc.Key, text string) string {
	t.Helper()
	c := validate(t, z, text)
	_, body := split(t, text)
	fields, err := c.Seal(key, key.Domain+"; spf=pass smtp.mailfrom=d1.example;\r\n\tdkim=pass header.d=d1.example", body, time.Unix(12345, 0))
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + text
}

const plain = "Received: from a by b; Thu, 14 Jan 2015 15:00:01 -0800\r\nFrom: John Q Doe <jqd@d1.example>\r\nTo: arc@dmarc.example\r\n" +
	"Subject: [List 2] Example 1\r\nDate: Thu, 14 Jan 2015 15:00:01 -0800\r\nMessage-ID: <54B84785.1060301@d1.example>\r\n\r\n" +
	"Hey gang,  \r\nThis is a \t test message.\r\n--J.\r\n\r\n\r\n"

// TestChain builds the chain of RFC 8617 appendix B: three hosts on the way.
func TestChain(t *testing.T) {
	z := zone{}
	keys := []arc.Key{newKey(t, z, "lists.example.org", "dk-lists", false), newKey(t, z, "gmail.example", "20120806", true), newKey(t, z, "clochette.example.org", "clochette", false)}
	if c := validate(t, z, plain); c.Result != arc.None || c.Length != 0 {
		t.Errorf("no chain: %+v", c)
	}
	text := plain
	for i, key := range keys {
		text = "Received: by " + key.Domain + "; now\r\n" + seal(t, z, key, text)
		c := validate(t, z, text)
		if c.Result != arc.Pass || c.Length != i+1 || c.Sealers[0] != key.Domain || !strings.HasPrefix(c.Results, key.Domain+"; spf=pass") {
			t.Fatalf("after %s: %s %s, %d sets, %v, %q", key.Domain, c.Result, c.Reason, c.Length, c.Sealers, c.Results)
		}
	}
	for name, tt := range map[string]struct{ from, to, reason string }{
		"body":                  {"Hey gang", "Hey you", "the body has changed"},
		"covered field":         {"Example 1", "Example 2", "the message signature does not verify"},
		"field on top":          {"Received: by clochette", "From: <eva@attack.test>\r\nReceived: by clochette", ""},
		"results of the first":  {"i=1; lists.example.org; spf=pass", "i=1; lists.example.org; spf=fail", "the seal of instance 3 does not verify"},
		"seal of the first":     {"ARC-Seal: i=1;", "X-Seal: i=1;", "instance 1 is not whole"},
		"cv of the second":      {"cv=pass; d=gmail", "cv=none; d=gmail", "instance 2 says cv=none"},
		"cv=fail":               {"cv=pass; d=clochette", "cv=fail; d=clochette", "instance 3 says cv=fail"},
		"an instance twice":     {"ARC-Seal: i=3;", "ARC-Seal: i=2;", "instance 2 is there twice"},
		"instance 0":            {"ARC-Seal: i=3;", "ARC-Seal: i=0;", "an instance is not a number from 1 to 50"},
		"instance 51":           {"ARC-Seal: i=3;", "ARC-Seal: i=51;", "an instance is not a number from 1 to 50"},
		"fields in a seal":      {"ARC-Seal: i=3;", "ARC-Seal: i=3; h=from;", "the seal of instance 3 lists fields"},
		"length":                {"ARC-Message-Signature: i=3;", "ARC-Message-Signature: i=3; l=1;", "the message signature covers a part of the body only"},
		"seal in the signature": {"h=From:", "h=arc-seal:From:", "the message signature covers a seal"},
		"unknown key":           {"s=clochette; t=12345;\r\n\th", "s=other; t=12345;\r\n\th", "the message signature has no key"},
		"unknown algorithm":     {"ARC-Message-Signature: i=3; a=rsa-sha256", "ARC-Message-Signature: i=3; a=rsa-sha1", "the message signature does not verify"},
	} {
		changed := strings.Replace(text, tt.from, tt.to, 1)
		if changed == text {
			t.Errorf("%s: nothing was changed", name)
		}
		c := validate(t, z, changed)
		if tt.reason == "" {
			if c.Result != arc.Pass { // a reader must want one From itself
				t.Errorf("%s: %s (%s)", name, c.Result, c.Reason)
			}
			continue
		}
		if c.Result != arc.Fail || c.Reason != tt.reason || c.Sealers != nil || c.Results != "" {
			t.Errorf("%s: %s (%s), want (%s)", name, c.Result, c.Reason, tt.reason)
		}
		if _, err := c.Seal(keys[0], "x", strings.NewReader(""), time.Now()); err == nil {
			t.Errorf("%s: a chain that failed was sealed", name)
		}
	}
	z["20120806._domainkey.gmail.example"] = "!"
	if c := validate(t, z, text); c.Result != arc.TempError {
		t.Errorf("a key that nobody can look up: %s", c.Result)
	}
}

func TestLongChain(t *testing.T) {
	z := zone{}
	key := newKey(t, z, "a.test", "s", true)
	text := plain
	for range 10 {
		text = seal(t, z, key, text)
	}
	c := validate(t, z, text)
	if c.Result != arc.Pass {
		t.Fatalf("ten sets: %s (%s)", c.Result, c.Reason)
	}
	if _, err := c.Seal(key, "x", strings.NewReader(""), time.Now()); err == nil {
		t.Error("an eleventh set was added")
	}
	if c := validate(t, z, strings.Repeat("ARC-Seal: i=1; b="+strings.Repeat("x", 1000)+"\r\n", 100)+plain); c.Result != arc.Fail {
		t.Errorf("a hundred seals: %s", c.Result)
	}
}

// debianPython is the one that Debian's packages are for, whatever else there is.
const debianPython = "/usr/bin/python3"

// python runs a script against python3-dkim, with the zone as its DNS.
func python(t *testing.T, z zone, script, stdin string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := exec.CommandContext(ctx, debianPython, "-c", "import dkim, authres").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3-dkim or python3-authres is not installed")
		}
		t.Skip("python3-dkim or python3-authres is not installed")
	}
	var records strings.Builder
	for name, text := range z {
		fmt.Fprintf(&records, "%q: b%q,\n", name+".", text)
	}
	prelude := "import sys, dkim\nZONE = {" + records.String() + "}\ndef txt(name, timeout=5):\n" +
		"    name = name.decode() if isinstance(name, bytes) else name\n    return ZONE.get(name, b'')\nMSG = sys.stdin.buffer.read()\n"
	cmd := exec.CommandContext(ctx, debianPython, "-c", prelude+script)
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, 5*time.Second
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("python3: %v\n%s", err, errs.String())
	}
	return out.String()
}

func TestPythonDKIMVerifies(t *testing.T) {
	z := zone{}
	one, two := newKey(t, z, "lists.example.org", "one", false), newKey(t, z, "far.example", "two", false)
	for name, body := range map[string]string{"plain": plain, "no body": plain[:strings.Index(plain, "Hey")], "blank": plain + strings.Repeat(" \r\n", 50)} {
		text := seal(t, z, two, seal(t, z, one, body))
		out := python(t, z, "cv, res, why = dkim.arc_verify(MSG, dnsfunc=txt)\nprint(cv.decode(), why)", text)
		if !strings.HasPrefix(out, "pass") {
			t.Errorf("%s: python3-dkim says %s\n%s", name, out, text)
		}
	}
}

func TestPythonDKIMSeals(t *testing.T) {
	z := zone{}
	key := newKey(t, z, "lists.example.org", "one", false)
	file := filepath.Join(t.TempDir(), "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key.Private.(*rsa.PrivateKey))})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("f = dkim.arc_sign(MSG, b'one', b'lists.example.org', open(%q, 'rb').read(), b'lists.example.org', timestamp='12345')\n", file) +
		"sys.stdout.buffer.write(b''.join(f) + MSG)"
	msg := "Authentication-Results: lists.example.org; arc=none;\r\n spf=pass smtp.mailfrom=d1.example\r\n" + plain
	first := python(t, z, script, msg)
	if c := validate(t, z, first); c.Result != arc.Pass || c.Length != 1 {
		t.Errorf("one set of python3-dkim's: %s (%s)\n%s", c.Result, c.Reason, first)
	}
	again := seal(t, z, key, first)
	out := python(t, z, "cv, res, why = dkim.arc_verify(MSG, dnsfunc=txt)\nprint(cv.decode(), why)", again)
	if !strings.HasPrefix(out, "pass") {
		t.Errorf("our set above: python3-dkim says %s", out)
	}
}

// Whatever a header holds, nothing passes that nobody has signed, and a chain
// that does not pass says nothing.
func FuzzValidate(f *testing.F) {
	f.Add("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=AAAA\r\nARC-Message-Signature: i=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\nARC-Authentication-Results: i=1; a.test; spf=pass\r\nFrom: <a@b>\r\n\r\n")
	z := zone{"s._domainkey.a.test": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReader(strings.NewReader(text))
		h, err := message.ReadHeader(r, message.HeaderLimits{})
		if err != nil {
			t.Skip()
		}
		c, err := arc.Validate(t.Context(), z, h, r)
		if err != nil || c.Result == arc.Pass || c.Length > 50 || c.Results != "" || len(c.Sealers) > 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestBodyIsLinear: empty lines are counted, not held.
func TestBodyIsLinear(t *testing.T) {
	z := zone{}
	key := newKey(t, z, "a.test", "s", true)
	h, _ := split(t, plain)
	c, err := arc.Validate(t.Context(), z, h, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	body := func() io.Reader {
		return io.MultiReader(strings.NewReader("a"), strings.NewReader(strings.Repeat("\r\n", 5<<20)), strings.NewReader("b"))
	}
	fields, err := c.Seal(key, "x", body(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h, _ = split(t, string(fields)+plain)
	if c, err = arc.Validate(t.Context(), z, h, body()); err != nil || c.Result != arc.Pass {
		t.Errorf("%s (%s), %v", c.Result, c.Reason, err)
	}
}
