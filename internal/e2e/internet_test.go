package e2e_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// internetTime bounds the whole of the small internet.
const internetTime = 15 * time.Minute

// station is a mail host of the small internet, ours or another's: where it
// takes mail from its users, and what has arrived for its one mailbox.
type station struct {
	domain string
	dial   func() (*smtp.Client, error)
	files  func(t *testing.T) []string
}

// TestInternet has mail hosts of five makes (two of ours, Postfix, Exim,
// OpenSMTPD) send each other mail through a signed name system, with DANE and
// MTA-STS, and then makes each trouble that a mail host meets. Nothing may be
// lost, nothing may come back because of trouble that passes, and nothing may
// go in plain text under a policy. BUZON_INTERNET_MESSAGES is how many, 100.
func TestInternet(t *testing.T) {
	need(t, "postfix", "nsd", "unbound", "ldns-signzone", "unshare")
	if os.Getuid() != 0 {
		t.Skip("a small internet needs root: ports 25, 53 and 443, and name spaces")
	}
	for _, port := range []string{"25", "53", "443"} {
		ln, err := net.Listen("tcp", loopback()+":"+port)
		if err != nil {
			t.Skipf("port %s is taken on this machine: %v", port, err)
		}
		ln.Close()
	}
	messages := 100
	if n, err := strconv.Atoi(os.Getenv("BUZON_INTERNET_MESSAGES")); err == nil {
		messages = n
	}

	// The hosts are made before the zone, which names their certificates.
	a := newHost(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}, Ports: map[string]int{"smtp": 25}})
	b := newHost(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}, Ports: map[string]int{"smtp": 25}})
	_, leafB := certificateOf(t, b.dir)
	records := []string{
		"a.test. MX 10 mx.a.test.", "mx.a.test. A " + a.IP,
		"_mta-sts.a.test. TXT \"v=STSv1; id=1\"", // MTA-STS for a.test, DANE for b.test
		"b.test. MX 10 mx.b.test.", "mx.b.test. A " + b.IP, tlsa(t, "mx.b.test", leafB),
	}
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	troubles := newTroubles(t)
	records = append(records, troubles.records...)

	policies := loopback()
	for _, domain := range []string{"a.test", "stripped.test", "expired.test"} {
		records = append(records, "mta-sts."+domain+". A "+policies)
	}
	plan := planPeers(t)
	for _, p := range plan {
		records = append(records, p.domain+". MX 10 mx."+p.domain+".", "mx."+p.domain+". A "+p.ip)
	}
	dns := startSignedDNS(t, records, troubles.forged)
	if err := os.WriteFile(resolvConf, []byte("nameserver "+dns.resolver+"\noptions edns0 trust-ad\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	// One authority for the policy host; ours believe in it and in each other's.
	bundle := servePolicies(t, policies, map[string]string{
		"a.test": "mx.a.test", "stripped.test": "mx.stripped.test", "expired.test": "mx.expired.test",
	})
	for _, dir := range []string{a.dir, b.dir, troubles.dir} {
		text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, text...)
	}
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(trusted, bundle, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trusted)
	var stations []station
	for _, h := range []*host{a, b} {
		h.Extra = fmt.Sprintf("[dns]\nservers = [%q]\n[outbound]\nallow_private = true\n[queue]\nretry = [\"1s\"]\n", dns.resolver+":53")
		h.configure(t)
		h.start(t)
		user, trust := h.Accounts[0], h.tls(t)
		stations = append(stations, station{h.Domains[0], func() (*smtp.Client, error) { return h.userClient(user, trust) },
			func(t *testing.T) []string { return h.files(t, user) }})
	}
	for _, p := range plan {
		peer := p.start(t, p.ip, resolvConf)
		stations = append(stations, station{p.domain, func() (*smtp.Client, error) { return smtp.Dial(net.JoinHostPort(p.ip, "25")) }, peer.files})
	}

	t.Run("mail", func(t *testing.T) { exchangeAll(t, stations, messages) })
	t.Run("policies", func(t *testing.T) {
		log := a.log.String() + b.log.String()
		for _, want := range []string{"policy=dane ", "policy=mta-sts "} {
			if !strings.Contains(log, want) {
				t.Errorf("no line has %s", want)
			}
		}
		if strings.Contains(log, "policy=dane-") || strings.Contains(a.log.String(), "msg=bounced") {
			t.Error("something was bounced, or DANE was half understood")
		}
	})
	t.Run("troubles", func(t *testing.T) { troubles.run(t, a, dns) })
}

// exchangeAll has each station send to all the others, and wants every message
// where it belongs, once.
func exchangeAll(t *testing.T, stations []station, messages int) {
	t.Helper()
	type pair struct{ from, to station }
	var pairs []pair
	for _, from := range stations {
		for _, to := range stations {
			if from.domain != to.domain {
				pairs = append(pairs, pair{from, to})
			}
		}
	}
	each := (messages + len(pairs) - 1) / len(pairs)
	began := time.Now()
	var senders sync.WaitGroup
	for _, from := range stations {
		senders.Go(func() {
			sent := 0
			var client *smtp.Client
			for i := range each {
				for _, p := range pairs {
					if p.from.domain != from.domain {
						continue
					}
					if sent%50 == 0 { // some take a hundred over one connection, and no more
						var err error
						if client, err = from.dial(); err != nil {
							t.Errorf("%s: %v", from.domain, err)
							return
						}
						defer client.Close()
					}
					sent++
					sender, recipient := mailbox(from.domain), mailbox(p.to.domain)
					text := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: token-%s-%s-%d-end\r\nMessage-ID: <%d.%s.%s>\r\nDate: %s\r\n\r\n%s\r\n",
						sender, recipient, from.domain, p.to.domain, i, i, p.to.domain, sender, time.Now().Format(time.RFC1123Z), strings.Repeat("hola ", 15))
					if err := client.SendMail(sender, []string{recipient}, strings.NewReader(text)); err != nil {
						t.Errorf("%s to %s: %v", from.domain, p.to.domain, err)
						return
					}
				}
			}
		})
	}
	senders.Wait()
	if t.Failed() {
		return
	}
	missing := make(map[string]bool)
	for _, p := range pairs {
		for i := range each {
			missing[fmt.Sprintf("token-%s-%s-%d-end", p.from.domain, p.to.domain, i)] = true
		}
	}
	total := len(missing)
	read := make(map[string]string) // file → token
	eventually(t, 4*patience+time.Duration(total)*time.Second/5, func() error {
		for _, s := range stations {
			for _, name := range s.files(t) {
				if _, known := read[name]; known {
					continue
				}
				raw, err := os.ReadFile(name)
				if err != nil {
					continue // renamed meanwhile
				}
				_, rest, _ := bytes.Cut(raw, []byte("Subject: token-"))
				token, _, _ := strings.Cut(string(rest), "-end")
				token = "token-" + token + "-end"
				read[name] = token
				delete(missing, token)
			}
		}
		if len(missing) > 0 {
			for token := range missing {
				return fmt.Errorf("%d of %d messages are missing, like %s", len(missing), total, token)
			}
		}
		return nil
	})
	twice := make(map[string]int)
	for _, token := range read {
		twice[token]++
		if twice[token] == 2 {
			t.Errorf("%s has arrived twice", token)
		}
	}
	t.Logf("%d messages among %d hosts in %v", total, len(stations), time.Since(began).Round(100*time.Millisecond))
}

// mailbox is the address of a domain's user.
func mailbox(domain string) string {
	switch domain {
	case "a.test":
		return "ana@a.test"
	case "b.test":
		return "luis@b.test"
	}
	return "eva@" + domain
}

// userClient logs in at the submission port.
func (h *host) userClient(user string, trust *tls.Config) (*smtp.Client, error) {
	client, err := smtp.DialStartTLS(h.Addr("submission"), trust)
	if err != nil {
		return nil, err
	}
	if err := client.Auth(sasl.NewPlainClient("", user, password)); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// servePolicies answers for mta-sts.<domain> of each domain at ip:443: its one
// host is required, with TLS. It returns the certificate of its authority.
func servePolicies(t *testing.T, ip string, hosts map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for domain := range hosts {
		names = append(names, "mta-sts."+domain)
	}
	writeCertificate(t, dir, names[0], ip, names[1:]...)
	pair, _ := certificateOf(t, dir)
	ln, err := net.Listen("tcp", ip+":443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		Handler: http.HandlerFunc(func(res http.ResponseWriter, req *http.Request) {
			host, ok := hosts[strings.TrimPrefix(req.Host, "mta-sts.")]
			if !ok || req.URL.Path != "/.well-known/mta-sts.txt" {
				http.NotFound(res, req)
				return
			}
			res.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(res, "version: STSv1\r\nmode: enforce\r\nmx: %s\r\nmax_age: 86400\r\n", host)
		}),
	}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return authority
}
