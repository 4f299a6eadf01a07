package managesieve

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/internal/limit"
	"buzon/internal/sasl"
	"buzon/internal/sieve"
)

const password = "secret words"

// accountFiles is a directory with our accounts, made once: to hash a password
// takes long.
var accountFiles func() string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "managesieve-*")
	if err != nil {
		panic(err)
	}
	accountFiles = sync.OnceValue(func() string {
		d, err := openAccounts(dir)
		if err == nil {
			err = d.Add(context.Background(), "ana@buzon.test", password, 0)
		}
		if err != nil {
			panic(err)
		}
		d.Close()
		return dir
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func openAccounts(dir string) (*account.Directory, error) {
	return account.Open(account.Config{
		Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", Log: slog.New(slog.DiscardHandler),
	})
}

func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.buzon.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve runs a server until the test ends, or stop is called.
func serve(t testing.TB) (addr string, stop func()) {
	t.Helper()
	d, err := openAccounts(accountFiles())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	scripts, err := sieve.OpenLibrary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { scripts.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{
		Scripts: scripts, Directory: d, Logins: sasl.New(sasl.Config{Directory: d, Guard: limit.NewGuard(limit.GuardConfig{})}),
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

// peer is a client that speaks by hand.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	p := &peer{t, nc, bufio.NewReader(nc)}
	p.want("OK ")
	return p
}

// say sends a command and returns the answer, up to its last line, which
// begins with want.
func (p *peer) say(command, want string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, command+"\r\n"); err != nil {
		p.t.Fatal(err)
	}
	return p.want(want)
}

func (p *peer) want(want string) string {
	p.t.Helper()
	var all strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%s%s: %v", all.String(), line, err)
		}
		all.WriteString(line)
		if strings.HasPrefix(line, "OK") || strings.HasPrefix(line, "NO") || strings.HasPrefix(line, "BYE") || want == "" {
			if !strings.HasPrefix(line, want) {
				p.t.Fatalf("%s, want %s", all.String(), want)
			}
			return strings.ReplaceAll(all.String(), "\r\n", "\n")
		}
	}
}

func (p *peer) startTLS() *peer {
	p.t.Helper()
	p.say("STARTTLS", "OK ")
	conn := tls.Client(p.nc, &tls.Config{InsecureSkipVerify: true})
	p.nc, p.r = conn, bufio.NewReader(conn)
	p.want("OK ")
	return p
}

func (p *peer) login() *peer {
	p.t.Helper()
	p.startTLS().say(`AUTHENTICATE "PLAIN" "`+base64.StdEncoding.EncodeToString([]byte("\x00ana@buzon.test\x00"+password))+`"`, "OK ")
	return p
}

func text(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }

func TestCapabilities(t *testing.T) {
	addr, _ := serve(t)
	p := dial(t, addr)
	sieveLine := `"SIEVE" "` + strings.Join(sieve.Extensions(), " ") + "\"\n"
	want := "\"IMPLEMENTATION\" \"Buzon\"\n" + sieveLine + "\"SASL\" \"\"\n\"STARTTLS\"\n\"MAXREDIRECTS\" \"5\"\n\"UNAUTHENTICATE\"\n\"VERSION\" \"1.0\"\nOK \"Done\"\n"
	if got := p.say("capability", "OK "); got != want {
		t.Errorf("in the open: %s", got)
	}
	p.login()
	got := p.say("CAPABILITY", "OK ")
	if !strings.Contains(got, "\"OWNER\" \"ana@buzon.test\"\n") || !strings.Contains(got, "PLAIN") || strings.Contains(got, "STARTTLS") {
		t.Errorf("after a login: %s", got)
	}
}

func TestNothingInTheOpen(t *testing.T) {
	addr, _ := serve(t)
	p := dial(t, addr)
	p.say(`AUTHENTICATE "PLAIN" "AGFuYUBidXpvbi50ZXN0AHNlY3JldCB3b3Jkcw=="`, "NO (ENCRYPT-NEEDED)")
	for _, command := range []string{"LISTSCRIPTS", `GETSCRIPT "a"`, `PUTSCRIPT "a" "keep;"`, `SETACTIVE ""`, `CHECKSCRIPT "keep;"`, "UNAUTHENTICATE"} {
		p.say(command, "NO ")
	}
	p.say("STARTTLS\r\nNOOP", "BYE ")
}

func TestScripts(t *testing.T) {
	addr, _ := serve(t)
	p := dial(t, addr).login()
	p.say(`HAVESPACE "mine" 999`, "OK ")
	p.say(`HAVESPACE "mine" 99999999`, "NO (QUOTA)")
	p.say(`PUTSCRIPT "mine" `+text("require \"fileinto\";\r\nfileinto \"Lists\";\r\n"), "OK ")
	p.say(`PUTSCRIPT "other" "keep;"`, "OK ")
	if got := p.say(`PUTSCRIPT "broken" `+text("keep;\r\nkep;"), "NO "); got != "NO \"line 2: there is no command \\\"kep\\\"\"\n" {
		t.Errorf("broken: %q", got)
	}
	p.say("CHECKSCRIPT "+text("keep;"), "OK ")
	p.say("CHECKSCRIPT "+text("kep;"), "NO ")
	p.say(`SETACTIVE "mine"`, "OK ")
	p.say(`SETACTIVE "none"`, "NO (NONEXISTENT)")
	p.say(`DELETESCRIPT "mine"`, "NO (ACTIVE)")
	p.say(`RENAMESCRIPT "mine" "other"`, "NO (ALREADYEXISTS)")
	p.say(`RENAMESCRIPT "mine" `+text("büro \"1\""), "OK ")
	if got := p.say("LISTSCRIPTS", "OK "); got != "\"büro \\\"1\\\"\" ACTIVE\n\"other\"\nOK \"Done\"\n" {
		t.Errorf("%q", got)
	}
	if got := p.say(`GETSCRIPT "büro \"1\""`, "OK "); got != "{40}\nrequire \"fileinto\";\nfileinto \"Lists\";\n\nOK \"Done\"\n" {
		t.Errorf("%q", got)
	}
	p.say(`GETSCRIPT "none"`, "NO (NONEXISTENT)")
	p.say(`PUTSCRIPT "../x" "keep;"`, "NO ")
	p.say(`SETACTIVE ""`, "OK ")
	p.say(`DELETESCRIPT "other"`, "OK ")
	p.say(`PUTSCRIPT "big" `+text(strings.Repeat("#", sieve.MaxScript+1)), "NO (QUOTA)")
	p.say(`NOOP "a \"tag\""`, `OK (TAG "a \"tag\"")`)
	p.say("UNAUTHENTICATE", "OK ")
	p.say("LISTSCRIPTS", "NO ")
	p.say("LOGOUT", "OK ")
}

func TestAuthenticate(t *testing.T) {
	addr, _ := serve(t)
	p := dial(t, addr).startTLS()
	p.say(`AUTHENTICATE "NONE"`, "NO ")
	p.say(`AUTHENTICATE "PLAIN" "!"`, "NO ")
	p.say(`AUTHENTICATE "PLAIN" "AGFuYUBidXpvbi50ZXN0AHdyb25n"`, "NO ")
	io.WriteString(p.nc, "AUTHENTICATE \"PLAIN\"\r\n")
	if got := p.want(""); got != "\"\"\n" {
		t.Errorf("challenge %q", got)
	}
	p.say(`"*"`, "NO ")
	io.WriteString(p.nc, "AUTHENTICATE \"PLAIN\"\r\n")
	p.want("")
	p.say(text(base64.StdEncoding.EncodeToString([]byte("\x00ana@buzon.test\x00"+password))), "OK ")
	p.say(`AUTHENTICATE "PLAIN"`, "NO ")
}

// What is no ManageSieve ends the session; commands that are wrong do not, for
// a while.
func TestNonsense(t *testing.T) {
	addr, stop := serve(t)
	for _, line := range []string{"GET / HTTP/1.1", `NOOP "a`, "NOOP {5}", "NOOP {99999999999+}", "NOOP {1048576+}", strings.Repeat("A", 100), "NOOP 1 2 3 4", "NOOP  ", "NOOP \"\xff\""} {
		dial(t, addr).say(line, "BYE ")
	}
	p := dial(t, addr)
	for range maxBad {
		p.say("FROB", "NO ")
	}
	p.say("NOOP 7", "BYE ")
	p = dial(t, addr).login()
	p.say("LISTSCRIPTS \"x\"", "NO ")
	stop()
	p.want("BYE (TRYLATER)")
}

// Whatever comes, reading ends, and what is read holds to its limits.
func FuzzReadCommand(f *testing.F) {
	for _, s := range []string{"NOOP\r\n", "putscript \"a\" {5+}\r\nkeep;\r\n", "HAVESPACE \"a\" 99\n", "A {3+}\r\nab", `N "\\\""` + "\r\n", "{1+}\r\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, strangers bool) {
		r := bufio.NewReader(strings.NewReader(string(in)))
		name, args, err := readCommand(r, strangers)
		if err != nil {
			return
		}
		if len(name) > maxWord || len(args) > maxArgs || name != strings.ToUpper(name) {
			t.Fatalf("%q %v", name, args)
		}
		for _, a := range args {
			if len(a.text) > sieve.MaxScript || strangers && len(a.text) > maxString {
				t.Fatalf("%d bytes", len(a.text))
			}
			// What we would write of it, others read as the same.
			wire := quote(a.text)
			if wire[0] == '{' {
				continue
			}
			if back, err := quoted(bufio.NewReader(strings.NewReader(wire[1:]))); a.isText && !a.over && (err != nil && strings.ToValidUTF8(a.text, "") == a.text || err == nil && back.text != a.text) {
				t.Fatalf("%q: %q %v", a.text, back.text, err)
			}
		}
	})
}
