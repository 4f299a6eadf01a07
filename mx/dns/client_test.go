package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

// serve starts a name server for a zone text and returns a client that asks it
// and nothing else.
func serve(t *testing.T, text string, cfg dns.Config) (*dns.Client, *dnstest.Zone) {
	t.Helper()
	zone, err := dnstest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	server := dnstest.Start(t, zone)
	cfg.Servers = append(cfg.Servers, server.Addr())
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	c, err := dns.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, zone
}

const world = `
a.test.        MX 20 backup.a.test.
a.test.        MX 10 MX.a.test.
mx.a.test.     A 192.0.2.1
mx.a.test.     A 192.0.2.2
mx.a.test.     AAAA 2001:db8::1
six.a.test.    AAAA 2001:db8::6
null.test.     MX 0 .
odd.test.      MX 10 bad\032host.test.
odd.test.      MX 20 good.test.
worse.test.    MX 10 bad\000host.test.
alias.test.    CNAME a.test.
loop1.test.    CNAME loop2.test.
loop2.test.    CNAME loop1.test.
dangling.test. CNAME nowhere.test.
txt.test.      TXT "v=spf1 " "-all"
txt.test.      TXT "a \"quoted\" \\ \233"
xn--espaa-rta.test. MX 5 mx.a.test.
_25._tcp.mx.a.test. TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
1.2.0.192.in-addr.arpa. PTR mx.a.test.
2.2.0.192.in-addr.arpa. PTR evil\013\010host.test.
*.wild.test.   A 192.0.2.9
`

func TestRecords(t *testing.T) {
	c, _ := serve(t, world, dns.Config{})
	ctx := t.Context()
	format := func(v any, err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(v)
	}
	mx := func(name string) string { v, _, err := c.MX(ctx, name); return format(v, err) }
	addrs := func(name string) string { v, _, err := c.Addrs(ctx, name); return format(v, err) }
	txt := func(name string) string { v, _, err := c.TXT(ctx, name); return format(fmt.Sprintf("%q", v), err) }
	ptr := func(a string) string { v, _, err := c.PTR(ctx, netip.MustParseAddr(a)); return format(v, err) }
	cname := func(name string) string { v, _, err := c.CNAME(ctx, name); return format(v, err) }
	tlsa := func(name string) string { v, _, err := c.TLSA(ctx, name, 25); return format(len(v), err) }
	for _, tt := range []struct {
		name string
		ask  func(string) string
		want string
	}{
		{"a.test", mx, "[{10 mx.a.test} {20 backup.a.test}]"},
		{"A.Test.", mx, "[{10 mx.a.test} {20 backup.a.test}]"},
		{"España.test", mx, "[{5 mx.a.test}]"},
		{"null.test", mx, "[{0 .}]"},
		{"odd.test", mx, "[{20 good.test}]"},
		{"worse.test", mx, "dns MX worse.test: no MX record names a possible host"},
		{"alias.test", mx, "[{10 mx.a.test} {20 backup.a.test}]"},
		{"mx.a.test", mx, "dns MX mx.a.test: no record of the type"},
		{"nowhere.test", mx, "dns MX nowhere.test: no such domain"},
		{"dangling.test", mx, "dns MX dangling.test: no such domain"},
		{"a..test", mx, `dns MX "a..test": not a possible domain name`},
		{"a b.test", mx, `dns MX "a b.test": not a possible domain name`},
		{"", mx, `dns MX "": not a possible domain name`},
		{strings.Repeat("a", 64) + ".test", cname, "dns CNAME \"" + strings.Repeat("a", 64) + ".test\": not a possible domain name"},
		{"mx.a.test", addrs, "[2001:db8::1 192.0.2.1 192.0.2.2]"},
		{"six.a.test", addrs, "[2001:db8::6]"},
		{"x.wild.test", addrs, "[192.0.2.9]"},
		{"a.test", addrs, "dns AAAA a.test: no record of the type"},
		{"nowhere.test", addrs, "dns AAAA nowhere.test: no such domain"},
		{"localhost", addrs, "[::1 127.0.0.1]"},
		{"txt.test", txt, `["v=spf1 -all" "a \"quoted\" \\ \xe9"]`},
		{"192.0.2.1", ptr, "[mx.a.test]"},
		{"::ffff:192.0.2.1", ptr, "[mx.a.test]"},
		{"192.0.2.2", ptr, "dns PTR 2.2.0.192.in-addr.arpa: no record of the type"},
		{"alias.test", cname, "a.test"},
		{"a.test", cname, "dns CNAME a.test: no record of the type"},
		{"mx.a.test", tlsa, "1"},
	} {
		if got := tt.ask(tt.name); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestFinalErrors(t *testing.T) {
	c, _ := serve(t, world+`
! servfail fail.test.
! refused  refused.test.
! cut      cut.test.
! malformed malformed.test.
! mismatch mismatch.test.
! timeout  slow.test.
`, dns.Config{Timeout: 200 * time.Millisecond})
	for name, want := range map[string]error{
		"nowhere.test": dns.ErrNoSuchDomain, "dangling.test": dns.ErrNoSuchDomain, "mx.a.test": dns.ErrNoData, "a..b": dns.ErrBadName,
		"fail.test": nil, "refused.test": nil, "cut.test": nil, "malformed.test": nil, "mismatch.test": nil, "slow.test": nil,
		"loop1.test": nil, "worse.test": nil,
	} {
		_, _, err := c.MX(t.Context(), name)
		var typed *dns.Error
		if !errors.As(err, &typed) {
			t.Errorf("MX(%s) = %v, want a *dns.Error", name, err)
			continue
		}
		if final := want != nil; dns.NotFound(err) != final || typed.Temporary() == final || want != nil && !errors.Is(err, want) {
			t.Errorf("MX(%s) = %v, want %v", name, err, want)
		}
	}
}

func TestTruncationAndEDNS(t *testing.T) {
	var big strings.Builder
	for i := range 100 { // about 6 kB
		fmt.Fprintf(&big, "big.test. TXT \"%03d%s\"\n", i, strings.Repeat("x", 50))
	}
	c, zone := serve(t, world+big.String()+"! truncate mx.a.test. A\n! noedns a.test. MX\n", dns.Config{})
	if texts, _, err := c.TXT(t.Context(), "big.test"); err != nil || len(texts) != 100 {
		t.Errorf("TXT(big.test): %d texts, %v; want 100 over TCP", len(texts), err)
	}
	if n := zone.Asked("big.test", "TXT"); n != 2 {
		t.Errorf("big.test was asked %d times, want once over UDP, once over TCP", n)
	}
	if addrs, _, err := c.Addrs(t.Context(), "mx.a.test"); err != nil || len(addrs) != 3 {
		t.Errorf("Addrs after truncation: %v, %v", addrs, err)
	}
	if list, _, err := c.MX(t.Context(), "a.test"); err != nil || len(list) != 2 {
		t.Errorf("MX without EDNS: %v, %v", list, err)
	}
}

func TestHugeAnswersAreTrouble(t *testing.T) {
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "many.test. MX 10 h%d.test.\n", i)
	}
	for i := range 20 {
		fmt.Fprintf(&text, "c%d.test. CNAME c%d.test.\n", i, i+1)
	}
	for i := range 50 {
		fmt.Fprintf(&text, "7.2.0.192.in-addr.arpa. PTR h%d.test.\n", i)
	}
	text.WriteString("c20.test. MX 10 h.test.\n")
	c, _ := serve(t, text.String(), dns.Config{})
	for _, name := range []string{"many.test", "c0.test"} {
		if list, _, err := c.MX(t.Context(), name); err == nil || dns.NotFound(err) {
			t.Errorf("MX(%s) = %d records, %v; want a temporary error", name, len(list), err)
		}
	}
	if list, a, err := c.MX(t.Context(), "c12.test"); err != nil || len(list) != 1 || a.Canonical != "c20.test" {
		t.Errorf("MX(c12.test) = %v, %v, %v; want one record of c20.test after eight aliases", list, a, err)
	}
	if names, _, err := c.PTR(t.Context(), netip.MustParseAddr("192.0.2.7")); err != nil || len(names) != 10 {
		t.Errorf("PTR = %d names, %v; want 10", len(names), err)
	}
}

func TestAuthentic(t *testing.T) {
	c, zone := serve(t, world, dns.Config{})
	zone.Authenticate(true)
	if _, a, _ := c.MX(t.Context(), "a.test"); !a.Authentic {
		t.Error("the AD bit of a loopback resolver was not believed")
	}
	if _, a, err := c.TLSA(t.Context(), "nowhere.test", 25); !a.Authentic || !dns.NotFound(err) {
		t.Errorf("authenticated absence: %v, %v", a, err)
	}
	zone.Authenticate(false)
	if _, a, _ := c.MX(t.Context(), "null.test"); a.Authentic {
		t.Error("an answer without AD was called authentic")
	}
}

func TestAnotherServerIsAsked(t *testing.T) {
	dead := dnstest.MustParse("! servfail a.test.\n! timeout b.test.\n")
	server := dnstest.Start(t, dead)
	c, zone := serve(t, world+"b.test. MX 1 mx.b.test.\n", dns.Config{Servers: []string{server.Addr()}, Timeout: 300 * time.Millisecond})
	for _, name := range []string{"a.test", "b.test"} {
		if _, _, err := c.MX(t.Context(), name); err != nil {
			t.Errorf("MX(%s): %v", name, err)
		}
	}
	if dead.Asked("a.test", "MX") != 1 || dead.Asked("b.test", "MX") != 0 || zone.Asked("b.test", "MX") != 1 {
		t.Error("after its failure the first server was asked first again")
	}
}

func TestCallerGivesUp(t *testing.T) {
	c, _ := serve(t, "! timeout slow.test.\n", dns.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.MX(ctx, "slow.test"); !errors.Is(err, context.Canceled) || dns.NotFound(err) {
		t.Errorf("got %v, want a temporary error of the context", err)
	}
}

func TestServersConfiguration(t *testing.T) {
	for _, bad := range []string{"", "dns.test", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:dns", "[::1", "300.0.0.1"} {
		if _, err := dns.New(dns.Config{Servers: []string{bad}}); err == nil {
			t.Errorf("server %q was accepted", bad)
		}
	}
	for _, good := range []string{"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53", "fe80::1%eth0"} {
		if _, err := dns.New(dns.Config{Servers: []string{good}}); err != nil {
			t.Errorf("server %q: %v", good, err)
		}
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"A.Test": "a.test", "a.test.": "a.test", "BÜCHER.example": "xn--bcher-kva.example", "_dmarc.a.test": "_dmarc.a.test",
		"faß.de": "xn--fa-hia.de", "": "", ".": "", "a..b": "", "a\x00b.test": "", "a/b": "", `a\.b`: "", "a.test..": "",
		strings.Repeat("a.", 127) + "aa": "", strings.Repeat("é", 100): "", "\u200b.test": "",
	} {
		got, err := dns.Name(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Name(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("España.test.")
	f.Add("xn--a.\u200d.test")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := dns.Name(s)
		if err != nil {
			t.Skip()
		}
		if again, err := dns.Name(name); err != nil || again != name || len(name) > 253 {
			t.Errorf("Name(%q) = %q, of which Name is %q, %v", s, name, again, err)
		}
	})
}

func TestServersOfResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver 192.0.2.53\nnameserver fe80::1%lo\nnameserver x\noptions timeout:1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dns.ServersOf(path); !slices.Equal(got, []string{"192.0.2.53:53", "[fe80::1%lo]:53"}) {
		t.Errorf("servers of resolv.conf: %q", got)
	}
}

func TestZoneTextIsStrict(t *testing.T) {
	for _, bad := range []string{"a.test. MX ten mx.a.test.\n", "! servfail\n", "! sulk a.test.\n", "! timeout a.test. NOTYPE\n", "! timeout a.test. MX 0\n", "! timeout a.test. MX 1 2\n"} {
		if _, err := dnstest.Parse(bad); err == nil {
			t.Errorf("zone %q was accepted", bad)
		}
	}
}
