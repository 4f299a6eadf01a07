package mx

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"buzon/internal/smtp"
)

// addresses of the hosts in these tests are in 192.0.2.0/24; nothing listens
// unless a test says so, so that "451 4.4.1 local" means "it was tried".
func TestRoutes(t *testing.T) {
	const tried = "451 4.4.1 local"
	for _, tt := range []struct {
		name   string
		mx     string // of x.test
		addr   map[string]string
		to     string // a@x.test when empty
		want   string
		dialed string // the order matters only where it is not left to chance
	}{
		{name: "by preference", mx: "30 c, 10 a, 20 b", addr: map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}, want: tried, dialed: "192.0.2.1 192.0.2.2 192.0.2.3"},
		{name: "no such domain", mx: "nxdomain", want: "550 5.1.2 local"},
		{name: "name service down", mx: "servfail", want: "451 4.4.3 local"},
		{name: "null MX", mx: "0 .", want: "556 5.1.10 local"},
		{name: "null MX beside another", mx: "0 ., 10 a", addr: map[string]string{"a": "192.0.2.1"}, want: tried, dialed: "192.0.2.1"},
		{name: "implicit MX", mx: "nodata", addr: map[string]string{"x.test": "192.0.2.1"}, want: tried, dialed: "192.0.2.1"},
		{name: "neither MX nor address", mx: "nodata", addr: map[string]string{"x.test": "nodata"}, want: "550 5.4.4 local"},
		{name: "implicit MX, name service down", mx: "nodata", addr: map[string]string{"x.test": "servfail"}, want: "451 4.4.3 local"},
		{name: "MX without address, another with", mx: "10 a, 20 b", addr: map[string]string{"b": "192.0.2.2"}, want: tried, dialed: "192.0.2.2"},
		{name: "no MX has an address", mx: "10 a, 20 b", addr: map[string]string{"a": "nodata"}, want: "550 5.4.4 local"},
		{name: "one has none, one is in trouble", mx: "10 a, 20 b", addr: map[string]string{"a": "servfail"}, want: "451 4.4.3 local"},
		{name: "we are the best", mx: "10 us.test, 20 b", addr: map[string]string{"b": "192.0.2.2"}, want: "550 5.4.6 local"},
		{name: "we are second", mx: "10 a, 20 us.test, 20 c, 30 b", addr: map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}, want: tried, dialed: "192.0.2.1"},
		{name: "we are one of the best", mx: "10 a, 10 us.test", addr: map[string]string{"a": "192.0.2.1"}, want: "550 5.4.6 local"},
		{name: "we are the best under another name", mx: "10 also-us.test", want: "550 5.4.6 local"},
		{name: "the best has our address", mx: "10 a, 20 b", addr: map[string]string{"a": "203.0.113.1", "b": "192.0.2.2"}, want: "550 5.4.6 local"},
		{name: "the second has our address", mx: "10 a, 20 b, 30 c", addr: map[string]string{"a": "192.0.2.1", "b": "192.0.2.9, 203.0.113.1", "c": "192.0.2.3"}, want: tried, dialed: "192.0.2.1"},
		{name: "only private addresses", mx: "10 a, 20 b", addr: map[string]string{"a": "127.0.0.1, 10.0.0.1", "b": "fd00::1"}, want: "550 5.4.4 local"},
		{name: "private beside public", mx: "10 a", addr: map[string]string{"a": "192.168.1.1, 192.0.2.1, ::1"}, want: tried, dialed: "192.0.2.1"},
		{name: "literal", to: "a@[192.0.2.7]", want: tried, dialed: "192.0.2.7"},
		{name: "literal IPv6", to: "a@[IPv6:2001:db8::7]", want: tried, dialed: "2001:db8::7"},
		{name: "literal, private", to: "a@[127.0.0.1]", want: "550 5.4.4 local"},
		{name: "literal, mapped private", to: "a@[IPv6:::ffff:127.0.0.1]", want: "550 5.4.4 local"},
		{name: "literal, ours", to: "a@[203.0.113.1]", want: "550 5.4.6 local"},
		{name: "IPv6 first, then IPv4 in turn", mx: "10 a", addr: map[string]string{"a": "192.0.2.1, 2001:db8::1"}, want: tried, dialed: "2001:db8::1 192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.mx["x.test"], w.addr = tt.mx, tt.addr
			if tt.to == "" {
				tt.to = "a@x.test"
			}
			got := w.send(func(c *Config) { c.Names = []string{"Also-Us.test."} }, hello, tt.to)
			want(t, got, tt.want)
			if got := strings.Join(w.dialled, " "); got != tt.dialed {
				t.Errorf("dialled %q, want %q", got, tt.dialed)
			}
			if w.log.Len() == 0 {
				t.Error("nothing was logged")
			}
		})
	}
}

func TestEqualPreferenceIsShuffled(t *testing.T) {
	first := map[string]int{}
	for range 200 {
		w := newWorld(t)
		w.mx["x.test"] = "20 d, 10 a, 10 b, 10 c"
		w.addr = map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4"}
		w.send(nil, hello, "a@x.test")
		if len(w.dialled) != 4 || w.dialled[3] != "192.0.2.4" {
			t.Fatalf("dialled %q", w.dialled)
		}
		first[w.dialled[0]]++
	}
	for _, host := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		if first[host] < 20 { // 1 in 10^13 by chance
			t.Errorf("%s was first %d times of 200", host, first[host])
		}
	}
}

// TestAttemptIsBounded is Q18 of the fault catalogue.
func TestAttemptIsBounded(t *testing.T) {
	var hosts []string
	for i := range 50 {
		hosts = append(hosts, fmt.Sprintf("%d h%d", i, i))
	}
	fill := func(script string) *world {
		w := newWorld(t)
		w.mx["x.test"] = strings.Join(hosts, ", ")
		for i := range 50 {
			w.addr[fmt.Sprint("h", i)] = fmt.Sprintf("192.0.2.%d", i+1)
			if script != "" {
				w.host[fmt.Sprintf("192.0.2.%d", i+1)] = []string{script}
			}
		}
		return w
	}
	for script, n := range map[string]int{"": maxAddresses, "450 later\n> QUIT\n": maxSessions, "unreachable": maxUnrouted} {
		w := fill(script)
		got := w.send(nil, hello, "a@x.test")
		if len(w.dialled) != n || got[0][0] != '4' {
			t.Errorf("%q: dialled %d hosts, %s; want %d", script, len(w.dialled), got, n)
		}
	}
}

// TestNoIPv6 is Q26: a machine without a way to one family uses the other.
func TestNoIPv6(t *testing.T) {
	w := oneHost(t, takes)
	w.addr["mx.x.test"] = "192.0.2.1, 2001:db8::1, 2001:db8::2, 2001:db8::3, 2001:db8::4, 2001:db8::5, 2001:db8::6"
	for i := range 6 {
		w.host[fmt.Sprintf("2001:db8::%d", i+1)] = []string{"unreachable"}
	}
	want(t, w.send(nil, hello, "a@x.test"), "250 2.0.0")
}

func TestHostWithOurName(t *testing.T) {
	w := oneHost(t, "220 US.test\n> EHLO us.test\n250 US.test hello\n"+done)
	want(t, w.send(nil, hello, "a@x.test"), "550 5.4.6 local")
}

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "192.0.2.1": true, "2606:4700::1": true, "172.32.0.1": true, "100.128.0.1": true, "169.253.0.1": true,
		"127.0.0.1": false, "127.255.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.0.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false,
		"192.0.0.170": false, "198.18.0.1": false, "198.19.255.1": false, "224.0.0.1": false, "239.1.1.1": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "::127.0.0.1": false, "fe80::1": false,
		"fe80::1%eth0": false, "fc00::1": false, "fd12:3456::1": false, "fec0::1": false, "ff02::1": false, "100::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::808:808": true, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2002:808:808::": true,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("public(%s) = %v", text, got)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

func TestInterleave(t *testing.T) {
	var in []netip.Addr
	for i := range 4 {
		in = append(in, netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)))
	}
	in = append(in, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"))
	out := interleave(in)
	if len(out) != 6 || !out[0].Is6() || !out[1].Is4() || !out[2].Is6() || !out[3].Is4() || !out[5].Is4() {
		t.Errorf("order %v", out)
	}
	slices.SortFunc(in, netip.Addr.Compare)
	slices.SortFunc(out, netip.Addr.Compare)
	if !slices.Equal(in, out) {
		t.Errorf("%v became %v", in, out)
	}
}

func TestBadConfigurations(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no host name":           func(c *Config) { c.Hostname = "" },
		"host name with a space": func(c *Config) { c.Hostname = "mx us.test" },
		"no resolver":            func(c *Config) { c.Resolver = nil },
		"another name":           func(c *Config) { c.Names = []string{"a..b"} },
		"smarthost's name":       func(c *Config) { c.Smarthost = &Smarthost{Host: "a b"} },
		"smarthost's mode":       func(c *Config) { c.Smarthost = &Smarthost{Host: "a.test", TLS: "maybe"} },
		"user without password":  func(c *Config) { c.Smarthost = &Smarthost{Host: "a.test", Username: "u"} },
		"password without TLS": func(c *Config) {
			c.Smarthost = &Smarthost{Host: "a.test", Username: "u", Password: "p", TLS: NoTLS}
		},
		"route's domain":    func(c *Config) { c.Routes = map[string]*Smarthost{"a@b": nil} },
		"route's smarthost": func(c *Config) { c.Routes = map[string]*Smarthost{"a.test": {}} },
	} {
		cfg := Config{Hostname: "us.test", Resolver: newWorld(t)}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSenderRoutes: the recipients' domain goes before the sender, he before
// his domain, that before everybody's smarthost; notices have no sender.
func TestSenderRoutes(t *testing.T) {
	w := newWorld(t)
	c := w.client(func(cfg *Config) {
		cfg.Smarthost = &Smarthost{Host: "all.test", TLS: NoTLS}
		cfg.Routes = map[string]*Smarthost{"y.test": {Host: "y.route.test", TLS: NoTLS}}
		cfg.Senders = map[string]*Smarthost{"ana@us.test": {Host: "ana.route.test", TLS: NoTLS}, "@us.test": {Host: "us.route.test", TLS: NoTLS}, "direct@us.test": nil}
	})
	w.mx["x.test"] = "10 mx.x.test"
	for _, tt := range []struct{ from, to, host string }{
		{"ana@us.test", "x.test", "ana.route.test"}, {"luis@us.test", "x.test", "us.route.test"}, {"ana@us.test", "y.test", "y.route.test"},
		{"eva@other.test", "x.test", "all.test"}, {"direct@us.test", "x.test", "mx.x.test"}, {"", "x.test", "all.test"},
	} {
		var from smtp.Address
		if tt.from != "" {
			var err error
			if from, err = smtp.ParseAddress(tt.from); err != nil {
				t.Fatal(err)
			}
		}
		hops, f := c.router.route(t.Context(), from, tt.to, "")
		if f != nil || len(hops) != 1 || hops[0].host != tt.host {
			t.Errorf("%s to %s: %v, %v", tt.from, tt.to, hops, f)
		}
	}
}
