package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
)

// reportWorld is a world with one domain that wants reports.
type reportWorld struct {
	dmarc.Resolver
	mail [][]byte
}

const wantsReports = "v=DMARC1; p=reject; rua=mailto:dmarc@x.test"

func (*reportWorld) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	if name == "_dmarc.x.test" {
		return []string{wantsReports}, dns.Answer{}, nil
	}
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "TXT", Err: dns.ErrNoData}
}

func (w *reportWorld) Submit(_ context.Context, _ smtp.Envelope, msg io.Reader) (string, error) {
	text, err := io.ReadAll(msg)
	w.mail = append(w.mail, text)
	return "id", err
}

// TestReportRoundTrip: a day of mail becomes a report within hours of the next
// day, and `buzon report` shows it where it arrives.
func TestReportRoundTrip(t *testing.T) {
	record, ok := dmarc.Parse(wantsReports)
	if !ok {
		t.Fatal(wantsReports)
	}
	w := new(reportWorld)
	synctest.Test(t, func(t *testing.T) {
		c, err := dmarc.OpenCollector("", nil)
		if err != nil {
			t.Fatal(err)
		}
		o := dmarc.Observation{
			Policy: dmarc.Policy{Author: "x.test", Org: "x.test", Domain: "x.test", Record: record, Requested: dmarc.Reject},
			IP:     netip.MustParseAddr("192.0.2.9"), Disposition: dmarc.Reject, EnvelopeFrom: "evil.test", EnvelopeTo: "buzon.test", SPFDomain: "evil.test", SPFResult: "pass",
		}
		for range 42 {
			c.Observe(o)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- c.Run(ctx, dmarc.Sending{
				Resolver: w, Spool: w, Submitter: "buzon.test", From: smtp.Address{Local: "postmaster", Domain: "buzon.test"}, Log: slog.New(slog.DiscardHandler),
			})
		}()
		time.Sleep(72 * time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if len(w.mail) != 1 {
		t.Fatalf("%d reports were sent, want one", len(w.mail))
	}
	if !bytes.Contains(w.mail[0], []byte("\r\nSubject: Report Domain: x.test\r\n Submitter: buzon.test\r\n")) {
		t.Errorf("header of\n%s", w.mail[0])
	}
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "report.eml")
	if err := os.WriteFile(path, w.mail[0], 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.do("", "report", path)
	for _, want := range []string{"DMARC report of buzon.test about x.test, 2000-01-01 00:00 to 2000-01-01 23:59, policy reject", "192.0.2.9", "42", "reject", "evil.test"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
