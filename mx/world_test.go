package mx

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dns"
)

// world is what one test's client can reach: a name system, and hosts that
// follow scripts.
type world struct {
	t    *testing.T
	mx   map[string]string   // domain → "10 a.test, 20 b.test", or an error's name
	addr map[string]string   // host → "192.0.2.1, 2001:db8::1", or an error's name
	host map[string][]string // address → a script for each connection; the last one repeats
	pipe bool                // connections are net.Pipe, for synctest

	signed      bool // DNSSEC vouches for every answer
	tlsa        map[string][]dns.TLSA
	tlsaTrouble string // an error's name

	cert  tls.Certificate
	roots *x509.CertPool
	log   bytes.Buffer

	mu       sync.Mutex // guards what follows
	dialled  []string
	sent     []string // transcript of the client's lines, "| " before those of messages
	messages []string // as they came, dots and all
	servers  sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, mx: map[string]string{}, addr: map[string]string{}, host: map[string][]string{}}
	return w
}

// oneHost is a world in which x.test has one host, 192.0.2.1, with scripts.
func oneHost(t *testing.T, scripts ...string) *world {
	w := newWorld(t)
	w.mx["x.test"] = "10 mx.x.test"
	w.addr["mx.x.test"] = "192.0.2.1"
	w.host["192.0.2.1"] = scripts
	return w
}

var dnsErrors = map[string]error{"nxdomain": dns.ErrNoSuchDomain, "nodata": dns.ErrNoData, "servfail": fmt.Errorf("answered SERVFAIL")}

func (w *world) MX(_ context.Context, domain string) ([]dns.MX, dns.Answer, error) {
	text, ok := w.mx[domain]
	if !ok {
		text = "nxdomain"
	}
	if err := dnsErrors[text]; err != nil {
		return nil, dns.Answer{}, &dns.Error{Name: domain, Type: "MX", Err: err}
	}
	var list []dns.MX
	for item := range strings.SplitSeq(text, ", ") {
		var m dns.MX
		fmt.Sscan(item, &m.Preference, &m.Host)
		list = append(list, m)
	}
	return list, dns.Answer{Authentic: w.signed, Canonical: domain}, nil
}

func (w *world) Addrs(_ context.Context, host string) ([]netip.Addr, dns.Answer, error) {
	text, ok := w.addr[host]
	if !ok {
		text = "nxdomain"
	}
	if err := dnsErrors[text]; err != nil {
		return nil, dns.Answer{}, &dns.Error{Name: host, Type: "A", Err: err}
	}
	var list []netip.Addr
	for item := range strings.SplitSeq(text, ", ") {
		list = append(list, netip.MustParseAddr(item))
	}
	return list, dns.Answer{Authentic: w.signed, Canonical: host}, nil
}

func (w *world) CNAME(_ context.Context, name string) (string, dns.Answer, error) {
	return "", dns.Answer{}, &dns.Error{Name: name, Type: "CNAME", Err: dns.ErrNoData}
}

// tlsa is what the host says, where it is signed at all: tlsa[host], or an
// error's name.
func (w *world) TLSA(_ context.Context, host string, _ uint16) ([]dns.TLSA, dns.Answer, error) {
	a := dns.Answer{Authentic: w.signed}
	if err := dnsErrors[w.tlsaTrouble]; err != nil {
		return nil, a, &dns.Error{Name: host, Type: "TLSA", Err: err}
	}
	if list, ok := w.tlsa[host]; ok {
		return list, a, nil
	}
	return nil, a, &dns.Error{Name: host, Type: "TLSA", Err: dns.ErrNoSuchDomain}
}

// client returns a Client that lives in the world as us.test, 203.0.113.1.
func (w *world) client(change func(*Config)) *Client {
	cfg := Config{
		Hostname: "us.test", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, Resolver: w, Dial: w.dial,
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), RootCAs: w.roots,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	c.router.ownAddrs = func() []netip.Addr { return cfg.Addresses }
	return c
}

// send makes one attempt with a message to recipients of one domain and
// returns what became of each, as outcome writes it.
func (w *world) send(change func(*Config), message string, to ...string) []string {
	return w.sendEnvelope(w.client(change), smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}}, message, to...)
}

func (w *world) sendEnvelope(c *Client, env smtp.Envelope, message string, to ...string) []string {
	w.t.Helper()
	for _, text := range to {
		a, err := smtp.ParseAddress(text)
		if err != nil {
			w.t.Fatal(err)
		}
		env.To = append(env.To, smtp.Recipient{Address: a})
	}
	results := c.Send(w.t.Context(), env, strings.NewReader(message), int64(len(message)))
	c.Close()
	w.servers.Wait()
	var list []string
	for i, r := range results {
		if r.Recipient != env.To[i].Address {
			w.t.Errorf("result %d is for %s, want %s", i, r.Recipient, env.To[i].Address)
		}
		list = append(list, outcome(r))
	}
	return list
}

// outcome is "250 2.0.0" for a host's reply, "451 4.4.1 local" for ours.
func outcome(r smtp.Result) string {
	if r.Reply == nil {
		return "no reply"
	}
	s := fmt.Sprintf("%d %s", r.Reply.Code, r.Reply.Status())
	if r.Err != nil {
		s += " local"
	}
	return s
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ap := netip.MustParseAddrPort(address)
	key := ap.Addr().String()
	if ap.Port() != 25 {
		key = address
	}
	w.dialled = append(w.dialled, key)
	scripts := w.host[key]
	if len(scripts) == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	switch scripts[0] {
	case "unreachable":
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(scripts) > 1 {
		w.host[key] = scripts[1:]
	}
	ours, theirs := w.pair()
	w.servers.Go(func() { w.follow(key, theirs, scripts[0]) })
	return ours, nil
}

func (w *world) pair() (ours, theirs net.Conn) {
	if w.pipe {
		return net.Pipe()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		w.t.Fatal(err)
	}
	if theirs, err = ln.Accept(); err != nil {
		w.t.Fatal(err)
	}
	theirs.SetDeadline(time.Now().Add(2 * time.Minute))
	return ours, theirs
}

// follow plays a host. The lines of a script:
//
//	250 text     is sent as it is, as every line that begins with a digit
//	> MAIL ...   a line is read that must be this one; "..." stands for any end
//	*message     a message is read, up to CRLF.CRLF
//	*tls         a handshake is made
//	*read        any one byte is waited for
//	*raw "..."   the bytes are sent, as a Go string
//	*flood "..." the bytes are sent until the client has enough
//	*sleep 1m    time passes (in synctest)
//	*hang        nothing is done until the client leaves
//
// At its end the host closes. A client that leaves early, where the script
// still waits for a line, has to have said QUIT: "> QUIT" need not be written.
func (w *world) follow(key string, conn net.Conn, script string) {
	defer func() { conn.Close() }()
	r := bufio.NewReaderSize(conn, 64<<10)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		verb, arg, _ := strings.Cut(line, " ")
		var raw string
		if strings.HasPrefix(arg, `"`) {
			fmt.Sscanf(arg, "%q", &raw)
		}
		switch {
		case line == "":
		case verb == ">":
			got, err := r.ReadString('\n')
			if err != nil {
				w.t.Errorf("%s: wanted %q, the client left: %v", key, arg, err)
				return
			}
			w.note(got)
			got = strings.TrimSuffix(got, "\r\n")
			if start, any := strings.CutSuffix(arg, "..."); got != arg && !(any && strings.HasPrefix(got, start)) {
				w.t.Errorf("%s: got %q, want %q", key, got, arg)
				return
			}
		case verb == "*message":
			var message strings.Builder
			for !strings.HasSuffix("\r\n"+message.String(), "\r\n.\r\n") {
				part, err := r.ReadString('\n')
				if err != nil {
					w.t.Errorf("%s: %v in a message", key, err)
					return
				}
				message.WriteString(part)
			}
			w.mu.Lock()
			w.messages = append(w.messages, message.String())
			w.mu.Unlock()
		case verb == "*tls":
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{w.cert}, SessionTicketsDisabled: true})
			if err := conn.(*tls.Conn).Handshake(); err != nil {
				return // the client's side says whether it should have worked
			}
			r = bufio.NewReaderSize(conn, 64<<10)
		case verb == "*read": // one byte, whatever it is
			if _, err := r.ReadByte(); err != nil {
				w.t.Errorf("%s: wanted a byte: %v", key, err)
			}
		case verb == "*raw":
			io.WriteString(conn, raw)
		case verb == "*flood":
			for {
				if _, err := io.WriteString(conn, raw); err != nil {
					return
				}
			}
		case verb == "*sleep": // in synctest's time only
			d, _ := time.ParseDuration(arg)
			time.Sleep(d)
		case verb == "*hang":
			io.Copy(io.Discard, r)
			return
		default:
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				w.t.Errorf("%s: sending %q: %v", key, line, err)
				return
			}
		}
	}
}

func (w *world) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, line)
}

// withCertificate gives the hosts a certificate for name; trusted makes the
// client believe in it.
func (w *world) withCertificate(name string, trusted bool) *world {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	w.roots = x509.NewCertPool()
	if trusted {
		w.roots.AddCert(leaf)
	}
	return w
}
