package spf_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
	"buzon/mx/spf"
)

// differs are the cases of the suite whose outcome is another one here, and why.
var differs = map[string]struct {
	result spf.Result
	why    string
}{
	"a-colon-domain":            {spf.PermError, "no host name holds a slash"},
	"a-colon-domain-ip4mapped":  {spf.PermError, "no host name holds a slash"},
	"mx-colon-domain":           {spf.PermError, "no host name holds a slash"},
	"mx-colon-domain-ip4mapped": {spf.PermError, "no host name holds a slash"},
	"macro-mania-in-domain":     {spf.Fail, "no name is asked for that holds spaces and percent signs"},
	"p-macro-multiple":          {spf.Neutral, "RFC 7208 7.2 advises against the p macro: it is always unknown"},
}

// TestRFC7208 runs the suite that the SPF community keeps. The files are made
// from its YAML: a zone, and name | helo | address | reverse-path | results.
func TestRFC7208(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc7208/*.txt")
	if err != nil || len(files) != 16 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- zone --\n")
		zone, cases, _ := strings.Cut(rest, "-- cases --\n")
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			r := dnstest.NewClient(t, zone)
			for line := range strings.Lines(cases) {
				f := strings.Split(strings.TrimSuffix(line, "\n"), " | ")
				if len(f) != 5 {
					t.Fatalf("line %q", line)
				}
				got := runCase(t, r, f[1], f[2], unescape(t, f[3]))
				want := strings.Fields(f[4])
				if d, ok := differs[f[0]]; ok {
					if want = []string{string(d.result)}; d.why == "" || slices.Contains(strings.Fields(f[4]), string(d.result)) {
						t.Errorf("%s: is listed as a difference without being one", f[0])
					}
				}
				if !slices.Contains(want, string(got.Result)) {
					t.Errorf("%s: %s from %s: %+v, want %v", f[0], f[2], f[3], got, want)
				}
			}
		})
	}
}

// runCase takes the reverse-path apart at its last "@", as the protocol does,
// whatever else there is in it.
func runCase(t *testing.T, r *dns.Client, helo, host, from string) spf.Check {
	t.Helper()
	ip, err := netip.ParseAddr(host)
	if err != nil {
		t.Fatal(err)
	}
	var a smtp.Address
	if i := strings.LastIndexByte(from, '@'); i >= 0 {
		a = smtp.Address{Local: from[:i], Domain: from[i+1:]}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return spf.MailFrom(ctx, r, ip, helo, a)
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		n, err := strconv.Atoi(s[i+1 : i+4])
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b.WriteByte(byte(n))
		i += 3
	}
	return b.String()
}

func TestIdentities(t *testing.T) {
	r := dnstest.NewClient(t, `
a.test.      TXT "v=spf1 ip4:192.0.2.1 -all"
evil.test.   TXT "v=spf1 +all"
slow.test.   TXT "v=spf1 include:broken.test -all"
! servfail broken.test.
! servfail down.test.
`)
	ip := netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		helo   string
		from   smtp.Address
		ip     netip.Addr
		domain string
		want   spf.Result
	}{
		{"mx.a.test", smtp.Address{Local: "ana", Domain: "a.test"}, ip, "a.test", spf.Pass},
		{"mx.a.test", smtp.Address{Local: "ana", Domain: "a.test"}, netip.MustParseAddr("192.0.2.2"), "a.test", spf.Fail},
		{"mx.a.test", smtp.Address{Local: "", Domain: "a.test"}, netip.MustParseAddr("::ffff:192.0.2.1"), "a.test", spf.Pass},
		{"a.test", smtp.Address{}, ip, "a.test", spf.Pass}, // RFC 7208 2.4
		{"[192.0.2.1]", smtp.Address{}, ip, "", spf.None},
		{"localhost", smtp.Address{}, ip, "", spf.None},
		{"x", smtp.Address{Local: "x@evil.test", Domain: "a.test"}, netip.MustParseAddr("192.0.2.9"), "a.test", spf.Fail},
		{"x", smtp.Address{Local: "x", Domain: "[192.0.2.1]"}, ip, "", spf.None},
		{"x", smtp.Address{Local: "x", Domain: "nothing.test"}, ip, "nothing.test", spf.None},
		{"x", smtp.Address{Local: "x", Domain: "down.test"}, ip, "down.test", spf.TempError},
		{"x", smtp.Address{Local: "x", Domain: "slow.test"}, ip, "slow.test", spf.TempError},
	} {
		got := spf.MailFrom(t.Context(), r, tt.ip, tt.helo, tt.from)
		if got.Result != tt.want || got.Domain != tt.domain {
			t.Errorf("MailFrom(%v, %s, %v) = %+v, want %s for %q", tt.ip, tt.helo, tt.from, got, tt.want, tt.domain)
		}
	}
	if got := spf.Helo(t.Context(), r, ip, "a.test"); got.Result != spf.Pass {
		t.Errorf("Helo = %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := spf.Helo(ctx, r, ip, "late.test"); got.Result != spf.TempError {
		t.Errorf("after the time is up: %+v, want temperror", got)
	}
}

// Whatever a policy says, the result is one of the seven, at most 10 terms ask
// and the evaluation ends.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{
		"v=spf1 -all", "v=spf1 include:x.test ~all", "v=spf1 redirect=x.test", "v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} a/24//64 ?all",
		"v=spf1 ip6:2001:db8::/32 mx:%{o}/0 ptr -all exp=%{c}", "v=spf1 a:" + strings.Repeat("%{s}.", 50) + "test -all",
	} {
		f.Add(seed)
	}
	results := []spf.Result{spf.None, spf.Neutral, spf.Pass, spf.Fail, spf.SoftFail, spf.TempError, spf.PermError}
	f.Fuzz(func(t *testing.T, policy string) {
		r := &everywhere{policy: policy}
		got := spf.MailFrom(t.Context(), r, netip.MustParseAddr("192.0.2.1"), "helo.test", smtp.Address{Local: "a", Domain: "x.test"})
		if !slices.Contains(results, got.Result) {
			t.Errorf("policy %q: %+v", policy, got)
		}
		if r.asked > 1+10*11 { // each mx term may ask for ten addresses
			t.Errorf("policy %q asked %d times", policy, r.asked)
		}
	})
}

// everywhere has one policy for every name, and no addresses.
type everywhere struct {
	policy string
	asked  int
}

func (r *everywhere) TXT(context.Context, string) ([]string, dns.Answer, error) {
	r.asked++
	return []string{r.policy}, dns.Answer{}, nil
}

func (r *everywhere) MX(context.Context, string) ([]dns.MX, dns.Answer, error) {
	r.asked++
	return []dns.MX{{Host: "a.test"}, {Host: "b.test"}}, dns.Answer{}, nil
}

func (r *everywhere) Addrs(context.Context, string) ([]netip.Addr, dns.Answer, error) {
	r.asked++
	return nil, dns.Answer{}, dns.ErrNoData
}

func (r *everywhere) PTR(context.Context, netip.Addr) ([]string, dns.Answer, error) {
	r.asked++
	return []string{"a.test"}, dns.Answer{}, nil
}
