package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"buzon/internal/limit"
	"buzon/mx/mtasts"
)

var pages = Pages{
	Hostname: "mx.buzon.test", IMAPS: 993, Submissions: 465,
	Policy:   mtasts.Policy{Mode: mtasts.Enforce, MaxAge: time.Hour, MX: []string{"mx.buzon.test"}}.String(),
	IsDomain: func(name string) bool { return name == "buzon.test" },
}

func get(t *testing.T, p Pages, method, url, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	p.handler().ServeHTTP(w, httptest.NewRequest(method, url, strings.NewReader(body)))
	return w
}

const question = `<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>ana@buzon.test</EMailAddress></Request></Autodiscover>`

func TestPages(t *testing.T) {
	none := pages
	none.Policy, none.IMAPS = "", 0
	for _, test := range []struct {
		p                 Pages
		method, url, body string
		code              int
		want              []string
	}{
		{pages, "GET", "https://mta-sts.buzon.test/.well-known/mta-sts.txt", "", 200, []string{"version: STSv1\r\nmode: enforce\r\nmx: mx.buzon.test\r\nmax_age: 3600\r\n"}},
		{pages, "GET", "https://MTA-STS.Buzon.Test:8443/.well-known/mta-sts.txt", "", 200, nil},
		{pages, "GET", "https://mta-sts.far.test/.well-known/mta-sts.txt", "", 404, nil},
		{pages, "GET", "https://buzon.test/.well-known/mta-sts.txt", "", 404, nil},
		{none, "GET", "https://mta-sts.buzon.test/.well-known/mta-sts.txt", "", 404, nil},
		{pages, "GET", "https://autoconfig.buzon.test/mail/config-v1.1.xml?emailaddress=ana%40buzon.test", "", 200, []string{
			`<incomingServer type="imap">`, "<hostname>mx.buzon.test</hostname>", "<port>993</port>", `<outgoingServer type="smtp">`, "<port>465</port>", "<socketType>SSL</socketType>",
		}},
		{pages, "GET", "https://buzon.test/.well-known/autoconfig/mail/config-v1.1.xml", "", 200, []string{`<emailProvider id="buzon.test">`}},
		{pages, "GET", "https://autoconfig.far.test/mail/config-v1.1.xml", "", 404, nil},
		{pages, "POST", "https://autodiscover.buzon.test/autodiscover/autodiscover.xml", question, 200, []string{
			`<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">`, "<Type>IMAP</Type>", "<Port>993</Port>", "<LoginName>ana@buzon.test</LoginName>", "<SSL>on</SSL>",
		}},
		{pages, "POST", "https://autodiscover.buzon.test/Autodiscover/Autodiscover.xml", strings.ReplaceAll(question, "buzon.test", "far.test"), 404, nil},
		{pages, "POST", "https://autodiscover.buzon.test/autodiscover/autodiscover.xml", "nonsense", 400, nil},
		{pages, "POST", "https://autodiscover.buzon.test/autodiscover/autodiscover.xml", "<a>" + strings.Repeat("<b>", maxBody), 400, nil},
		{pages, "GET", "https://mx.buzon.test/apple.mobileconfig?address=ana%2Btag%40buzon.test", "", 200, []string{
			"<key>IncomingMailServerPortNumber</key><integer>993</integer>", "<string>ana+tag@buzon.test</string>", "<key>IncomingMailServerUseSSL</key><true/>",
		}},
		{pages, "GET", "https://mx.buzon.test/apple.mobileconfig?address=ana%40far.test", "", 404, nil},
		{pages, "GET", "https://mx.buzon.test/apple.mobileconfig", "", 404, nil},
		{none, "GET", "https://mx.buzon.test/apple.mobileconfig?address=ana%40buzon.test", "", 404, nil},
		{pages, "GET", "https://mx.buzon.test/health", "", 200, []string{"ok\n"}},
		{pages, "GET", "https://mx.buzon.test/", "", 404, nil},
		{pages, "POST", "https://mx.buzon.test/health", "", 405, nil},
	} {
		w := get(t, test.p, test.method, test.url, test.body)
		if w.Code != test.code {
			t.Errorf("%s %s: %d, want %d\n%s", test.method, test.url, w.Code, test.code, w.Body)
		}
		for _, want := range test.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: no %q in\n%s", test.url, want, w.Body)
			}
		}
		if kind := w.Header().Get("Content-Type"); w.Code == 200 && (strings.Contains(kind, "xml") || strings.Contains(kind, "apple")) {
			if err := wellFormed(w.Body.String()); err != nil {
				t.Errorf("%s: %v\n%s", test.url, err, w.Body)
			}
		}
	}
}

func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// What a client writes into its address stays text.
func FuzzProfile(f *testing.F) {
	f.Add("ana@buzon.test")
	f.Add(`"<a>&"@buzon.test`)
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := pages.address(s)
		if !ok {
			t.Skip()
		}
		text := string(pages.profile(a))
		if err := wellFormed(text); err != nil || strings.Count(text, "<dict>") != 2 {
			t.Errorf("%q: %v\n%s", s, err, text)
		}
	})
}

// serve runs a server whose IMAP says hello.
func serve(t *testing.T, cfg Config) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	cfg.Pages, cfg.Log = pages, slog.New(slog.DiscardHandler)
	if cfg.Conns == nil {
		cfg.Conns = limit.NewConns(limit.ConnsConfig{})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	go func() {
		for {
			nc, err := server.IMAP().Accept()
			if err != nil {
				return
			}
			io.WriteString(nc, "* OK hello\r\n")
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(2 * time.Minute):
			t.Error("the server does not end")
		}
	})
	return ln.Addr().String()
}

func TestALPN(t *testing.T) {
	for _, test := range []struct {
		imap   bool
		protos []string
		want   string // the beginning of the first line
	}{
		{true, []string{"imap"}, "* OK hello"},
		{true, []string{"http/1.1"}, "HTTP/1.1 404"},
		{true, nil, "HTTP/1.1 404"},
		{true, []string{"h2", "http/1.1"}, "HTTP/1.1 404"},
		{true, []string{"smtp"}, ""}, // no common protocol: no handshake
		{false, []string{"imap"}, ""},
		{false, nil, "HTTP/1.1 404"},
	} {
		addr := serve(t, Config{IMAP: test.imap})
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: test.protos}}
		nc, err := dialer.Dial("tcp", addr)
		if err != nil {
			if test.want != "" {
				t.Errorf("%v: %v", test.protos, err)
			}
			continue
		}
		nc.SetDeadline(time.Now().Add(2 * time.Minute))
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: mx.buzon.test\r\n\r\n")
		line, err := bufio.NewReader(nc).ReadString('\n')
		if !strings.HasPrefix(line, test.want) || test.want == "" {
			t.Errorf("%v: %q, %v, want %q", test.protos, line, err, test.want)
		}
		nc.Close()
	}
}

// Places are given back when a connection ends, whichever way.
func TestPlacesAreGivenBack(t *testing.T) {
	addr := serve(t, Config{IMAP: true, Conns: limit.NewConns(limit.ConnsConfig{Total: 1, PerMinute: 1000})})
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for range 20 {
		deadline := time.Now().Add(2 * time.Minute)
		for {
			res, err := client.Get("https://" + addr + "/health")
			if err == nil {
				res.Body.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close() // no handshake
	}
}
