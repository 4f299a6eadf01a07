package smtpd

import (
	"strings"
	"testing"
)

// S01: every way that is known to make one server see the end of a message
// where another one does not. The message is read to its true end, refused
// once, and the dialogue goes on in step.
func TestSmuggling(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, end := range []string{
		"\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n",
		"\r\n.\rX", "\n\n.\r\n", "\n.\n\r\n",
	} {
		p := dial(t, addr).hello()
		p.transaction("x@remote.test", "ana@buzon.test")
		p.send("Subject: one\r\n\r\none" + end + "MAIL FROM:<evil@remote.test>\r\nRCPT TO:<luis@buzon.test>\r\nDATA\r\nSubject: two\r\n\r\ntwo\r\n.\r\n")
		p.want("554 5.6.0 ")
		p.say("NOOP", "250 ")
		p.say("QUIT", "221 ")
		if got := p.reply(); got != "EOF" {
			t.Errorf("%q: after QUIT %q", end, got)
		}
	}
	// This one is an end, but whoever sent it may think that it is none.
	p := dial(t, addr).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("\r\none\r\r\n.\r\nMAIL FROM:<evil@remote.test>\r\nRCPT TO:<luis@buzon.test>\r\nDATA\r\n")
	p.want("554 5.6.0 ")
	if got := p.reply(); got != "EOF" {
		t.Errorf("after CRCRLF.CRLF %q", got)
	}
	if a, l := h.inbox("ana"), h.inbox("luis"); len(a)+len(l) > 0 {
		t.Errorf("stored %q, %q", a, l)
	}
	// With a NUL the line is merely not the end.
	for i, end := range []string{"\r\n\x00.\r\n", "\r\n.\x00\r\n"} {
		p := dial(t, addr).hello()
		p.transaction("x@remote.test", "ana@buzon.test")
		p.send("\r\none" + end + "MAIL FROM:<evil@remote.test>\r\n.\r\n")
		p.want("250 ")
		if got := h.inbox("ana"); len(got) != i+1 || !strings.HasSuffix(got[i], "MAIL FROM:<evil@remote.test>\r\n") {
			t.Errorf("%q: stored %q", end, got)
		}
	}
}

func TestSmugglingInChunks(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming()).hello()
	for _, text := range []string{"a\nb\r\n", "a\rb\r\n", "a\r", "a\r\r\n", "\n"} {
		p.say("MAIL FROM:<x@remote.test>", "250 ")
		p.say("RCPT TO:<ana@buzon.test>", "250 ")
		p.send("BDAT " + string(rune('0'+len(text))) + " LAST\r\n" + text)
		p.want("554 5.6.0 ")
	}
	p.say("NOOP", "250 ")
	if got := h.inbox("ana"); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}

// T01: what is sent behind STARTTLS in the clear is never executed under TLS.
func TestStartTLSInjection(t *testing.T) {
	h := newHouse(t)
	for _, addr := range []string{h.incoming(), h.submission(false)} {
		for _, more := range []string{"NOOP\r\n", "MAIL FROM:<x@remote.test>\r\n", "R", "\r\n"} {
			p := dial(t, addr).hello()
			p.send("STARTTLS\r\n" + more)
			p.want("554 5.5.0 ")
			if got := p.reply(); got != "EOF" {
				t.Errorf("then %q", got)
			}
		}
	}
}

// S04: some answers must be waited for.
func TestEager(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, group := range []string{
		"EHLO client.test\r\nMAIL FROM:<x@remote.test>\r\n",
		"HELO client.test\r\nN",
		"EHLO client.test\r\nEHLO client.test\r\n",
		"MAIL FROM:<x@remote.test>\r\nRCPT TO:<ana@buzon.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n",
	} {
		p := dial(t, addr)
		p.want("220 ")
		if !strings.Contains(group, "LO ") {
			p.say("EHLO client.test", "250 ")
		}
		p.send(group)
		var got string
		for got = p.reply(); strings.HasPrefix(got, "250 "); got = p.reply() {
		}
		if !strings.HasPrefix(got, "554 5.5.0 ") {
			t.Errorf("%q: %s", group, got)
		}
		if got := p.reply(); got != "EOF" {
			t.Errorf("%q: then %q", group, got)
		}
	}
	p := dial(t, h.submission(true)).startTLS(false).hello()
	p.send("AUTH PLAIN " + plain("", "ana@buzon.test", password) + "\r\nMAIL FROM:<ana@buzon.test>\r\n")
	p.want("554 5.5.0 ")
	if got := h.inbox("ana"); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}

// S29: the binary PROXY header begins with line ends.
func TestProxyHeader(t *testing.T) {
	h := newHouse(t)
	p := dial(t, h.incoming())
	p.want("220 ")
	p.send("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	if got := p.reply(); got != "EOF" {
		t.Errorf("answered %q", got)
	}
}

// S07: TLS ends in the middle of a message, and cleartext follows.
func TestTLSEndsInMessage(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, begin := range []string{"DATA", "BDAT 1000 LAST"} {
		p := dial(t, addr).hello()
		plain := p.nc
		p.startTLS(true).say("EHLO c.test", "250 ")
		p.say("MAIL FROM:<x@remote.test>", "250 ")
		p.say("RCPT TO:<ana@buzon.test>", "250 ")
		p.send(begin + "\r\n")
		if begin == "DATA" {
			p.want("354 ")
		}
		p.send("half a message\r\n")
		h.must(p.nc.(interface{ CloseWrite() error }).CloseWrite())
		plain.Write([]byte("rest\r\n.\r\nNOOP\r\n"))
		if got := p.reply(); strings.HasPrefix(got, "250") {
			t.Errorf("%s: %q", begin, got)
		}
	}
	if got := h.inbox("ana"); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}

// S06: go-smtp takes the end of the connection for the end of the last
// chunk; the gate must not let it.
func TestChunkCutShort(t *testing.T) {
	h := newHouse(t)
	addr := h.incoming()
	for _, begin := range []string{"BDAT 1000 LAST\r\nhalf", "BDAT 4\r\nhalf", "BDAT 4\r\nhalfBDAT 100 LAST\r\n", "BDAT 4\r\nhalfRSET\r\nBDAT 0 LAST\r\n"} {
		p := dial(t, addr).hello()
		p.say("MAIL FROM:<x@remote.test>", "250 ")
		p.say("RCPT TO:<ana@buzon.test>", "250 ")
		p.send(begin)
		p.nc.(interface{ CloseWrite() error }).CloseWrite()
		for got := ""; got != "EOF"; {
			if got = p.reply(); strings.HasPrefix(got, "250 2.0.0 delivered") {
				t.Errorf("%q: %s", begin, got)
			}
		}
	}
	if got := h.inbox("ana"); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}
