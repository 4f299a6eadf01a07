package dmarc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"

	"buzon/internal/smtp"
	"buzon/mx/dns"
)

var update = flag.Bool("update", false, "write testdata/report.xml")

// receivers is where reports go: what the DNS says, and the queue.
type receivers struct {
	txt  map[string]string // "!": trouble
	mail []string
	env  []smtp.Envelope
	log  strings.Builder
	full bool
}

func (r *receivers) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	switch text, ok := r.txt[name]; {
	case text == "!":
		return nil, dns.Answer{}, &dns.Error{Name: name, Type: "TXT", Err: errors.New("SERVFAIL")}
	case ok:
		return []string{text}, dns.Answer{}, nil
	}
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "TXT", Err: dns.ErrNoData}
}

func (r *receivers) MX(_ context.Context, name string) ([]dns.MX, dns.Answer, error) {
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "MX", Err: dns.ErrNoData}
}

func (r *receivers) Addrs(_ context.Context, name string) ([]netip.Addr, dns.Answer, error) {
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "A", Err: dns.ErrNoData}
}

func (r *receivers) Submit(_ context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	if r.full {
		return "", errors.New("disk full")
	}
	text, err := io.ReadAll(msg)
	r.mail, r.env = append(r.mail, string(text)), append(r.env, env)
	return "id", err
}

func (r *receivers) sending() Sending {
	return Sending{Resolver: r, Spool: r, Submitter: "us.test", From: smtp.Address{Local: "postmaster", Domain: "us.test"}, Generator: "Buzon test",
		Log: slog.New(slog.NewTextHandler(&r.log, nil))}
}

// observed is a message of the author, under the policy of the domain.
func observed(author, domain, record string, change func(*Observation)) Observation {
	rec, ok := Parse(record)
	if !ok {
		panic(record)
	}
	o := Observation{
		Policy: Policy{Author: author, Org: domain, Domain: domain, Record: rec, Requested: rec.Policy, Walked: author != domain},
		IP:     netip.MustParseAddr("192.0.2.1"), Disposition: None, EnvelopeFrom: author, EnvelopeTo: "us.test", SPFDomain: author, SPFResult: "fail",
	}
	if o.Policy.Walked {
		o.Policy.Requested = rec.below(true)
	}
	if change != nil {
		change(&o)
	}
	return o
}

// TestReport is about a day of one domain: what is said to whom, and that what
// we write we can read.
func TestReport(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "dmarc.json")
	open := func() *Collector {
		t.Helper()
		c, err := OpenCollector(path, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const old, record = "v=DMARC1; p=none; rua=mailto:gone@x.test", "v=DMARC1; p=reject; sp=quarantine; t=y; adkim=s; fo=1:d; rua=mailto:dmarc@x.test"
	c := open()
	for range 3 {
		c.Observe(observed("x.test", "x.test", old, func(o *Observation) {
			o.DKIM, o.IP = true, netip.MustParseAddr("2001:db8::1")
			o.Signatures = []SignatureResult{{"list.test", "s0", "pass"}, {"b.x.test", "s1", "permerror"}, {"a.x.test", "s2", "pass"}, {"x.test", "s3", "pass"}}
		}))
	}
	if err := c.book.Save(); err != nil {
		t.Fatal(err)
	}
	c = open()
	c.Observe(observed("x.test", "x.test", record, func(o *Observation) {
		o.DKIM, o.IP = true, netip.MustParseAddr("2001:db8::1")
		o.Signatures = []SignatureResult{{"list.test", "s0", "pass"}, {"b.x.test", "s1", "permerror"}, {"a.x.test", "s2", "pass"}, {"x.test", "s3", "pass"}}
	}))
	c.Observe(observed("news.x.test", "x.test", record, func(o *Observation) {
		o.Override, o.Comment, o.IP = "policy_test_mode", "", netip.MustParseAddr("::ffff:192.0.2.7")
		o.EnvelopeFrom, o.SPFDomain = "", ""
	}))
	c.Observe(observed("x.test", "x.test", record, func(o *Observation) {
		o.Override, o.Comment = "trusted_forwarder", "arc=pass as=<&\x01>.test"
	}))
	c.Observe(observed("silent.test", "silent.test", "v=DMARC1; p=reject", nil))

	r := &receivers{txt: map[string]string{"_dmarc.x.test": record, "_dmarc.silent.test": record}}
	c.book.Tell(t.Context(), r.sending().Log, r.sending().tell)
	if len(r.mail) != 0 {
		t.Error("told before the day was over")
	}
	now = now.Add(24 * time.Hour)
	c.book.Tell(t.Context(), r.sending().Log, r.sending().tell)
	c.book.Tell(t.Context(), r.sending().Log, r.sending().tell)
	if len(r.mail) != 1 {
		t.Fatalf("%d reports, want one; log:\n%s", len(r.mail), &r.log)
	}
	if env := r.env[0]; !env.From.IsNull() || len(env.To) != 1 || env.To[0].Address.String() != "dmarc@x.test" {
		t.Errorf("envelope %+v", env)
	}
	m, err := message.Read(strings.NewReader(r.mail[0]))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Header.Get("Subject"), "Report Domain: x.test Submitter: us.test Report-ID: <20261121.x.test@us.test>"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	parts := m.MultipartReader()
	_, _ = parts.NextPart()
	p, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	kind, _, _ := p.Header.ContentType()
	_, params, _ := p.Header.ContentDisposition()
	if kind != "application/gzip" || params["filename"] != "us.test!x.test!1795219200!1795305599.xml.gz" {
		t.Errorf("the file is %s %q", kind, params["filename"])
	}
	file, err := io.ReadAll(p.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Expand(file)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/report.xml", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/report.xml")
	if err != nil || string(want) != string(text) {
		t.Errorf("the report is not testdata/report.xml (%v):\n%s", err, text)
	}
	f, err := ReadFeedback(text)
	if err != nil || f.Domain != "x.test" || f.Policy != "reject" || len(f.Rows) != 4 || f.Rows[0].Count != 3 || f.Rows[0].Disposition != "none" || f.Rows[1].Disposition != "pass" {
		t.Errorf("read as %+v, %v", f, err)
	}
}

// TestDestinations: nobody gets reports who has not asked for them (RFC 9990 4).
func TestDestinations(t *testing.T) {
	r := &receivers{txt: map[string]string{
		"_dmarc.x.test":                        "v=DMARC1; p=none",
		"_dmarc.service.test":                  "v=DMARC1; p=none",
		"x.test._report._dmarc.service.test":   "v=DMARC1;",
		"x.test._report._dmarc.moves.test":     "v=DMARC1; rua=mailto:in2@moves.test!5k",
		"x.test._report._dmarc.away.test":      "v=DMARC1; rua=mailto:victim@other.test",
		"x.test._report._dmarc.wrong.test":     "v=DMARC2",
		"x.test._report._dmarc.broken.test":    "!",
		"x.test._report._dmarc.a.service.test": "v=spf1 -all",
	}}
	for _, tt := range []struct{ rua, want, refused string }{
		{"mailto:d@x.test", "[{d@x.test 0}]", ""},
		{"mailto:d@mail.x.test!1k", "[{d@mail.x.test 1024}]", ""},
		{"mailto:d@service.test,mailto:D@SERVICE.test", "[{d@service.test 0}]", ""},
		{"mailto:d@moves.test", "[{in2@moves.test 5120}]", ""},
		{"mailto:victim@victim.test,mailto:d@x.test", "[{d@x.test 0}]", "victim@victim.test"},
		{"mailto:d@away.test", "[]", "d@away.test"},
		{"mailto:d@wrong.test", "[]", "d@wrong.test"},
		{"mailto:d@a.service.test", "[]", "d@a.service.test"},
		{"mailto:d@" + strings.Repeat("a.", 124) + "test", "[]", "d@" + strings.Repeat("a.", 124) + "test"},
		{"mailto:d@broken.test", "!", ""},
	} {
		var refused []string
		got, err := destinations(t.Context(), r, "x.test", reportAddresses(tt.rua), func(d Destination, _ error) { refused = append(refused, d.Address) })
		text := fmt.Sprint(got)
		if err != nil {
			text = "!"
		}
		if text != tt.want || strings.Join(refused, " ") != tt.refused {
			t.Errorf("%s: %s, refused %q; want %s and %q", tt.rua, text, refused, tt.want, tt.refused)
		}
	}
}

// TestNotSent: trouble is for later, and what will never do is for nobody.
func TestNotSent(t *testing.T) {
	const rua = "v=DMARC1; p=none; rua=mailto:d@x.test"
	for _, tt := range []struct {
		name, record string
		full         bool
		mails, later int
	}{
		{"no trouble", rua, false, 1, 1},
		{"the DNS fails", "!", false, 0, 1},
		{"the disk is full", rua, true, 0, 1},
		{"the record has gone", "", false, 0, 0},
		{"nobody wants any more", "v=DMARC1; p=reject", false, 0, 0},
		{"too large", rua + "!1k", false, 0, 0},
	} {
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		c, err := OpenCollector("", func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		c.Observe(observed("x.test", "x.test", rua, nil))
		now = now.Add(24 * time.Hour)
		r := &receivers{txt: map[string]string{"_dmarc.x.test": tt.record}, full: tt.full}
		c.book.Tell(t.Context(), r.sending().Log, r.sending().tell)
		if len(r.mail) != tt.mails {
			t.Errorf("%s: %d mails\n%s", tt.name, len(r.mail), &r.log)
		}
		r.txt["_dmarc.x.test"], r.full = rua, false
		c.book.Tell(t.Context(), r.sending().Log, r.sending().tell)
		if len(r.mail) != tt.later {
			t.Errorf("%s: %d mails later, want %d\n%s", tt.name, len(r.mail), tt.later, &r.log)
		}
	}
}

// TestCollectorBounds: a botnet is counted, and not listed without end.
func TestCollectorBounds(t *testing.T) {
	c, err := OpenCollector("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxRows + 5 {
		o := observed("x.test", "x.test", "v=DMARC1; p=none; rua=mailto:d@x.test", nil)
		o.IP = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		o.Signatures = slices.Repeat([]SignatureResult{{"x.test", "s", "fail"}}, 100)
		c.Observe(o)
		c.Observe(o)
	}
	c.book.Today("x.test", func(f *figures) {
		if len(f.Rows) != maxRows || f.Rows[0].Count != 2 || len(f.Rows[0].Signatures) != maxRowNames || f.Unlisted != 10 {
			t.Errorf("%d rows, %d unlisted", len(f.Rows), f.Unlisted)
		}
	})
	var nobody *Collector
	nobody.Observe(observed("x.test", "x.test", "v=DMARC1; p=none; rua=mailto:d@x.test", nil))
}
