package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"

	"buzon/internal/smtp"
	"buzon/mx/dns"
)

// world is where reports go.
type world struct {
	txt  map[string]string
	mail []string
	env  []smtp.Envelope
	log  bytes.Buffer
}

func (w *world) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	if text, ok := w.txt[name]; ok {
		return []string{text}, dns.Answer{}, nil
	}
	return nil, dns.Answer{}, &dns.Error{Name: name, Type: "TXT", Err: dns.ErrNoData}
}

func (w *world) Submit(_ context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	text, err := io.ReadAll(msg)
	w.mail, w.env = append(w.mail, string(text)), append(w.env, env)
	return "id", err
}

// TestDaily collects over a restart, tells the next day, and tells once.
func TestDaily(t *testing.T) {
	now := time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "tlsrpt.json")
	open := func() *Collector {
		t.Helper()
		c, err := Open(path, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	sts := Event{Domain: "x.test", Policy: STS, Text: []string{"version: STSv1", "mode: enforce"}, MX: []string{"*.x.test"}, Host: "mx.x.test", IP: "192.0.2.1"}
	failed := sts
	failed.Result, failed.Detail = Expired, "certificate has expired"
	for range 3 {
		c.Record(sts)
		c.Record(failed)
	}
	c.Record(Event{Domain: "y.test", Policy: NoPolicy})
	c.Record(Event{Domain: "silent.test", Policy: NoPolicy})
	if err := c.book.Save(); err != nil {
		t.Fatal(err)
	}
	c = open()
	c.Record(sts)

	var posted [][]byte
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if req.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
			t.Errorf("posted %v", req.Header)
		}
		posted = append(posted, body)
	}))
	defer server.Close()
	w := &world{txt: map[string]string{
		"_smtp._tls.x.test": "v=TLSRPTv1; rua=mailto:tls@reports.test,ftp://nowhere.test",
		"_smtp._tls.y.test": "v=TLSRPTv1;rua=" + server.URL + "/in",
	}}
	s := Sending{Resolver: w, Spool: w, Submitter: "us.test", From: smtp.Address{Local: "postmaster", Domain: "us.test"},
		HTTP: server.Client(), Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	c.book.Tell(t.Context(), s.Log, s.tell)
	if len(w.mail) != 0 {
		t.Error("told before the day was over")
	}
	now = now.Add(2 * time.Hour)
	c.book.Tell(t.Context(), s.Log, s.tell)
	c.book.Tell(t.Context(), s.Log, s.tell)
	if len(w.mail) != 1 || len(posted) != 1 {
		t.Fatalf("%d mails, %d posts; log:\n%s", len(w.mail), len(posted), &w.log)
	}
	if env := w.env[0]; env.To[0].Address.String() != "tls@reports.test" || env.TLS != smtp.TLSOptional || !env.From.IsNull() {
		t.Errorf("envelope %+v", env)
	}

	m, err := message.Read(strings.NewReader(w.mail[0]))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, _ := m.Header.ContentType()
	if kind != "multipart/report" || params["report-type"] != "tlsrpt" || m.Header.Get("TLS-Report-Domain") != "x.test" || m.Header.Get("TLS-Report-Submitter") != "us.test" {
		t.Errorf("header of %s", w.mail[0])
	}
	_, encoded, _ := strings.Cut(w.mail[0], ".json.gz\"\r\n\r\n")
	encoded, _, _ = strings.Cut(encoded, "--")
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Policies) != 1 || r.Policies[0].Summary.Successes != 4 || r.Policies[0].Summary.Failures != 3 || len(r.Policies[0].Details) != 1 ||
		r.Policies[0].Details[0].Result != Expired || r.Policies[0].Details[0].Count != 3 || r.DateRange.Start.Format(time.DateOnly) != "2026-11-21" {
		t.Errorf("report %s", text)
	}
}

// TestBounds: a host with a new trouble each time does not fill memory.
func TestBounds(t *testing.T) {
	c, err := Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxFailures + 10 {
		c.Record(Event{Domain: "d1.test", Policy: NoPolicy, Result: NotTrusted, Host: fmt.Sprint(i), Detail: strings.Repeat("x", 1000)})
		c.Record(Event{Domain: "d1.test", Policy: STS, Text: []string{fmt.Sprint(i)}})
	}
	c.book.Today("d1.test", func(f *figures) {
		if len(f.Policies) != maxPolicies || len(f.Policies[0].Details) != maxFailures {
			t.Errorf("%d policies, %d failures", len(f.Policies), len(f.Policies[0].Details))
		}
	})
	var nobody *Collector
	nobody.Record(Event{Domain: "x.test"})
}

func FuzzRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@b.test,https://b.test/in")
	f.Fuzz(func(t *testing.T, text string) {
		rua := parseRecord([]string{text})
		if len(rua) > maxURIs {
			t.Errorf("%d URIs", len(rua))
		}
		for _, u := range rua {
			if u.Scheme != "https" && mailAddress(u) == "" {
				t.Errorf("%s", u)
			}
		}
	})
}
