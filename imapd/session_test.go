package imapd_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"buzon/imapd"
	"buzon/internal/limit"
	"buzon/internal/sasl"
)

// readUntil reads lines up to one that begins with prefix, and returns it.
func readUntil(t *testing.T, r *bufio.Reader, prefix string) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %q: %q, %v", prefix, line, err)
		}
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSuffix(line, "\r\n")
		}
	}
}

// Passwords are for TLS only, and what is shown changes with it (RFC 9051 6.2.1).
func TestStartTLS(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) { cfg.PlaintextFromLoopback = false })
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	if greeting := readUntil(t, r, "* OK"); !strings.Contains(greeting, "LOGINDISABLED") || strings.Contains(greeting, "AUTH=") {
		t.Errorf("greeting in the clear: %s", greeting)
	}
	fmt.Fprintf(nc, "a LOGIN %s %q\r\n", ana, password)
	if line := readUntil(t, r, "a "); !strings.HasPrefix(line, "a NO [PRIVACYREQUIRED]") {
		t.Errorf("LOGIN in the clear: %s", line)
	}
	fmt.Fprint(nc, "b STARTTLS\r\n")
	readUntil(t, r, "b OK")
	tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	r = bufio.NewReader(tc)
	fmt.Fprint(tc, "e CAPABILITY\r\n")
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "* CAPABILITY") || !strings.Contains(line, "AUTH=PLAIN") || strings.Contains(line, "STARTTLS") {
		t.Errorf("first line under TLS: %q, %v", line, err)
	}
	readUntil(t, r, "e OK")
	fmt.Fprintf(tc, "f LOGIN %s %q\r\n", ana, password)
	readUntil(t, r, "f OK")
}

// What comes in the clear behind STARTTLS, however it is cut into segments, is never run
// (CVE-2011-0411, CVE-2021-33515).
func TestStartTLSInjection(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) { cfg.PlaintextFromLoopback = false })
	injected := "b STARTTLS\r\nc NOOP\r\nd NOOP\r\n"
	for cut := len("b STARTTLS\r\n"); cut <= len(injected); cut++ {
		nc := h.dial(t)
		nc.SetDeadline(time.Now().Add(2 * time.Minute))
		io.WriteString(nc, injected[:cut])
		time.AfterFunc(time.Millisecond, func() { io.WriteString(nc, injected[cut:]) })
		out, _ := io.ReadAll(nc)
		if text := string(out); strings.Contains(text, "\nc ") || strings.Contains(text, "\nd ") {
			t.Errorf("cut at %d, the injected command ran: %q", cut, text)
		}
	}
}

// A stopping server says BYE to those who wait, IDLE or not.
func TestDrain(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	h := newHost(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := imapd.New(imapd.Config{Store: h.store, Directory: h.dir, PlaintextFromLoopback: true})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln, false) }()
	h.addr = ln.Addr().String()
	var readers []*bufio.Reader
	for _, command := range []string{"", "b IDLE\r\n", "b SELECT INBOX\r\nc IDLE\r\n"} {
		nc := h.dial(t)
		r := bufio.NewReader(nc)
		fmt.Fprintf(nc, "a LOGIN %s %q\r\n%s", ana, password, command)
		readUntil(t, r, "a OK")
		if command != "" {
			readUntil(t, r, "+ ")
		}
		readers = append(readers, r)
	}
	stop()
	for _, r := range readers {
		readUntil(t, r, "* BYE")
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after BYE: %v", err)
		}
	}
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("Serve goes on")
	}
}

func TestSessionLimits(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) { cfg.SessionsPerUserIP = 2 })
	for k := range 3 {
		nc := h.dial(t)
		r := bufio.NewReader(nc)
		fmt.Fprintf(nc, "a LOGIN %s %q\r\n", ana, password)
		want := "a OK"
		if k == 2 {
			want = "a NO [LIMIT]"
		}
		if line := readUntil(t, r, "a "); !strings.HasPrefix(line, want) {
			t.Errorf("login %d: %s", k, line)
		}
	}
}

// Failed logins are refused by address in the end, whatever the account; the right password is
// refused then too.
func TestGuard(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) {
		cfg.Logins = sasl.New(sasl.Config{Directory: cfg.Directory, Guard: limit.NewGuard(limit.GuardConfig{PerMinute: 1})})
	})
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s wrong\r\n", ana)
	readUntil(t, r, "a NO [AUTHENTICATIONFAILED]")
	fmt.Fprintf(nc, "b LOGIN %s %q\r\n", ana, password)
	readUntil(t, r, "b NO [UNAVAILABLE]")
}

func TestPreAuthTimeout(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) { cfg.PreAuthTimeout = 50 * time.Millisecond })
	nc := h.dial(t)
	nc.SetReadDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(nc)
	readUntil(t, r, "* BYE")
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after BYE: %v", err)
	}
}

// IDLE gives signs of life.
func TestKeepAlive(t *testing.T) {
	h := newHost(t, func(cfg *imapd.Config) { cfg.KeepAlive = 20 * time.Millisecond })
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\nb SELECT INBOX\r\nc IDLE\r\n", ana, password)
	readUntil(t, r, "+ ")
	readUntil(t, r, "* OK Still here")
	fmt.Fprint(nc, "DONE\r\n")
	readUntil(t, r, "c OK")
}

// A client that reads nothing holds one buffer, and others are served.
func TestSlowReader(t *testing.T) {
	h := newHost(t, nil)
	slow := h.dial(t)
	fmt.Fprintf(slow, "a LOGIN %s %q\r\n", ana, password)
	body := strings.Repeat("x", 1<<20)
	fmt.Fprintf(slow, "b APPEND INBOX {%d+}\r\n%s\r\nc SELECT INBOX\r\n", len(body), body)
	for range 50 {
		fmt.Fprint(slow, "d FETCH 1 BODY.PEEK[]\r\n")
	}
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\nb STATUS INBOX (MESSAGES)\r\n", ana, password)
	readUntil(t, r, "b OK")
}
