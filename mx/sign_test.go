package mx_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx"
	"buzon/mx/dkim"
	"buzon/mx/dns/dnstest"
)

// carrier keeps what it is given to send.
type carrier struct{ text []string }

func (c *carrier) Send(_ context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result {
	text, err := io.ReadAll(io.NewSectionReader(msg, 0, size))
	if err != nil || int64(len(text)) != size {
		return []smtp.Result{{Err: errors.New("cut")}}
	}
	// Whoever reads anywhere gets what stands there.
	for _, at := range []int{0, 7, len(text) / 2, len(text) - 1} {
		b := make([]byte, 33)
		n, _ := msg.ReadAt(b, int64(at))
		if string(b[:n]) != string(text[at:min(at+33, len(text))]) {
			return []smtp.Result{{Err: errors.New("another text at an offset")}}
		}
	}
	c.text = append(c.text, string(text))
	return []smtp.Result{{Recipient: env.To[0].Address, Reply: smtp.NewReply(250, [3]int{2, 0, 0}, "ok")}}
}

// ring has keys for a.test and b.test.
type ring struct{ broken bool }

func (r *ring) Active(domain string) ([]dkim.Key, error) {
	if r.broken || domain == "keyless.test" {
		return nil, dkim.ErrNoKey
	}
	return []dkim.Key{{Domain: domain, Selector: "s", Private: testKey}}, nil
}

func TestSigner(t *testing.T) {
	out, keys := &carrier{}, &ring{}
	var log strings.Builder
	local := func(d string) bool { return d == "a.test" || d == "b.test" || d == "keyless.test" || d == "mx.a.test" }
	s := mx.NewSigner(mx.SignerConfig{
		Next: out, Keys: keys, IsLocal: local, Log: slog.New(slog.NewTextHandler(&log, nil)),
		SigningDomain: func(d string) (string, bool) {
			switch {
			case d == "open.test":
				return d, false
			case d == "b.test" || d == "keyless.test":
				return d, true
			}
			return "a.test", true
		},
	})
	zone := keyRecord("a.test") + keyRecord("b.test")
	r := dnstest.NewClient(t, zone)
	send := func(author, from string) []smtp.Result {
		t.Helper()
		text := "From: " + author + "\r\nSubject: x\r\n\r\nhola\r\n"
		path, err := smtp.ParsePath("<" + from + ">")
		if err != nil {
			t.Fatal(err)
		}
		env := smtp.Envelope{From: path, To: []smtp.Recipient{{Address: smtp.Address{Local: "x", Domain: "far.test"}}}}
		return s.Send(t.Context(), env, strings.NewReader(text), int64(len(text)))
	}
	for _, tt := range []struct{ what, author, from, domain string }{
		{"a user's", "ana@a.test", "ana@a.test", "a.test"},
		{"another domain's", "eva@b.test", "eva@b.test", "b.test"},
		{"the author counts", "eva@b.test", "ana@a.test", "b.test"},
		{"a notice of the host", "MAILER-DAEMON@mx.a.test", "", "a.test"},
		{"what is forwarded", "x@far.test", "SRS0=x=y=far.test=x@b.test", "b.test"},
		{"a foreign notice forwarded", "x@far.test", "", "a.test"},
	} {
		out.text = nil
		if res := send(tt.author, tt.from); !res[0].Done() || len(out.text) != 1 {
			t.Fatalf("%s: %+v", tt.what, res)
		}
		br := bufio.NewReader(strings.NewReader(out.text[0]))
		h, err := message.ReadHeader(br, message.HeaderLimits{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := dkim.Verify(t.Context(), r, h, br, time.Now())
		if err != nil || len(list) != 1 || list[0].Result != dkim.Pass || list[0].Domain != tt.domain {
			t.Errorf("%s: %+v, %v, want a signature of %s", tt.what, list, err, tt.domain)
		}
	}
	out.text = nil
	if send("x@far.test", "x@open.test"); len(out.text) != 1 || strings.Contains(out.text[0], "DKIM") {
		t.Errorf("a domain that does not sign: %q", out.text)
	}

	// What cannot be signed stays, and is no bounce.
	out.text, keys.broken = nil, true
	if res := send("ana@a.test", "ana@a.test"); len(out.text) != 0 || len(res) != 1 || !res[0].Temporary() || res[0].Recipient.Domain != "far.test" || res[0].Err != nil {
		t.Errorf("without a key: %+v, sent %q", res, out.text)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Error("nobody was told")
	}
}
