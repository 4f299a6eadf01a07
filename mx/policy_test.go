package mx

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
	"buzon/mx/tlsrpt"
)

// sts keeps a policy for x.test, as if it had been fetched yesterday. Nothing
// can be fetched: the world has no TXT records.
func (w *world) sts(mode, host string) *mtasts.Cache {
	dir := w.t.TempDir()
	text := fmt.Sprintf("buzon-mta-sts 1\nid 1\nfetched %s\n\nversion: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 604800\r\n",
		time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339), mode, host)
	if err := os.WriteFile(filepath.Join(dir, "x.test"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	c, err := mtasts.Open(mtasts.Config{Dir: dir, Resolver: noTXT{w}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

type noTXT struct{ *world }

func (w noTXT) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "TXT", Err: errors.New("SERVFAIL")}
}

// key is the TLSA data of the hosts' certificate: DANE-EE, its key, SHA-256.
func (w *world) key() []byte {
	leaf, err := x509.ParseCertificate(w.cert.Certificate[0])
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return sum[:]
}

// TestTLSPolicies is T08, T10 and D07 of the fault catalogue: which policy lets
// a message through to which host, and that none of it goes in plain text where
// one forbids that.
func TestTLSPolicies(t *testing.T) {
	plain := strings.Replace(takes, "250 mx.x.test", "250 mx.x.test", 1)
	secure := startTLS + "220 go\n*tls" + afterTLS
	failsTLS := startTLS + "220 go\n*tls"
	requires := strings.NewReplacer("250 mx.x.test\n> MAIL FROM:<me@us.test>", "250-mx.x.test\n250 REQUIRETLS\n> MAIL FROM:<me@us.test> REQUIRETLS").Replace(secure)
	const (
		none = "none"
		good = "good" // the certificate is for the host and of a trusted authority
		name = "name" // it is for another host
		self = "self" // nobody vouches for it
	)
	for _, tt := range []struct {
		about  string
		sts    string // mode and pattern
		tlsa   string // "right", "wrong", "strange", or an error's name
		signed bool
		need   smtp.TLSNeed
		cert   string
		script string
		want   string
		policy string
		result tlsrpt.Result
	}{
		{"no policy, no TLS", "", "", false, "", none, plain, "250 2.0.0", "none", tlsrpt.NoSTARTTLS},
		{"no policy, any certificate", "", "", false, "", self, secure, "250 2.0.0", "none", ""},
		{"enforce", "enforce mx.x.test", "", false, "", good, secure, "250 2.0.0", "mta-sts", ""},
		{"enforce, pattern", "enforce *.x.test", "", false, "", good, secure, "250 2.0.0", "mta-sts", ""},
		{"enforce, STARTTLS stripped", "enforce mx.x.test", "", false, "", none, greeted + done, "451 4.7.4 local", "mta-sts", tlsrpt.NoSTARTTLS},
		{"enforce, STARTTLS refused", "enforce mx.x.test", "", false, "", none, startTLS + "454 4.7.0 no\n" + done, "451 4.7.4 local", "mta-sts", tlsrpt.NoSTARTTLS},
		{"enforce, wrong name", "enforce mx.x.test", "", false, "", name, failsTLS, "451 4.7.5 local", "mta-sts", tlsrpt.HostMismatch},
		{"enforce, unknown authority", "enforce mx.x.test", "", false, "", self, failsTLS, "451 4.7.5 local", "mta-sts", tlsrpt.NotTrusted},
		{"enforce, host not in it", "enforce other.x.test", "", false, "", good, "", "451 4.7.0 local", "mta-sts", tlsrpt.ValidationFailure},
		{"testing, wrong name", "testing mx.x.test", "", false, "", name, secure, "250 2.0.0", "mta-sts-testing", tlsrpt.HostMismatch},
		{"testing, no TLS", "testing mx.x.test", "", false, "", none, plain, "250 2.0.0", "mta-sts-testing", tlsrpt.NoSTARTTLS},
		{"testing, host not in it", "testing other.x.test", "", false, "", good, secure, "250 2.0.0", "mta-sts-testing", tlsrpt.ValidationFailure},
		{"mode none", "none mx.x.test", "", false, "", none, plain, "250 2.0.0", "none", tlsrpt.NoSTARTTLS},

		{"DANE, wrong name does not matter", "", "right", true, "", name, secure, "250 2.0.0", "dane", ""},
		{"DANE goes before MTA-STS", "enforce other.x.test", "right", true, "", self, secure, "250 2.0.0", "dane", ""},
		{"DANE, wrong TLSA", "", "wrong", true, "", good, failsTLS, "451 4.7.5 local", "dane", tlsrpt.TLSAInvalid},
		{"DANE, STARTTLS stripped", "", "right", true, "", none, greeted + done, "451 4.7.4 local", "dane", tlsrpt.NoSTARTTLS},
		{"DANE, not signed: no DANE", "", "wrong", false, "", self, secure, "250 2.0.0", "none", ""},
		{"DANE, bogus", "", "servfail", true, "", good, "", "451 4.7.5 local", "none", tlsrpt.DNSSECInvalid},
		{"DANE, records that nobody understands: any certificate", "", "strange", true, "", self, secure, "250 2.0.0", "dane-encrypt", ""},
		{"DANE, records that nobody understands: no TLS", "", "strange", true, "", none, greeted + done, "451 4.7.4 local", "dane-encrypt", tlsrpt.NoSTARTTLS},
		{"DANE, no records: MTA-STS", "enforce mx.x.test", "nodata", true, "", self, failsTLS, "451 4.7.5 local", "mta-sts", tlsrpt.NotTrusted},

		{"TLS-Required: No", "enforce other.x.test", "wrong", true, smtp.TLSOptional, none, plain, "250 2.0.0", "none", tlsrpt.NoSTARTTLS},
		{"REQUIRETLS", "", "nodata", true, smtp.TLSRequired, good, requires, "250 2.0.0", "requiretls", ""},
		{"REQUIRETLS under DANE", "", "right", true, smtp.TLSRequired, self, requires, "250 2.0.0", "dane", ""},
		{"REQUIRETLS, no TLS", "", "nodata", true, smtp.TLSRequired, none, greeted + done, "550 5.7.10 local", "requiretls", tlsrpt.NoSTARTTLS},
		{"REQUIRETLS, unknown authority", "", "nodata", true, smtp.TLSRequired, self, failsTLS, "451 4.7.5 local", "requiretls", tlsrpt.NotTrusted},
		{"REQUIRETLS, not promised", "enforce mx.x.test", "", false, smtp.TLSRequired, good, strings.Split(secure, "> MAIL")[0] + done, "550 5.7.30 local", "mta-sts", ""},
		{"REQUIRETLS, nobody vouches for the host", "", "", false, smtp.TLSRequired, good, "", "550 5.7.30 local", "requiretls", ""},
	} {
		t.Run(tt.about, func(t *testing.T) {
			w := oneHost(t, tt.script)
			switch tt.cert {
			case name:
				w.withCertificate("mx.elsewhere.test", true)
			default:
				w.withCertificate("mx.x.test", tt.cert == good)
			}
			w.signed = tt.signed
			right := dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: w.key()}
			switch tt.tlsa {
			case "right":
				w.tlsa = map[string][]dns.TLSA{"mx.x.test": {right}}
			case "wrong":
				w.tlsa = map[string][]dns.TLSA{"mx.x.test": {{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}}}
			case "strange":
				w.tlsa = map[string][]dns.TLSA{"mx.x.test": {{Usage: 1, Selector: 1, MatchingType: 1, Data: w.key()}}}
			default:
				w.tlsaTrouble = tt.tlsa
			}
			reports, err := tlsrpt.Open("", nil)
			if err != nil {
				t.Fatal(err)
			}
			c := w.client(func(cfg *Config) {
				cfg.Reports = reports
				if mode, host, ok := strings.Cut(tt.sts, " "); ok {
					cfg.STS = w.sts(mode, host)
				}
			})
			env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, TLS: tt.need, To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
			r := c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello)))[0]
			c.Close()
			w.servers.Wait()
			want(t, []string{outcome(r)}, tt.want)
			if r.Policy != tt.policy {
				t.Errorf("policy %q, want %q; %v", r.Policy, tt.policy, r.Err)
			}
			if got := reports.Results("x.test"); tt.result == "" && len(got) != 0 || tt.result != "" && (len(got) == 0 || got[0] != tt.result) {
				t.Errorf("reported %q, want %q", got, tt.result)
			}
			if tt.script == "" && len(w.dialled) > 0 {
				t.Errorf("dialled %q", w.dialled)
			}
		})
	}
}

// TestLevels: a domain that had better TLS before is told of, once a day, over
// restarts.
func TestLevels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tls-levels")
	open := func() *levels {
		t.Helper()
		l, err := openLevels(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	for _, tt := range []struct {
		domain string
		now    level
		worse  bool
	}{{"x.test", plainText, false}, {"x.test", verifiedTLS, false}, {"x.test", verifiedTLS, false}, {"x.test", someTLS, true}, {"x.test", plainText, false}, {"y.test", someTLS, false}} {
		if _, worse := l.note(tt.domain, tt.now); worse != tt.worse {
			t.Errorf("%s %s: worse is %v", tt.domain, tt.now, worse)
		}
	}
	l.close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "rubbish\ny.test verif")
	f.Close()
	l = open()
	defer l.close()
	if best, worse := l.note("x.test", plainText); best != verifiedTLS || !worse {
		t.Errorf("best %s, worse %v", best, worse)
	}
	if best, worse := l.note("y.test", plainText); best != someTLS || !worse {
		t.Errorf("best %s, worse %v", best, worse)
	}
}
