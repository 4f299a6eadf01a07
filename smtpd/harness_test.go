package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/internal/limit"
	"buzon/internal/sasl"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/maildir"
	"buzon/smtpd/lda"
)

// house is a mail host without its network: accounts, a store, a queue that
// keeps what it is given.
type house struct {
	scripts *sieve.Library
	t       testing.TB
	dir     string
	cfg     Config
	queue   *fakeSpool
	stops   []func() // of the servers
	close   func()   // the store
	log     *bytes.Buffer
	logMu   sync.Mutex
}

const password = "correct horse"

// newHouse has ana and luis at buzon.test, the alias both for them, and marta
// with room for 10 000 octets.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), queue: &fakeSpool{}, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(h, nil))
	data := filepath.Join(h.dir, "data")
	h.must(os.CopyFS(data, os.DirFS(accountFiles())))
	accounts := openAccounts(t, data, log)
	store, err := maildir.Open(maildir.Config{
		Mail: filepath.Join(h.dir, "mail"), State: filepath.Join(h.dir, "state"), Host: "mx.buzon.test", Log: log,
		QuotaLimit: func(id string) (int64, int64) {
			if id == "marta@buzon.test" {
				return 10_000, 0
			}
			return 0, 0
		},
	})
	h.must(err)
	h.scripts, err = sieve.OpenLibrary(filepath.Join(h.dir, "mail"))
	h.must(err)
	h.close = sync.OnceFunc(func() { store.Close(); h.scripts.Close() })
	t.Cleanup(h.close)
	h.cfg = Config{
		Hostname:      "mx.buzon.test",
		TLS:           &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, MinVersion: tls.VersionTLS12},
		Dir:           h.dir,
		Directory:     accounts,
		Local:         lda.New(lda.Config{Store: store, Directory: accounts, Log: log, Scripts: h.scripts}),
		Spool:         h.queue,
		Logins:        sasl.New(sasl.Config{Directory: accounts, Guard: limit.NewGuard(limit.GuardConfig{})}),
		Conns:         limit.NewConns(limit.ConnsConfig{}),
		Log:           log,
		MaxSize:       1 << 20,
		GreetingPause: -1,
	}
	return h
}

func openAccounts(t testing.TB, dir string, log *slog.Logger) *account.Directory {
	t.Helper()
	d, err := account.Open(account.Config{
		Dir:      dir,
		Domains:  []account.Domain{{Name: "buzon.test"}},
		Hostname: "mx.buzon.test",
		Log:      log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// accountFiles is a directory with our accounts, made once: to hash a
// password takes long.
var accountFiles func() string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "smtpd-*")
	if err != nil {
		panic(err)
	}
	accountFiles = sync.OnceValue(func() string {
		if err := makeAccounts(dir); err != nil {
			panic(err)
		}
		return dir
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func makeAccounts(dir string) error {
	ctx := context.Background()
	d, err := account.Open(account.Config{
		Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer d.Close()
	for _, id := range []account.ID{"ana@buzon.test", "luis@buzon.test", "marta@buzon.test"} {
		if err := d.Add(ctx, id, password, 0); err != nil {
			return err
		}
	}
	return d.AddAlias(ctx, smtp.Address{Local: "both", Domain: "buzon.test"}, []string{"ana@buzon.test", "luis@buzon.test"})
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// Write takes log lines.
func (h *house) Write(p []byte) (int, error) {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.Write(p)
}

func (h *house) logged() string {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.String()
}

// inbox returns the messages in a user's INBOX, oldest first.
func (h *house) inbox(user string) []string {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "mail", "buzon.test", user, "Maildir", "new", "*"))
	h.must(err)
	slices.SortFunc(files, func(a, b string) int { return h.modified(a).Compare(h.modified(b)) })
	var messages []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		h.must(err)
		messages = append(messages, string(b))
	}
	return messages
}

func (h *house) modified(file string) time.Time {
	info, err := os.Stat(file)
	h.must(err)
	return info.ModTime()
}

// serve runs s on a loopback listener until the test ends.
func (h *house) serve(s *Server) (addr string) {
	h.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	h.run(s, ln)
	return ln.Addr().String()
}

// lmtp serves a Unix socket for the host in front, where luis refuses offers.
func (h *house) lmtp() (path string) {
	h.t.Helper()
	h.must(errors.Join(
		h.scripts.Put("luis@buzon.test", "mine", []byte(`require "ereject"; if header "subject" "offer" { ereject "No offers"; }`)),
		h.scripts.Activate("luis@buzon.test", "mine")))
	path = filepath.Join(h.dir, "lmtp")
	ln, err := net.Listen("unix", path)
	h.must(err)
	h.run(NewLMTP(h.cfg), ln)
	return path
}

// run serves ln until the test ends or stop is called.
func (h *house) run(s *Server, ln net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Serve: %v", err)
		}
	})
	h.t.Cleanup(stop)
	h.stops = append(h.stops, stop)
	return stop
}

// stop ends all servers, and returns when their connections are closed.
func (h *house) stop() {
	for _, stop := range h.stops {
		stop()
	}
}

// incoming serves a port for strangers, submission one for users.
func (h *house) incoming() string { return h.serve(NewIncoming(h.cfg)) }

func (h *house) submission(implicit bool) string {
	cfg := h.cfg
	cfg.ImplicitTLS = implicit
	return h.serve(NewSubmission(cfg))
}

// peer is a client that speaks SMTP by hand.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	return newPeer(t, nc)
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	return &peer{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// send writes s as it is.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, s); err != nil {
		p.t.Fatalf("send %.60q: %v", s, err)
	}
}

// reply reads one reply and returns its lines without CRLF, or "EOF".
func (p *peer) reply() string {
	p.t.Helper()
	var lines []string
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			if len(lines) == 0 && line == "" && !isTimeout(err) {
				return "EOF"
			}
			p.t.Fatalf("read reply: %v after %q", err, append(lines, line))
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok || len(line) < 4 {
			p.t.Fatalf("malformed reply line %q", line)
		}
		lines = append(lines, line)
		if line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// want reads a reply and checks how its last line begins.
func (p *peer) want(prefix string) string {
	p.t.Helper()
	reply := p.reply()
	last := reply[strings.LastIndexByte(reply, '\n')+1:]
	if !strings.HasPrefix(last, prefix) {
		p.t.Fatalf("reply %q, want %q", reply, prefix)
	}
	return reply
}

// say sends a command and checks the reply.
func (p *peer) say(command, prefix string) string {
	p.t.Helper()
	p.send(command + "\r\n")
	return p.want(prefix)
}

// hello reads the greeting and says EHLO.
func (p *peer) hello() *peer {
	p.t.Helper()
	p.want("220 ")
	p.say("EHLO client.test", "250 ")
	return p
}

// startTLS puts TLS on, with STARTTLS where plain.
func (p *peer) startTLS(plain bool) *peer {
	p.t.Helper()
	if plain {
		p.say("STARTTLS", "220 2.0.0")
	}
	tc := tls.Client(p.nc, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.nc, p.r = tc, bufio.NewReader(tc)
	return p
}

// transaction says MAIL, RCPT and DATA.
func (p *peer) transaction(from string, to ...string) *peer {
	p.t.Helper()
	p.say("MAIL FROM:<"+from+">", "250 2.1.0")
	for _, rcpt := range to {
		p.say("RCPT TO:<"+rcpt+">", "250 2.1.5")
	}
	p.say("DATA", "354 ")
	return p
}

// fakeSpool keeps what it is given.
type fakeSpool struct {
	mu        sync.Mutex
	messages  []spooledMessage
	fail      error
	confirmed []string
	panic     bool
}

type spooledMessage struct {
	env  smtp.Envelope
	text string
}

func (q *fakeSpool) Submit(_ context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.panic {
		panic("boom")
	}
	if q.fail != nil {
		return "", q.fail
	}
	text, err := io.ReadAll(msg)
	q.messages = append(q.messages, spooledMessage{env, string(text)})
	return fmt.Sprintf("q%d", len(q.messages)), err
}

// pipeListener hands out one side of net.Pipe, for tests in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's side of a new connection.
func (l *pipeListener) dial(t testing.TB) *peer {
	client, server := net.Pipe()
	l.conns <- &addressed{server}
	return newPeer(t, client)
}

// addressed is a pipe with addresses.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
}

func (addressed) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 25}
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mx.buzon.test"},
		DNSNames:     []string{"mx.buzon.test"},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var errTest = errors.New("made for the test")

// Confirm implements Spool.
func (q *fakeSpool) Confirm(_ context.Context, env smtp.Envelope, expanded bool, msg io.ReaderAt) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, to := range env.To {
		what := to.Address.String()
		if expanded {
			what += " expanded"
		}
		q.confirmed = append(q.confirmed, what)
	}
	return nil
}
