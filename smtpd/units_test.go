package smtpd

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"buzon/internal/smtp"
)

func TestSpooled(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789", 20_000)
	for _, n := range []int{0, 1, memorySpool, memorySpool + 1, len(text)} {
		s := newSpooled(dir)
		for rest := text[:n]; rest != ""; {
			piece := rest[:min(len(rest), 7777)]
			if _, err := io.WriteString(s, piece); err != nil {
				t.Fatal(err)
			}
			rest = rest[len(piece):]
		}
		if inFile := s.file != nil; inFile != (n > memorySpool) {
			t.Errorf("%d octets: in a file %v", n, inFile)
		}
		got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
		if err != nil || string(got) != text[:n] {
			t.Errorf("%d octets: read %d, %v", n, len(got), err)
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%d octets: %v has a name", n, files)
		}
		s.Close()
	}
	s := newSpooled(dir + "/missing")
	if _, err := s.Write(make([]byte, memorySpool+1)); err == nil {
		t.Error("written to a directory that is not there")
	}
}

func TestAuthservID(t *testing.T) {
	for value, want := range map[string]string{
		"mx.test; none": "mx.test", "mx.test 1; none": "mx.test", " \"mx.test\"; x": "mx.test", "(a (b\\)) c) mx.test;": "mx.test",
		"mx.test(x);": "mx.test", "": "", "(": "", "(((": "",
	} {
		if got := authservID(value); got != want {
			t.Errorf("authservID(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestProtocol(t *testing.T) {
	for want, tt := range map[string]struct {
		extended, utf8, tls, user, lmtp bool
	}{
		"SMTP": {}, "ESMTP": {extended: true}, "ESMTPS": {extended: true, tls: true}, "ESMTPSA": {extended: true, tls: true, user: true},
		"UTF8SMTP": {extended: true, utf8: true}, "UTF8SMTPS": {extended: true, utf8: true, tls: true}, "UTF8SMTPSA": {extended: true, utf8: true, tls: true, user: true},
		"LMTP": {extended: true, lmtp: true}, "UTF8LMTP": {extended: true, utf8: true, lmtp: true},
	} {
		c := &client{srv: NewIncoming(Config{})}
		if tt.lmtp {
			c.srv = NewLMTP(Config{})
		}
		if tt.tls {
			c.tls = new(tls.ConnectionState)
		}
		if tt.user {
			c.user = "ana"
		}
		if got := protocol(&transaction{extended: tt.extended, env: smtp.Envelope{UTF8: tt.utf8}}, c); got != want {
			t.Errorf("%+v: %s, want %s", tt, got, want)
		}
	}
}

// S16: what a client calls itself cannot break the trace field.
func TestReceivedIsSafe(t *testing.T) {
	for _, helo := range []string{"a b", "x\ty", "(", "a;b", "<>", strings.Repeat("x.", 200), "ñ", "-", "[1.2.3", "\x7f"} {
		c := &client{srv: NewIncoming(Config{}), ip: netip.MustParseAddr("2001:db8::1")}
		got := received(&transaction{helo: helo, id: "i"}, "mx.test", c)
		if !bytes.HasPrefix(got, []byte("Received: from unknown ([IPv6:2001:db8::1])\r\n")) && helo != "ñ" {
			t.Errorf("%q: %q", helo, got)
		}
		for _, line := range bytes.Split(bytes.TrimSuffix(got, []byte("\r\n")), []byte("\r\n\t")) {
			if len(line) > 78 || bytes.ContainsAny(line, "\r\n\t") {
				t.Errorf("%q: line %q", helo, line)
			}
		}
	}
}

func TestPathEnd(t *testing.T) {
	for args, params := range map[string]string{
		"FROM:<a@b>": "", "from:<a@b> SIZE=1": " SIZE=1", `FROM:<"> "@b> X`: " X", `FROM:<"\">"@b> Y`: " Y", "FROM: <> Z": " Z",
	} {
		if _, got, ok := cutPath(args, "FROM:"); !ok || got != params {
			t.Errorf("cutPath(%q) = %q, %v", args, got, ok)
		}
	}
	for _, args := range []string{"", "FROM", "FROM:", "FROM:a@b", "FROM:<a@b>x", "FROM:<a@b", `FROM:<"a@b>`, "TO:<a@b>", "FROM <a@b>", "FROM:<a@b>\tSIZE=1"} {
		if a, _, ok := cutPath(args, "FROM:"); ok {
			t.Errorf("cutPath(%q) = %v", args, a)
		}
	}
}
