package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"buzon/mx/dns"
)

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.x.test\r\nmx: *.mail.x.test\r\nmax_age: 86400\r\n"

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{good, good},
		{strings.ReplaceAll(good, "\r\n", "\n"), good},
		{"version: STSv1\nmode: none\nmax_age: 60\n", "version: STSv1\r\nmode: none\r\nmax_age: 60\r\n"},
		{"version:STSv1\nmode:testing\nmode:enforce\nmx:MX.X.test\nfuture: x\nmax_age:1", "version: STSv1\r\nmode: testing\r\nmx: mx.x.test\r\nmax_age: 1\r\n"},
		{"mode: enforce\nmx: mx.x.test\nmax_age: 60\n", ""},
		{"version: STSv2\nmode: enforce\nmx: mx.x.test\nmax_age: 60\n", ""},
		{"version: STSv1\nmode: maybe\nmx: mx.x.test\nmax_age: 60\n", ""},
		{"version: STSv1\nmode: enforce\nmax_age: 60\n", ""},
		{"version: STSv1\nmode: enforce\nmx: mx.x.test\nmax_age: -1\n", ""},
		{"version: STSv1\nmode: enforce\nmx: mx.*.test\nmax_age: 60\n", ""},
		{"version: STSv1\nmode: enforce\nmx: m x\nmax_age: 60\n", ""},
		{"<html>", ""},
		{good + strings.Repeat("mx: a.test\n", maxMX), ""},
		{good + strings.Repeat(" ", maxPolicy), ""},
	} {
		p, err := Parse([]byte(tt.text))
		if got := p.String(); err == nil && got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Parse(%.80q) = %q, %v", tt.text, got, err)
		}
	}
}

func TestMatches(t *testing.T) {
	p, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"mx.x.test": true, "a.mail.x.test": true, "mail.x.test": false, "a.b.mail.x.test": false, ".mail.x.test": false,
		"x.test": false, "evilmail.x.test": false, "mx.x.test.evil.test": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("Matches(%q) is not %v", host, want)
		}
	}
}

func TestRecord(t *testing.T) {
	for _, tt := range []struct {
		texts []string
		id    string
	}{
		{[]string{"v=STSv1; id=20260101T000000;"}, "20260101T000000"},
		{[]string{"v=spf1 -all", "v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, ""},
		{[]string{"v=STSv1; id=a/b"}, ""},
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv12; id=1"}, ""},
		{nil, ""},
	} {
		if id, ok, _ := parseRecord(tt.texts); id != tt.id || ok != (id != "") {
			t.Errorf("%q: %q, %v", tt.texts, id, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("version: STSv1\nmode: none\nmax_age: 99999999999\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			t.Skip()
		}
		again, err := Parse([]byte(p.String()))
		if err != nil || again.Mode != p.Mode || again.MaxAge != p.MaxAge || !slices.Equal(again.MX, p.MX) {
			t.Errorf("%q: %+v, again %+v, %v", text, p, again, err)
		}
		k := kept{id: "1", fetched: time.Unix(0, 0).UTC(), policy: p}
		if back, err := parseKept(string(k.format())); err != nil || back.id != k.id || back.policy.String() != p.String() {
			t.Errorf("kept: %+v, %v", back, err)
		}
	})
}

// world is a policy host and the name system that leads to it.
type world struct {
	t       *testing.T
	server  *httptest.Server
	answer  http.HandlerFunc
	fetched atomic.Int32
	txt     []string
	txtErr  error
	now     time.Time
	dir     string
	allowed func(netip.Addr) bool
	trusted bool
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Now(), dir: t.TempDir(), txt: []string{"v=STSv1; id=1"}, trusted: true}
	w.serve(good)
	w.server = httptest.NewTLSServer(http.HandlerFunc(func(res http.ResponseWriter, req *http.Request) {
		w.fetched.Add(1)
		if req.Host != "mta-sts.example.com" || req.URL.Path != "/.well-known/mta-sts.txt" {
			t.Errorf("asked for %s %s", req.Host, req.URL)
		}
		w.answer(res, req)
	}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) serve(text string) {
	w.answer = func(res http.ResponseWriter, _ *http.Request) {
		res.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(res, text)
	}
}

func (w *world) TXT(_ context.Context, name string) ([]string, dns.Answer, error) {
	if name != "_mta-sts.example.com" {
		w.t.Errorf("asked for %s", name)
	}
	return w.txt, dns.Answer{}, w.txtErr
}

func (w *world) Addrs(context.Context, string) ([]netip.Addr, dns.Answer, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.80")}, dns.Answer{}, nil
}

func (w *world) open() *Cache {
	w.t.Helper()
	cfg := Config{Dir: w.dir, Resolver: w, Allowed: w.allowed, RootCAs: x509.NewCertPool(), Now: func() time.Time { return w.now }}
	if w.trusted {
		cfg.RootCAs.AddCert(w.server.Certificate()) // for example.com and *.example.com
	}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "192.0.2.80:443" {
			w.t.Errorf("dialled %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
	}
	c, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// want asks for the policy and compares its mode, "" for none, and how often
// the policy host has been asked in all.
func (w *world) want(c *Cache, mode Mode, fetched int32, failure error) {
	w.t.Helper()
	p, ok, err := c.Policy(w.t.Context(), "example.com")
	if p.Mode != mode || ok != (mode != "") || w.fetched.Load() != fetched || !errors.Is(err, failure) || (err == nil) != (failure == nil) {
		w.t.Errorf("policy %q, %v, fetched %d times, %v; want %q, %d, %v", p.Mode, ok, w.fetched.Load(), err, mode, fetched, failure)
	}
}

// TestDowngrade is what an attacker between us and a domain with a policy can
// do: nothing, until it expires.
func TestDowngrade(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.want(c, Enforce, 1, nil)
	w.want(c, Enforce, 1, nil)

	w.txt = nil // the record is gone
	w.want(c, Enforce, 1, nil)
	w.txtErr = errors.New("SERVFAIL")
	w.want(c, Enforce, 1, nil)
	w.txt, w.txtErr = []string{"v=STSv1; id=2"}, nil // another id, and no policy to be had
	w.answer = func(res http.ResponseWriter, _ *http.Request) { http.Error(res, "no", http.StatusNotFound) }
	w.want(c, Enforce, 2, ErrFetch)
	w.want(c, Enforce, 2, ErrFetch) // not asked again within five minutes

	again := w.open() // a restart forgets nothing
	w.txt = nil
	w.want(again, Enforce, 2, nil)
	w.now = w.now.Add(25 * time.Hour)
	w.want(again, "", 2, nil)
}

func TestNewPolicy(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.want(c, Enforce, 1, nil)
	w.txt = []string{"v=STSv1; id=2"}
	w.serve("version: STSv1\nmode: none\nmax_age: 86400\n")
	w.want(c, None, 2, nil)
	w.want(w.open(), None, 2, nil)
}

func TestBadFetch(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		want   error
	}{
		"redirect": {func(w *world) {
			w.answer = func(res http.ResponseWriter, req *http.Request) { http.Redirect(res, req, "/other", http.StatusFound) }
		}, ErrFetch},
		"not text": {func(w *world) {
			w.answer = func(res http.ResponseWriter, _ *http.Request) {
				res.Header().Set("Content-Type", "text/html")
				fmt.Fprint(res, good)
			}
		}, ErrInvalid},
		"endless": {func(w *world) {
			w.answer = func(res http.ResponseWriter, _ *http.Request) {
				res.Header().Set("Content-Type", "text/plain")
				for range 1000 {
					if _, err := fmt.Fprint(res, strings.Repeat("x: y\n", 1000)); err != nil {
						return
					}
				}
			}
		}, ErrInvalid},
		"bad policy":      {func(w *world) { w.serve("hello") }, ErrInvalid},
		"bad certificate": {func(w *world) { w.trusted = false }, ErrWebPKI},
		"private address": {func(w *world) { w.allowed = func(netip.Addr) bool { return false } }, ErrFetch},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Config.ErrorLog = nil
			tt.change(w)
			c := w.open()
			_, ok, err := c.Policy(t.Context(), "example.com")
			if ok || !errors.Is(err, tt.want) {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
}

func TestDamagedFile(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.want(c, Enforce, 1, nil)
	if err := os.WriteFile(filepath.Join(w.dir, "example.com"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "..bad name"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.want(w.open(), Enforce, 2, nil)
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.serve(strings.Replace(good, "86400", "864000", 1))
	c := w.open()
	w.want(c, Enforce, 1, nil)
	c.refresh(t.Context())
	w.want(c, Enforce, 1, nil)
	w.now = w.now.Add(25 * time.Hour)
	c.refresh(t.Context())
	w.now = w.now.Add(9*24*time.Hour + 23*time.Hour)
	w.want(c, Enforce, 2, nil) // it would have expired
	w.txt = nil
	w.now = w.now.Add(24 * time.Hour)
	c.refresh(t.Context())
	if left, _ := filepath.Glob(w.dir + "/*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
