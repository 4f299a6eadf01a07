package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const someFeedback = `<?xml version="1.0" encoding="windows-1252"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version>
<report_metadata><org_name>Far &#155;[31m</org_name><email>d@far.test</email><report_id>1</report_id><date_range><begin>1795305600</begin><end>1795391999</end></date_range></report_metadata>
<policy_published><domain>buzon.test</domain><p>reject</p><sp>reject</sp></policy_published>
<record><row><source_ip>192.0.2.1</source_ip><count>7</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>buzon.test</header_from><envelope_from>x.test</envelope_from></identifiers><auth_results/></record></feedback>`

const someTLS = `{"organization-name":"Far","date-range":{"start-datetime":"2026-11-21T00:00:00Z","end-datetime":"2026-11-21T23:59:59Z"},"policies":[{"policy":{"policy-type":"sts","policy-domain":"buzon.test"},
"summary":{"total-successful-session-count":5,"total-failure-session-count":2},"failure-details":[{"result-type":"certificate-expired","receiving-mx-hostname":"mx.buzon.test","failed-session-count":2}]}]}`

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.Bytes()
}

func TestReportCommand(t *testing.T) {
	s := newSite(t)
	s.do("secret-of-ana\n", "account", "add", "ana@buzon.test")
	if out := s.do("", "report"); out != "no reports have come\n" {
		t.Errorf("before any came: %q", out)
	}
	dir := filepath.Join(s.data, "mail/buzon.test/ana/Maildir/new")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mail := func(subject string, data []byte) []byte {
		return []byte("From: <d@far.test>\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhola\r\n--b\r\n" +
			"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(data) + "\r\n--b--\r\n")
	}
	var z bytes.Buffer
	zw := zip.NewWriter(&z)
	f, err := zw.Create("r.xml")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte(someFeedback))
	zw.Close()
	files := map[string][]byte{
		"1": mail("Report Domain: buzon.test Submitter: far.test Report-ID: 1", zipped(t, someFeedback)),
		"2": mail("Report Domain: buzon.test Submitter: far.test Report-ID: <2>", zipped(t, someTLS)),
		"3": mail("an ordinary letter", zipped(t, "x")),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files["4"] = mail("Report Domain: buzon.test Submitter: far.test Report-ID: 4", zipped(t, "<feedback><record>"))
	files["5"] = append([]byte("Authentication-Results: mx.buzon.test; dkim=pass header.d=far.test\r\n"), files["1"]...)
	for _, name := range []string{"4", "5"} {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := s.run("", "report")
	if code != 0 || !strings.Contains(errs, filepath.Join(dir, "4")+": not a DMARC report") {
		t.Errorf("exit code %d, errors %q", code, errs)
	}
	if strings.Count(out, "report of Far") != 3 || strings.Count(out, "unproven") != 2 {
		t.Errorf("three reports, two of them unproven, are not in\n%s", out)
	}
	for _, want := range []string{"DMARC report of Far", "192.0.2.1", " 7 ", "TLS report of Far", "5 sessions succeeded, 2 failed", "2 × certificate-expired at mx.buzon.test"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\u009b") {
		t.Error("a terminal sequence came through")
	}
	for name, data := range map[string][]byte{"r.zip": z.Bytes(), "r.xml": []byte(someFeedback), "r.xml.gz": zipped(t, someFeedback), "r.json": []byte(someTLS)} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := s.do("", "report", path); !strings.Contains(out, "report of Far") {
			t.Errorf("%s: %s", name, out)
		}
	}
	bomb := filepath.Join(t.TempDir(), "bomb.gz")
	if err := os.WriteFile(bomb, zipped(t, strings.Repeat(" ", 64<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, "more than a report may have", "", "report", bomb)
	bad := filepath.Join(t.TempDir(), "bad.xml")
	if err := os.WriteFile(bad, []byte("<feedback><record>"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, "not a DMARC report", "", "report", bad)
}
