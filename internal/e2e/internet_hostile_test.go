package e2e_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostileHost is a mail host at port 25 that misbehaves as it is told to.
type hostileHost struct {
	ip  string
	tls *tls.Config // nil: STARTTLS is not offered
	// say is the answer when a stage is reached for the n-th time (from 0):
	// "banner", "EHLO", "MAIL", "RCPT", "DATA" or "dot"; "" is the usual one, "drop"
	// closes, and "endless" goes on for ever.
	say func(n int, stage string) string
	// read is waited for before each block of a message that is read.
	slow time.Duration

	mu       sync.Mutex // guards what follows
	reached  map[string]int
	plain    int // MAIL commands without TLS
	messages []string
}

func (h *hostileHost) start(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", h.ip+":25")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(2 * patience))
				h.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		done := make(chan struct{})
		go func() { conns.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(3 * patience):
			t.Errorf("a hostile session at %s does not end", h.ip)
		}
	})
}

// serve speaks SMTP well enough.
func (h *hostileHost) serve(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 16<<10)
	inTLS := false
	unusual := false // the latest answer
	answer := func(stage, usual string) bool {
		text := h.next(stage)
		if unusual = text != ""; !unusual {
			text = usual
		}
		switch text {
		case "drop":
			return false
		case "endless":
			for {
				if _, err := fmt.Fprintf(conn, "220-%s\r\n", strings.Repeat("bla ", 100)); err != nil {
					return false
				}
			}
		}
		_, err := fmt.Fprintf(conn, "%s\r\n", text)
		return err == nil
	}
	if !answer("banner", "220 hostile.test") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.TrimRight(line, "\r\n"))
		ok := true
		switch {
		case strings.HasPrefix(verb, "EHLO"):
			caps := "250-hostile.test\r\n250-8BITMIME\r\n250 SIZE 10000000"
			if h.tls != nil && !inTLS {
				caps = "250-hostile.test\r\n250-STARTTLS\r\n250-8BITMIME\r\n250 SIZE 10000000"
			}
			ok = answer("EHLO", caps)
		case verb == "STARTTLS":
			fmt.Fprint(conn, "220 go\r\n")
			secure := tls.Server(conn, h.tls)
			if secure.Handshake() != nil {
				return
			}
			conn, inTLS = secure, true
			r = bufio.NewReaderSize(conn, 16<<10)
		case strings.HasPrefix(verb, "MAIL"):
			h.mu.Lock()
			if !inTLS {
				h.plain++
			}
			h.mu.Unlock()
			ok = answer("MAIL", "250 ok")
		case strings.HasPrefix(verb, "RCPT"):
			ok = answer("RCPT", "250 ok")
		case verb == "DATA":
			if ok = answer("DATA", "354 go"); ok && !unusual {
				message, err := h.message(r)
				if err != nil {
					return
				}
				if ok = answer("dot", "250 taken"); ok && !unusual {
					h.mu.Lock()
					h.messages = append(h.messages, message)
					h.mu.Unlock()
				}
			}
		case verb == "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			ok = answer("other", "250 ok")
		}
		if !ok {
			return
		}
	}
}

// next is what say says now.
func (h *hostileHost) next(stage string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reached == nil {
		h.reached = make(map[string]int)
	}
	n := h.reached[stage]
	h.reached[stage]++
	if h.say == nil {
		return ""
	}
	return h.say(n, stage)
}

func (h *hostileHost) message(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for block := 0; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == ".\r\n" {
			return b.String(), nil
		}
		b.WriteString(line)
		if h.slow > 0 && b.Len()/(16<<10) > block {
			block++
			time.Sleep(h.slow)
		}
	}
}

// seen returns what has come: MAIL in plain text, and messages.
func (h *hostileHost) seen() (plain, messages int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plain, len(h.messages)
}
