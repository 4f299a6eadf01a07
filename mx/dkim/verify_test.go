package dkim_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/message"
	"buzon/mx/dkim"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

var update = flag.Bool("update", false, "write the .want files anew")

// split takes a message apart as the server does.
func split(t testing.TB, text string) (*message.Header, io.Reader) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(text))
	h, err := message.ReadHeader(r, message.HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func verify(t testing.TB, r dkim.Resolver, text string) []dkim.Signature {
	t.Helper()
	h, body := split(t, text)
	list, err := dkim.Verify(t.Context(), r, h, body, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestVerifyFiles: NN-topic.msg with the keys of NN-topic.dns has the results
// of NN-topic.want, one line for each signature.
func TestVerifyFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/verify/*.msg")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".msg")
		t.Run(filepath.Base(base), func(t *testing.T) {
			msg, zone := read(t, file), read(t, base+".dns")
			var got strings.Builder
			for _, s := range verify(t, dnstest.NewClient(t, zone), crlf(msg)) {
				fmt.Fprintf(&got, "%s d=%s s=%s a=%s b=%s bits=%d testing=%t (%s)\n", s.Result, s.Domain, s.Selector, s.Algorithm, s.Short, s.KeyBits, s.Testing, s.Reason)
			}
			if *update {
				if err := os.WriteFile(base+".want", []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := read(t, base+".want"); got.String() != want {
				t.Errorf("got\n%swant\n%s", got.String(), want)
			}
		})
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testKeys are a key of each kind at test.example, and their zone.
func testKeys(t testing.TB) ([]dkim.Key, string) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := []dkim.Key{{Domain: "test.example", Selector: "e", Private: ed}, {Domain: "test.example", Selector: "r", Private: r}}
	var zone strings.Builder
	for _, k := range keys {
		zone.WriteString(zoneLine(t, k.Name(), k.Private.Public()))
	}
	return keys, zone.String()
}

func zoneLine(t testing.TB, name string, pub crypto.PublicKey) string {
	t.Helper()
	text, err := dkim.Record(pub)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s. TXT", name)
	for ; len(text) > 0; text = text[min(200, len(text)):] {
		fmt.Fprintf(&b, " %q", text[:min(200, len(text))])
	}
	return b.String() + "\n"
}

const plain = "From: Ana <ana@test.example>\r\nTo: <luis@far.test>\r\nSubject: prueba\r\n" +
	"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@test.example>\r\n\r\nhola\r\n"

// messages are shapes that a canonicalization may trip over.
var messages = map[string]string{
	"plain":        plain,
	"no body":      strings.TrimSuffix(plain, "hola\r\n"),
	"no end":       strings.TrimSuffix(plain, "\r\n\r\nhola\r\n"),
	"header alone": strings.TrimSuffix(plain, "\r\nhola\r\n"),
	"empty lines":  plain + "\r\n\r\n\r\n",
	"spaces":       plain + "a  \t b \r\n \r\n\t\r\n",
	"no last end":  plain + "the end",
	"eight bit":    strings.Replace(plain, "prueba", "ñandú", 1) + "ñ\r\n",
	"folded":       strings.Replace(plain, "prueba", "a\r\n b\r\n\tc  ", 1),
	"long line":    plain + strings.Repeat("x", 5000) + "\r\n",
	"large":        plain + strings.Repeat("0123456789abcdef\r\n", 20000),
	"old signature": "DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=y; h=from; bh=AAAA; b=AAAA\r\n" +
		plain,
}

func sign(t testing.TB, keys []dkim.Key, text string) string {
	t.Helper()
	h, body := split(t, text)
	fields, err := dkim.Sign(keys, h, body)
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + text
}

func TestSignThenVerify(t *testing.T) {
	keys, zone := testKeys(t)
	r := dnstest.NewClient(t, zone)
	for name, text := range messages {
		signed := sign(t, keys, text)
		for i, s := range verify(t, r, signed)[:2] {
			if s.Result != dkim.Pass || s.Domain != "test.example" {
				t.Errorf("%s: signature %d: %+v\n%s", name, i, s, signed[:min(len(signed), 3000)])
			}
		}
	}
}

// TestOversigned: what readers show or act upon cannot be added.
func TestOversigned(t *testing.T) {
	keys, zone := testKeys(t)
	r := dnstest.NewClient(t, zone)
	signed := sign(t, keys, plain)
	for _, added := range []string{
		"From: <eva@attack.test>", "Subject: other", "To: <x@y.test>", "Date: now", "Reply-To: <eva@attack.test>",
		"Content-Type: text/html", "MIME-Version: 1.0", "Content-Transfer-Encoding: base64", "Cc: <x@y.test>", "In-Reply-To: <x@y>",
	} {
		for _, s := range verify(t, r, added+"\r\n"+signed) {
			if s.Result != dkim.Fail {
				t.Errorf("with %q added: %+v", added, s)
			}
		}
	}
	for _, added := range []string{"Received: from a by b; now", "List-Id: <x.y>", "X-Spam: no", "Sender: <list@x.test>"} {
		for _, s := range verify(t, r, added+"\r\n"+signed) {
			if s.Result != dkim.Pass {
				t.Errorf("with %q added: %+v", added, s)
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	keys, _ := testKeys(t)
	h, body := split(t, strings.Repeat("Subject: x\r\n", 50)+plain)
	if _, err := dkim.Sign(keys, h, body); err == nil {
		t.Error("a message with 51 subjects was signed")
	}
	h, _ = split(t, plain)
	if _, err := dkim.Sign(keys, h, io.MultiReader(strings.NewReader("x"), broken{})); err == nil {
		t.Error("a message that cannot be read was signed")
	}
	if _, err := dkim.Verify(t.Context(), dnstest.NewClient(t, ""), mustHeader(sign(t, keys, plain)), broken{}, time.Now()); err == nil {
		t.Error("a message that cannot be read was verified")
	}
}

func mustHeader(text string) *message.Header { return message.ParseHeader([]byte(text)) }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestKeySizes: RFC 8301 3.2, and an upper bound of our own.
func TestKeySizes(t *testing.T) {
	for bits, want := range map[int]dkim.Result{512: dkim.PermError, 1016: dkim.PermError, 4096: dkim.Fail, 4104: dkim.Policy} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		pub := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
		forged := "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=test.example; s=s; h=from; bh=AAAA; b=AAAA\r\n" + plain
		got := verify(t, dnstest.NewClient(t, zoneLine(t, "s._domainkey.test.example", pub)), forged)
		if len(got) != 1 || got[0].Result != want || got[0].KeyBits != bits {
			t.Errorf("%d bits: %+v, want %s", bits, got, want)
		}
	}
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	key := dkim.Key{Domain: "test.example", Selector: "s", Private: private}
	got := verify(t, dnstest.NewClient(t, zoneLine(t, key.Name(), private.Public())), sign(t, []dkim.Key{key}, plain))
	if len(got) != 1 || got[0].Result != dkim.Pass || got[0].KeyBits != 1024 {
		t.Errorf("1024 bits: %+v", got)
	}
}

// TestWorkIsBounded: what would take the library minutes is refused at once.
func TestWorkIsBounded(t *testing.T) {
	keys, zone := testKeys(t)
	r := dnstest.NewClient(t, zone)
	for _, c := range []string{"simple/simple", "relaxed/relaxed"} {
		field := "DKIM-Signature: v=1; a=rsa-sha256; c=" + c + "; d=test.example; s=r; h=from; bh=AAAA; b=AAAA\r\n"
		h, _ := split(t, strings.Repeat(field, 50)+plain)
		body := io.LimitReader(repeated("\r\n"), 50<<20)
		list, err := dkim.Verify(t.Context(), r, h, body, time.Now())
		if err != nil || len(list) != 5 {
			t.Fatalf("%d signatures, %v", len(list), err)
		}
		for _, s := range list {
			if s.Result != dkim.Policy {
				t.Errorf("empty lines, %s: %+v", c, s)
			}
		}
	}
	many := "DKIM-Signature: v=1; a=rsa-sha256; d=test.example; s=r; h=from" + strings.Repeat(":x", 40000) + "; bh=AAAA; b=AAAA\r\n"
	if s := verify(t, r, many+plain); len(s) != 1 || s[0].Result != dkim.Policy {
		t.Errorf("many names: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, body := split(t, sign(t, keys, plain))
	list, err := dkim.Verify(ctx, dnstest.NewClient(t, zone), h, body, time.Now())
	if err != nil || len(list) != 2 || list[0].Result != dkim.TempError {
		t.Errorf("after the time is up: %+v, %v", list, err)
	}
}

// repeated is a text without end.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	n := copy(p, bytes.Repeat([]byte(r), len(p)/len(r)+1))
	return n - n%len(r), nil
}

// Whatever a header holds, there are at most five results, each with a word
// that we know, and nothing of a stranger's in what may be printed.
func FuzzVerify(f *testing.F) {
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=test.example; s=r; h=from; bh=AAAA; b=AAAA\r\nFrom: <a@b>\r\n\r\nx\r\n", "v=DKIM1; p=AAAA")
	f.Add("dkim-signature:d=x;s=\x00\r\n\r\n", "p=;t=s:y")
	f.Fuzz(func(t *testing.T, text, record string) {
		r := bufio.NewReader(strings.NewReader(text))
		h, err := message.ReadHeader(r, message.HeaderLimits{})
		if err != nil {
			t.Skip()
		}
		list, err := dkim.Verify(t.Context(), one(record), h, r, time.Now())
		if err != nil || len(list) > 5 {
			t.Errorf("%d signatures, %v", len(list), err)
		}
		for _, s := range list {
			switch s.Result {
			case dkim.Fail, dkim.Policy, dkim.TempError, dkim.PermError:
			case dkim.Pass:
				t.Error("a signature was forged")
			default:
				t.Errorf("result %q", s.Result)
			}
			if text := s.Domain + s.Selector + s.Short; strings.ContainsAny(text, " ;()\"'\\\r\n\x00") {
				t.Errorf("%q may not be printed", text)
			}
		}
	})
}

// one has one text for every name.
type one string

func (o one) TXT(context.Context, string) ([]string, dns.Answer, error) {
	return []string{string(o)}, dns.Answer{}, nil
}

func BenchmarkVerify(b *testing.B) {
	keys, zone := testKeys(b)
	r := dnstest.NewClient(b, zone)
	for _, size := range []int{2 << 10, 1 << 20} {
		text := plain + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", size/34)
		for name, keys := range map[string][]dkim.Key{"rsa": keys[1:], "both": keys} {
			signed := sign(b, keys, text)
			b.Run(fmt.Sprintf("%s/%dk", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(len(signed)))
				for b.Loop() {
					verify(b, r, signed)
				}
			})
		}
	}
}
