package smtpd

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/limit"
)

// inBubble runs test with a listener whose clock is the bubble's. The house
// is built outside: what it opens works in real time.
func inBubble(t *testing.T, configure func(*Config), test func(t *testing.T, h *house, l *pipeListener, stop func())) {
	t.Helper()
	h := newHouse(t)
	if configure != nil {
		configure(&h.cfg)
	}
	synctest.Test(t, func(t *testing.T) {
		h.t = t
		h.cfg.Conns = limit.NewConns(limit.ConnsConfig{})
		l := newPipeListener()
		defer h.close() // its timers are the bubble's
		defer h.stop()
		test(t, h, l, h.run(NewIncoming(h.cfg), l))
	})
}

// go-smtp reads on after a time-out in DATA and takes the rest of the message
// for commands; here nothing more is read at all.
func TestTimeoutInMessage(t *testing.T) {
	for _, begin := range []string{"DATA\r\n", "BDAT 1000\r\n"} {
		inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
			p := l.dial(t).hello()
			p.say("MAIL FROM:<x@remote.test>", "250 ")
			p.say("RCPT TO:<ana@buzon.test>", "250 ")
			p.send(begin)
			if begin[0] == 'D' {
				p.want("354 ")
			}
			p.send("Subject: x\r\n\r\n")
			start := time.Now()
			go p.want("421 4.4.2 ")
			time.Sleep(6 * time.Minute)
			synctest.Wait()
			if _, err := p.nc.Write([]byte("MAIL FROM:<evil@remote.test>\r\n.\r\nNOOP\r\n")); err == nil {
				t.Error("the server still reads")
			}
			if got := p.reply(); got != "EOF" {
				t.Errorf("%s then %q after %v", begin, got, time.Since(start))
			}
			if got := h.inbox("ana"); len(got) > 0 {
				t.Errorf("stored %q", got)
			}
		})
	}
}

// R02: a client that trickles is cut off: slower than 500 octets a second,
// or half an hour in one message.
func TestTrickle(t *testing.T) {
	for _, tt := range []struct {
		octets   int
		every    time.Duration
		min, max time.Duration
	}{
		{1, 20 * time.Second, 5 * time.Minute, 6 * time.Minute},
		{100, time.Second, 5 * time.Minute, 8 * time.Minute},
		{500, time.Second, 29 * time.Minute, 31 * time.Minute},
	} {
		inBubble(t, func(c *Config) { c.MaxSize = 50 << 20 }, func(t *testing.T, h *house, l *pipeListener, _ func()) {
			p := l.dial(t).hello()
			p.transaction("x@remote.test", "ana@buzon.test")
			start := time.Now()
			go p.want("421 4.4.2 ")
			for {
				if _, err := p.nc.Write([]byte(strings.Repeat("x", tt.octets))); err != nil {
					break
				}
				time.Sleep(tt.every)
			}
			if took := time.Since(start); took < tt.min || took > tt.max {
				t.Errorf("%d octets each %v: cut after %v", tt.octets, tt.every, took)
			}
		})
	}
}

func TestIdle(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t).hello()
		start := time.Now()
		p.want("421 4.4.2 ")
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("after %v", took)
		}
		if got := p.reply(); got != "EOF" {
			t.Errorf("then %q", got)
		}
		// One octet at a time buys no more.
		p = l.dial(t).hello()
		start = time.Now()
		go p.want("421 4.4.2 ")
		for {
			if _, err := p.nc.Write([]byte("N")); err != nil {
				break
			}
			time.Sleep(20 * time.Second)
		}
		if took := time.Since(start); took > 6*time.Minute {
			t.Errorf("cut after %v", took)
		}
	})
}

func TestSessionEnds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t).hello()
		for range 14 {
			p.say("NOOP", "250 ")
			time.Sleep(4 * time.Minute)
		}
		p.say("NOOP", "250 ")
		time.Sleep(4*time.Minute + time.Second)
		p.say("NOOP", "250 ")
		p.want("421 4.7.0 ")
	})
}

// T06: a handshake has ten seconds.
func TestSlowHandshake(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t).hello()
		p.say("STARTTLS", "220 ")
		start := time.Now()
		for {
			if _, err := p.nc.Write([]byte{0x16}); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("cut after %v", took)
		}
	})
}

// S04: whoever talks before the greeting gets none.
func TestEarlyTalker(t *testing.T) {
	inBubble(t, func(c *Config) { c.GreetingPause = 0 }, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t)
		p.send("EHLO client.test\r\n")
		p.want("554 5.5.0 ")
		if got := p.reply(); got != "EOF" {
			t.Errorf("then %q", got)
		}
		p = l.dial(t)
		p.send("GET / HTTP/1.1\r\n")
		if got := p.reply(); got != "EOF" {
			t.Errorf("HTTP was answered %q", got)
		}

		start := time.Now()
		p = l.dial(t).hello()
		if got := time.Since(start); got != defaultGreetingPause {
			t.Errorf("a stranger waits %v", got)
		}
		p.transaction("x@remote.test", "ana@buzon.test")
		p.send("\r\n.\r\n")
		p.want("250 ")
		start = time.Now()
		l.dial(t).hello()
		if got := time.Since(start); got != knownPause {
			t.Errorf("one who has sent mail waits %v", got)
		}
	})
}

// S19: recipients that do not exist take longer and longer, then end it.
func TestHarvest(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t).hello()
		p.say("MAIL FROM:<x@remote.test>", "250 ")
		start := time.Now()
		for range 10 {
			p.say("RCPT TO:<nobody@buzon.test>", "550 5.1.1 ")
		}
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("ten took %v", took)
		}
		p.say("RCPT TO:<nobody@buzon.test>", "421 4.7.0 ")
		if got := p.reply(); got != "EOF" {
			t.Errorf("then %q", got)
		}
	})
}

func TestTooManyErrors(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, _ func()) {
		p := l.dial(t).hello()
		start := time.Now()
		for range 19 {
			p.say("DATA", "503 ")
		}
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("19 errors took %v", took)
		}
		p.say("DATA", "503 ")
		p.want("421 4.7.0 ")
	})
}

// A02: the answer to a login comes later with each failure.
func TestLoginDelays(t *testing.T) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		h.t = t
		cfg := h.cfg
		cfg.ImplicitTLS = true
		cfg.Conns = limit.NewConns(limit.ConnsConfig{})
		l := newPipeListener()
		defer h.close()
		defer h.stop()
		h.run(NewSubmission(cfg), l)
		p := l.dial(t).startTLS(false).hello()
		for i, want := range []time.Duration{0, 2, 4, 8} {
			start := time.Now()
			p.say("AUTH PLAIN "+plain("", "ana@buzon.test", string(rune('a'+i))), "535 ")
			if took := time.Since(start).Truncate(time.Second); took != want*time.Second {
				t.Errorf("failure %d took %v", i, took)
			}
		}
		p.say("AUTH PLAIN "+plain("", "ana@buzon.test", "x"), "421 ")
	})
}

// O01: at the end idle clients are sent away, and a message under way arrives.
func TestDrain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, l *pipeListener, stop func()) {
		idle, busy, stuck := l.dial(t).hello(), l.dial(t).hello(), l.dial(t).hello()
		busy.transaction("x@remote.test", "ana@buzon.test")
		busy.send("Subject: x\r\n")
		stuck.say("MAIL FROM:<x@remote.test>", "250 ")
		start := time.Now()
		go stop()
		idle.want("421 4.3.2 ")
		if got := idle.reply(); got != "EOF" {
			t.Errorf("then %q", got)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the idle client was kept for %v", took)
		}
		time.Sleep(10 * time.Second)
		busy.send("\r\n.\r\n")
		busy.want("250 ")
		busy.want("421 4.3.2 ")
		if n := len(h.inbox("ana")); n != 1 {
			t.Errorf("%d messages", n)
		}
		if got := stuck.reply(); got != "EOF" && !strings.HasPrefix(got, "421 ") {
			t.Errorf("the stuck client got %q", got)
		}
		stop()
		if took := time.Since(start); took > defaultGrace+lingerTime {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	h := newHouse(t)
	h.cfg.Conns = limit.NewConns(limit.ConnsConfig{PerAddress: 2, CountLoopback: true})
	addr := h.incoming()
	a, b := dial(t, addr).hello(), dial(t, addr).hello()
	dial(t, addr).want("421 4.7.0 ")
	a.say("QUIT", "221 ")
	if got := a.reply(); got != "EOF" {
		t.Fatal(got)
	}
	b.say("NOOP", "250 ")
	for { // the place comes free a moment after the connection is closed
		p := dial(t, addr)
		if got := p.reply(); strings.HasPrefix(got, "220 ") {
			break
		}
	}
}

// S09, R01: a line without an end costs no more than a buffer.
func TestLongLines(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for n, want := range map[int]string{511: "250 ", 512: "250 ", 513: "250 ", 2048: "250 ", 2049: "500 5.5.2 ", 64 << 10: "500 5.5.2 "} {
		p := dial(t, addr).hello()
		p.send("NOOP " + strings.Repeat("x", n-len("NOOP \r\n")) + "\r\n")
		p.want(want)
	}
	p := dial(t, addr).hello()
	sent := 0
	chunk := []byte(strings.Repeat("x", 1<<16))
	for sent < 10<<20 {
		n, err := p.nc.Write(chunk)
		sent += n
		if err != nil {
			break
		}
	}
	if sent == 10<<20 {
		// The kernel may have taken it all; the server must have hung up.
		if _, err := p.nc.(*net.TCPConn).Read(make([]byte, 1)); err != nil && isTimeout(err) {
			t.Error("the server is still there after 10 MiB without an end")
		}
	}
}
