package mx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"buzon/internal/smtp"
	"buzon/mx"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

// peer is another's SMTP server, with a backend that takes everything but
// "nobody".
type peer struct {
	mu       sync.Mutex // guards what follows
	messages []string
	tls      int
}

type peerSession struct {
	p    *peer
	conn *gosmtp.Conn
}

func (p *peer) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) { return &peerSession{p, c}, nil }
func (s *peerSession) Reset()                                     {}
func (s *peerSession) Logout() error                              { return nil }
func (s *peerSession) Mail(string, *gosmtp.MailOptions) error     { return nil }

func (s *peerSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "nobody"}
	}
	return nil
}

func (s *peerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.messages = append(s.p.messages, string(b))
	if _, ok := s.conn.TLSConnectionState(); ok {
		s.p.tls++
	}
	return err
}

// TestWithNameServerAndPeer goes all the way: MX and address from a name
// server, then TLS and a large message to a server that is not ours.
func TestWithNameServerAndPeer(t *testing.T) {
	p := &peer{}
	server := gosmtp.NewServer(p)
	server.Domain, server.EnableSMTPUTF8, server.TLSConfig = "mx.x.test", true, certificate(t)
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	defer serving.Wait()
	defer server.Close()

	names := dnstest.Start(t, dnstest.MustParse("x.test. MX 10 dead.x.test.\nx.test. MX 20 mx.x.test.\ndead.x.test. A 127.0.0.3\nmx.x.test. A 127.0.0.2\n"))
	resolver, err := dns.New(dns.Config{Servers: []string{names.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := mx.New(mx.Config{Hostname: "us.test", Resolver: resolver, AllowPrivate: true, Port: uint16(ln.Addr().(*net.TCPAddr).Port)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	var message bytes.Buffer
	fmt.Fprint(&message, "Subject: caf\u00e9\r\n\r\n")
	for i := range 200_000 {
		fmt.Fprintf(&message, "%s line %d \xe9\r\n", strings.Repeat(".", i%3), i)
	}
	env := smtp.Envelope{UTF8: true}
	for _, local := range []string{"ana", "nobody", "jos\u00e9", "a b"} {
		env.To = append(env.To, smtp.Recipient{Address: smtp.Address{Local: local, Domain: "x.test"}})
	}
	var got []int
	for _, r := range client.Send(t.Context(), env, bytes.NewReader(message.Bytes()), int64(message.Len())) {
		got = append(got, r.Reply.Code)
		if r.Host != "mx.x.test" || !strings.HasPrefix(r.TLS, "TLS 1.3") {
			t.Errorf("%s: host %q, TLS %q, %v", r.Recipient, r.Host, r.TLS, r.Err)
		}
	}
	if fmt.Sprint(got) != "[250 550 250 250]" || len(p.messages) != 1 || p.messages[0] != message.String() || p.tls != 1 {
		t.Errorf("replies %v, %d messages, %d under TLS", got, len(p.messages), p.tls)
	}
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.x.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
