package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"buzon/mx/dns/dnstest"
)

// dnsSite is a site whose resolver answers from a zone.
func dnsSite(t *testing.T, zone *dnstest.Zone, extra ...string) *site {
	t.Helper()
	server := dnstest.Start(t, zone)
	s := newSite(t, extra...)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "127.0.0.1:1\"", server.Addr()+"\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDNSCommand: what is printed can be pasted, and is then found to be right;
// each mistake is named.
func TestDNSCommand(t *testing.T) {
	zone := dnstest.MustParse("other.test. A 192.0.2.9\n")
	const addresses = "[outbound]\naddresses = [\"198.51.100.7\", \"2001:db8::7\"]\n"
	s := dnsSite(t, zone, addresses)
	s.do("", "domain", "add", "buzon.test")
	s.do("secret-of-ana\n", "account", "add", "ana@buzon.test")
	s.serve().end() // the certificate is made

	out := s.do("", "dns", "buzon.test")
	for _, want := range []string{
		"buzon.test.\t3600\tIN\tMX\t10 mx.buzon.test.", "mx.buzon.test.\t3600\tIN\tA\t198.51.100.7", "IN\tAAAA\t2001:db8::7",
		"IN\tTXT\t\"v=spf1 mx -all\"", "_dmarc.buzon.test.\t", "_smtp._tls.buzon.test.\t", "_submissions._tcp.buzon.test.\t3600\tIN\tSRV\t0 1 465 mx.buzon.test.",
		";; _mta-sts.buzon.test.\t", ";; autoconfig.buzon.test.\t", ";; _25._tcp.mx.buzon.test.\t3600\tIN\tTLSA\t3 1 1 ", "; CAA: ", "; PTR: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	records := regexp.MustCompile(`(?m)^[^;].*$`).FindAllString(out, -1)
	explained := regexp.MustCompile(`(?m)^; .*[.:]$`).FindAllString(out, -1)
	if len(explained) < len(records) {
		t.Errorf("%d records, and %d sentences on them", len(records), len(explained))
	}

	missing, _, code := s.run("", "dns", "buzon.test", "--check")
	if code != 1 || strings.Count(missing, "MISSING") != len(records)+2 {
		t.Errorf("before anything is published: exit code %d\n%s", code, missing)
	}
	if err := zone.Add(out); err != nil {
		t.Fatal(err)
	}
	if err := zone.Add("7.100.51.198.in-addr.arpa. PTR mx.buzon.test.\n7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mx.buzon.test.\n"); err != nil {
		t.Fatal(err)
	}
	if found := s.do("", "dns", "buzon.test", "--check"); strings.Count(found, "ok ") != len(records)+2 || strings.Count(found, "optional ") != 4 {
		t.Errorf("what was printed is not what is wanted:\n%s", found)
	}

	for _, tt := range []struct{ name, instead, want string }{
		{"buzon.test", "buzon.test. MX 10 other.test.\nbuzon.test. TXT \"v=spf1 mx -all\"", "DIFFERS  MX buzon.test\n         mail goes to others: other.test"},
		{"buzon.test", "buzon.test. MX 10 mx.buzon.test.\nbuzon.test. TXT \"v=spf1 +all\"", "it allows everybody"},
		{"buzon.test", "buzon.test. MX 10 mx.buzon.test.\nbuzon.test. TXT \"v=spf1 mx -all\"\nbuzon.test. TXT \"v=spf1 a -all\"", "2 records of this kind"},
		{"_dmarc.buzon.test", "_dmarc.buzon.test. TXT \"v=DMARC1; p=strict\"", "it cannot be understood"},
		{"_dmarc.buzon.test", "_dmarc.buzon.test. TXT \"hola\"", "MISSING  TXT _dmarc.buzon.test\n         there are other texts"},
		{"_dmarc.buzon.test", "! servfail _dmarc.buzon.test.", "UNKNOWN  TXT _dmarc.buzon.test"},
		{"_imaps._tcp.buzon.test", "_imaps._tcp.buzon.test. SRV 0 1 993 other.test.", "mail programs are sent elsewhere: 993 other.test"},
		{"7.100.51.198.in-addr.arpa", "7.100.51.198.in-addr.arpa. PTR dyn-7.provider.test.", "it has another name"},
		{"7.100.51.198.in-addr.arpa", "", "ask the provider"},
	} {
		zone.Remove(tt.name)
		if err := zone.Add(tt.instead + "\n"); err != nil {
			t.Fatal(err)
		}
		found, _, code := s.run("", "dns", "buzon.test", "--check")
		if code != 1 || !strings.Contains(found, tt.want) {
			t.Errorf("%s: exit code %d, want %q in\n%s", tt.instead, code, tt.want, found)
		}
	}
	s.refused(1, "is not among domains", "", "dns", "far.test")
}

// TestDNSWeb: what needs our web server is printed as soon as there is one, and
// the policy's id follows the policy.
func TestDNSWeb(t *testing.T) {
	zone := dnstest.MustParse("x. A 192.0.2.9\n")
	ids := make(map[string]string)
	for _, mode := range []string{"none", "testing", "enforce"} {
		s := dnsSite(t, zone, "[web]\nmta_sts = \""+mode+"\"\n")
		text, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "[listen]\n", "[listen]\nhttps = [\"127.0.0.1:0\"]\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.serve().end()
		out := s.do("", "dns", "buzon.test")
		id := regexp.MustCompile(`(?m)^(;; )?_mta-sts\.buzon\.test\.\t3600\tIN\tTXT\t"v=STSv1; id=(\w{20})"$`).FindStringSubmatch(out)
		if id == nil || (id[1] != "") != (mode == "none") || ids[id[2]] != "" && mode == "enforce" {
			t.Fatalf("mta_sts = %s, ids %v:\n%s", mode, ids, out)
		}
		ids[id[2]] = mode
		if !strings.Contains(out, "\nautoconfig.buzon.test.\t") || strings.Contains(out, "\nmta-sts.buzon.test.\t") != (mode != "none") {
			t.Errorf("mta_sts = %s:\n%s", mode, out)
		}
		if !strings.Contains(out, "the certificate must name autoconfig.buzon.test, too") {
			t.Errorf("the certificate is for mx.buzon.test only, and nothing is said:\n%s", out)
		}
		zone.Remove("_mta-sts.buzon.test")
		if err := zone.Add("_mta-sts.buzon.test. TXT \"v=STSv1; id=20200101;\"\n"); err != nil {
			t.Fatal(err)
		}
		found, _, _ := s.run("", "dns", "buzon.test", "--check")
		if strings.Contains(found, "DIFFERS  TXT _mta-sts.buzon.test\n         it names another policy") != (mode != "none") {
			t.Errorf("mta_sts = %s, an old id:\n%s", mode, found)
		}
	}
}

func TestDNSRecordsOfKeys(t *testing.T) {
	zone := dnstest.MustParse("x. A 192.0.2.9\n")
	s := dnsSite(t, zone, "[domain.\"example.org\"]\nunsigned = true\n")
	if out := s.do("", "dns", "buzon.test"); !strings.Contains(out, "buzon domain add buzon.test") {
		t.Errorf("without keys:\n%s", out)
	}
	if out := s.do("", "dns", "example.org"); !strings.Contains(out, "is not signed") {
		t.Errorf("a domain that does not sign:\n%s", out)
	}
	s.do("", "domain", "add", "buzon.test")
	s.do("", "domain", "rotate", "buzon.test")
	out := s.do("", "dns", "buzon.test")
	if n := strings.Count(out, "_domainkey"); n != 4 {
		t.Errorf("%d key records during a rotation", n)
	}
	// RSA's record is longer than one string of a TXT record may be.
	if !regexp.MustCompile(`TXT\t"v=DKIM1; k=rsa; p=[^"]{200,}" "[^"]+"`).MatchString(out) {
		t.Errorf("the RSA record is not split:\n%s", out)
	}
}
