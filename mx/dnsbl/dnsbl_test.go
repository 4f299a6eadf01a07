package dnsbl_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
	"buzon/mx/dnsbl"
)

const zones = `
2.2.0.192.bl.test. A 127.0.0.2
2.2.0.192.bl.test. TXT "See https://bl.test/?ip=192.0.2.2"
3.2.0.192.bl.test. A 127.0.0.3
4.2.0.192.bl.test. A 127.255.255.254
5.2.0.192.bl.test. A 203.0.113.80
6.2.0.192.bl.test. A 127.0.0.1
7.2.0.192.bl.test. A 127.0.0.2
7.2.0.192.bl.test. A 127.255.255.252
2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test. A 127.0.0.2
2.2.0.192.dead.test. A 127.0.0.2
1.0.0.127.dead.test. A 127.0.0.2
far.test.dbl.test. A 127.0.1.2
mx.far.test.dbl.test. A 127.0.1.4
! servfail 2.2.0.192.ill.test.
`

func codes(t *testing.T, list ...string) (cs []dnsbl.Codes) {
	t.Helper()
	for _, s := range list {
		c, err := dnsbl.ParseCodes(s)
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	return cs
}

func TestAsk(t *testing.T) {
	resolver := dnstest.NewClient(t, zones)
	bl := dnsbl.Zone{Name: "bl.test"}
	dbl := dnsbl.Zone{Name: "dbl.test", Domains: true, Junk: true}
	for _, tt := range []struct {
		name    string
		zones   []dnsbl.Zone
		ip      string
		domains []string
		want    string
	}{
		{"listed, with a text", []dnsbl.Zone{bl}, "192.0.2.2", nil, "bl.test 192.0.2.2 See https://bl.test/?ip=192.0.2.2"},
		{"another code, no text", []dnsbl.Zone{bl}, "192.0.2.3", nil, "bl.test 192.0.2.3 "},
		{"not listed", []dnsbl.Zone{bl}, "192.0.2.99", nil, ""},
		{"the list refuses to answer", []dnsbl.Zone{bl}, "192.0.2.4", nil, ""},
		{"no answer of a list", []dnsbl.Zone{bl}, "192.0.2.5", nil, ""},
		{"never a listing", []dnsbl.Zone{bl}, "192.0.2.6", nil, ""},
		{"a refusal beside a listing", []dnsbl.Zone{bl}, "192.0.2.7", nil, ""},
		{"a code that counts", []dnsbl.Zone{{Name: "bl.test", Codes: codes(t, "127.0.0.3", "127.0.0.9-127.0.0.11")}}, "192.0.2.3", nil, "bl.test 192.0.2.3 "},
		{"one that does not", []dnsbl.Zone{{Name: "bl.test", Codes: codes(t, "127.0.0.3")}}, "192.0.2.2", nil, ""},
		{"IPv6", []dnsbl.Zone{bl}, "2001:db8::2", nil, "bl.test 2001:db8::2 "},
		{"IPv4 in IPv6", []dnsbl.Zone{bl}, "::ffff:192.0.2.3", nil, "bl.test ::ffff:192.0.2.3 "},
		{"a list that knows everybody", []dnsbl.Zone{{Name: "dead.test"}}, "192.0.2.2", nil, ""},
		{"domains", []dnsbl.Zone{dbl}, "192.0.2.2", []string{"FAR.test", "mx.far.test", "far.test.", "[192.0.2.2]", "192.0.2.2", "localhost", "", "a..b"}, "dbl.test far.test |dbl.test mx.far.test "},
		{"trouble and a listing", []dnsbl.Zone{{Name: "ill.test"}, bl}, "192.0.2.2", nil, "bl.test 192.0.2.2 See https://bl.test/?ip=192.0.2.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lists := dnsbl.New(dnsbl.Config{Zones: tt.zones, Resolver: resolver, Budget: time.Minute})
			var got []string
			for _, l := range lists.Ask(t.Context(), dnsbl.Subjects{IP: netip.MustParseAddr(tt.ip), Domains: tt.domains}) {
				got = append(got, l.Zone.Name+" "+l.Subject+" "+l.Text)
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// mute answers nobody.
type mute struct{}

func (mute) IPv4(ctx context.Context, _ string) ([]netip.Addr, dns.Answer, error) {
	<-ctx.Done()
	return nil, dns.Answer{}, ctx.Err()
}

func (mute) TXT(ctx context.Context, _ string) ([]string, dns.Answer, error) {
	<-ctx.Done()
	return nil, dns.Answer{}, ctx.Err()
}

// A dead resolver costs the budget once, for all lists together.
func TestBudget(t *testing.T) {
	var log bytes.Buffer
	lists := dnsbl.New(dnsbl.Config{
		Zones: []dnsbl.Zone{{Name: "a.test"}, {Name: "b.test"}}, Resolver: mute{}, Budget: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if got := lists.Ask(t.Context(), dnsbl.Subjects{IP: netip.MustParseAddr("192.0.2.2")}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if log.Len() > 0 {
		t.Errorf("a line for each client: %s", log.String())
	}
}

func TestEligible(t *testing.T) {
	for ip, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.9": false,
		"100.64.0.1": false, "169.254.1.1": false, "fe80::1": false, "fd00::1": false, "::1": false, "::ffff:10.0.0.1": false, "0.0.0.0": false,
	} {
		if got := dnsbl.Eligible(netip.MustParseAddr(ip).Unmap()); got != want {
			t.Errorf("%s: %t", ip, got)
		}
	}
	if dnsbl.Eligible(netip.Addr{}) {
		t.Error("no address is eligible")
	}
}

func FuzzCodes(f *testing.F) {
	f.Add("127.0.0.2")
	f.Add("127.0.0.4-127.0.0.11")
	f.Add("127.0.0.4 - 127.0.0.3")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := dnsbl.ParseCodes(s); err == nil && !strings.Contains(s, "127.") {
			t.Errorf("%q was taken", s)
		}
	})
}
