package dmarc_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"buzon/mx/dmarc"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

// sections reads a file of "-- name --" sections; the cases are split at "|".
func sections(t *testing.T, file string) (zone string, cases map[string][][]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cases = make(map[string][][]string)
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "-- "):
			name = strings.Trim(line, "- ")
		case name == "zone":
			zone += line + "\n"
		case name != "" && line != "" && line[0] != '#':
			fields := strings.Split(line, "|")
			for i := range fields {
				fields[i] = strings.TrimSpace(fields[i])
			}
			cases[name] = append(cases[name], fields)
		}
	}
	return zone, cases
}

func TestTreeWalk(t *testing.T) {
	zone, cases := sections(t, "testdata/walk.txt")
	r := dnstest.NewClient(t, zone)
	for _, f := range cases["cases"] {
		org, err := dmarc.Organizational(t.Context(), r, f[0])
		if err != nil {
			org = "!"
		}
		if org != f[1] {
			t.Errorf("the Organizational Domain of %s is %s, want %s", f[0], org, f[1])
		}
		p, err := dmarc.Discover(t.Context(), r, f[0])
		where, asks := "-", "-"
		switch {
		case err != nil:
			where = "!"
		case p != nil:
			where, asks = p.Domain, p.Requested.String()
		}
		if where != f[2] || asks != f[3] {
			t.Errorf("the policy of %s stands at %s and asks for %s, want %s and %s", f[0], where, asks, f[2], f[3])
		}
	}
}

func TestAlignment(t *testing.T) {
	zone, cases := sections(t, "testdata/walk.txt")
	r := dnstest.NewClient(t, zone)
	id := func(s string) dmarc.Identifier {
		domain, result, _ := strings.Cut(s, " ")
		return dmarc.Identifier{Domain: domain, Passed: result == "pass", Temp: result == "temp"}
	}
	for _, f := range cases["alignment"] {
		author, err := dns.Name(f[0])
		if err != nil {
			t.Fatal(err)
		}
		p, err := dmarc.Discover(t.Context(), r, author)
		if err != nil || p == nil {
			t.Fatalf("%s: %v, %v", author, p, err)
		}
		var keys []dmarc.Identifier
		for s := range strings.SplitSeq(f[2], ",") {
			keys = append(keys, id(strings.TrimSpace(s)))
		}
		out := p.Evaluate(t.Context(), r, id(f[1]), keys)
		got := []string{string(out.Result)}
		if out.SPF {
			got = append(got, "spf")
		}
		if out.DKIM {
			got = append(got, "dkim")
		}
		if !slices.Equal(got, strings.Fields(f[3])) {
			t.Errorf("%s with SPF %q and DKIM %q: %v, want %s", f[0], f[1], f[2], got, f[3])
		}
	}
}

func TestStrict(t *testing.T) {
	r := dnstest.NewClient(t, `_dmarc.s.test. TXT "v=DMARC1; p=reject; adkim=s; aspf=r"`+"\n")
	p, err := dmarc.Discover(t.Context(), r, "s.test")
	if err != nil {
		t.Fatal(err)
	}
	pass := func(d string) dmarc.Identifier { return dmarc.Identifier{Domain: d, Passed: true} }
	if out := p.Evaluate(t.Context(), r, pass("a.s.test"), []dmarc.Identifier{pass("a.s.test")}); !out.SPF || out.DKIM {
		t.Errorf("adkim=s, aspf=r: %+v", out)
	}
	if out := p.Evaluate(t.Context(), r, pass("x.test"), []dmarc.Identifier{pass("s.test")}); !out.DKIM || out.Result != dmarc.ResultPass {
		t.Errorf("the same domain: %+v", out)
	}
}

// TestQuestions: a walk asks for eight names at most, each once.
func TestQuestions(t *testing.T) {
	zone := dnstest.MustParse("x. TXT \"\"\n")
	server := dnstest.Start(t, zone)
	r, err := dns.New(dns.Config{Servers: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dmarc.Discover(t.Context(), r, "a.b.c.d.e.f.g.h.i.j.mail.example.com"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
		"i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"} {
		if n := zone.Asked("_dmarc."+name, "TXT"); n != 1 {
			t.Errorf("_dmarc.%s was asked for %d times", name, n)
		}
	}
	if n := zone.Asked("_dmarc.f.g.h.i.j.mail.example.com", "TXT"); n != 0 {
		t.Error("a name of nine labels was asked for")
	}
}

func TestReportAddresses(t *testing.T) {
	for _, tt := range []struct {
		record string
		want   []string
	}{
		{"v=DMARC1; p=none; rua=mailto:a@b.test", []string{"a@b.test"}},
		{"v=DMARC1; p=none; rua=mailto:a@b.test!10m, MAILTO:c%2Bd@e.test , https://x.test", []string{"a@b.test!10485760", "c+d@e.test"}},
		{"v=DMARC1; p=none; rua=mailto:a@b.test!7,mailto:a@b.test!2k,mailto:a@b.test!2kk,mailto:a@b.test!-1,mailto:a@b.test!9999999999t", []string{"a@b.test!7", "a@b.test!2048", "a@b.test", "a@b.test", "a@b.test"}},
		{"v=DMARC1; p=none; rua=mailto:, mailto:x, mailto:a@[127.0.0.1], a@b.test", nil},
		{"v=DMARC1; p=none; rua=mailto:a%0d%0aRCPT@b.test", nil},
		{"v=DMARC1; p=none; rua=" + strings.Repeat("mailto:a@b.test,", 400), slices.Repeat([]string{"a@b.test"}, 10)},
	} {
		rec, ok := dmarc.Parse(tt.record)
		var got []string
		for _, d := range rec.Reports {
			if d.Limit > 0 {
				d.Address += fmt.Sprintf("!%d", d.Limit)
			}
			got = append(got, d.Address)
		}
		if !ok || !slices.Equal(got, tt.want) {
			t.Errorf("%.80s: %v, %t, want %v", tt.record, got, ok, tt.want)
		}
	}
}

// A record that is accepted asks for one of the three, and its addresses are
// ones that mail can be sent to.
func FuzzParse(f *testing.F) {
	f.Add("v=DMARC1; p=reject; rua=mailto:a@b.test!1m")
	f.Add("v = DMARC1;p=none;sp=;np=reject; psd=y; t=y; fo=0:1:d")
	f.Fuzz(func(t *testing.T, text string) {
		rec, ok := dmarc.Parse(text)
		if !ok {
			t.Skip()
		}
		for _, d := range []dmarc.Disposition{rec.Policy, rec.Subdomains, rec.Nonexistent} {
			if !slices.Contains([]dmarc.Disposition{"", dmarc.None, dmarc.Quarantine, dmarc.Reject}, d) {
				t.Errorf("disposition %q", d)
			}
		}
		if rec.Policy == "" || len(rec.Reports) > 10 {
			t.Errorf("%q became %+v", text, rec)
		}
		for _, d := range rec.Reports {
			if d.Limit < 0 || strings.ContainsAny(d.Address, "\r\n<> ") && !strings.Contains(d.Address, `"`) {
				t.Errorf("%q became %+v", text, d)
			}
		}
	})
}
