package smtpd

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"buzon/internal/limit"
	"buzon/internal/sasl"
	"buzon/internal/smtp"
)

// login puts TLS on and logs in.
func (h *house) login(addr, user string) *peer {
	h.t.Helper()
	p := dial(h.t, addr).hello().startTLS(true)
	p.say("EHLO client.test", "250 ")
	p.say("AUTH PLAIN "+plain("", user, password), "235 ")
	return p
}

func plain(authzid, login, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + login + "\x00" + password))
}

func TestSubmission(t *testing.T) {
	h := newHouse(t)
	for _, implicit := range []bool{false, true} {
		addr := h.submission(implicit)
		var p *peer
		if implicit {
			p = dial(t, addr).startTLS(false).hello()
			p.say("AUTH PLAIN "+plain("ana@buzon.test", "ana@buzon.test", password), "235 ")
		} else {
			p = h.login(addr, "ana@buzon.test")
		}
		h.queue.messages = nil
		p.transaction("ana@buzon.test", "luis@buzon.test", "x@remote.test", "y@other.test")
		p.send("From: Ana <ana@buzon.test>\r\nBcc: secret@remote.test\r\n\tand@more.test\r\nTo: x@remote.test\r\nreturn-path: <a@b>\r\nResent-BCC: s@x\r\nContent-Length: 3\r\n\r\nBcc: in the body\r\n.\r\n")
		p.want("250 2.0.0 queued as q1")
		if len(h.queue.messages) != 1 {
			t.Fatalf("queued %v", h.queue.messages)
		}
		q := h.queue.messages[0]
		if q.env.From.String() != "ana@buzon.test" || len(q.env.To) != 2 || q.env.To[0].Address.String() != "x@remote.test" || q.env.To[1].Address.String() != "y@other.test" || q.env.Size != int64(len(q.text)) {
			t.Errorf("envelope %+v, %d octets", q.env, len(q.text))
		}
		trace, rest, _ := strings.Cut(q.text, "Date: ")
		if !strings.HasPrefix(trace, "Received: by mx.buzon.test with ESMTPSA id ") || strings.Contains(q.text, "127.0.0.1") || strings.Contains(trace, "\tfor ") {
			t.Errorf("trace %q", trace)
		}
		if !strings.HasSuffix(rest, ">\r\nFrom: Ana <ana@buzon.test>\r\nTo: x@remote.test\r\n\r\nBcc: in the body\r\n") || !strings.Contains(rest, "\r\nMessage-ID: <") {
			t.Errorf("message %q", rest)
		}
	}
	got := h.inbox("luis")
	if len(got) != 2 || strings.Contains(got[0], "secret") || !strings.HasPrefix(got[0], "Return-Path: <ana@buzon.test>\r\nDelivered-To: luis@buzon.test\r\nReceived: by ") {
		t.Errorf("luis has %q", got)
	}
}

func TestSubmissionKeepsDateAndID(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	const text = "From: ana@buzon.test\r\ndate: yesterday\r\nMESSAGE-ID: <x>\r\n\r\n"
	p.transaction("ana@buzon.test", "ana@buzon.test")
	p.send(text + ".\r\n")
	p.want("250 2.0.0 delivered as ")
	if got := h.inbox("ana"); len(got) != 1 || !strings.HasSuffix(got[0], ")\r\n"+text) && !strings.HasSuffix(got[0], "\r\n"+text) || strings.Count(strings.ToLower(got[0]), "date:") != 1 {
		t.Errorf("stored %q", got)
	}
}

// U02: the author that readers are shown is the account's own, or the
// message is refused.
func TestAuthors(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	for _, from := range []string{"luis@buzon.test", "x@remote.test", "postmaster@remote.test", "nobody@buzon.test"} {
		p.say("MAIL FROM:<"+from+">", "553 5.7.1 ")
	}
	for header, want := range map[string]string{
		"From: ana@buzon.test":                                 "250 ",
		"From: Ana+x@BUZON.test":                               "250 ",
		"From: \"Luis\" <ana@buzon.test>":                      "250 ",
		"From: Both of us <both@buzon.test>":                   "250 ",
		"From: ana@buzon.test, ana+x@buzon.test":               "250 ",
		"From:\r\n ana@buzon.test":                             "250 ",
		"From: luis@buzon.test":                                "553 5.7.1 ",
		"From: x@remote.test":                                  "553 5.7.1 ",
		"From: ana@buzon.test, luis@buzon.test":                "553 5.7.1 ",
		"From: ana@buzon.test\r\nFrom: luis@buzon.test":        "553 5.7.1 ",
		"From: luis@buzon.test\r\nFrom: ana@buzon.test":        "553 5.7.1 ",
		"From : luis@buzon.test\r\nFrom: ana@buzon.test":       "553 5.7.1 ",
		"From: Group: luis@buzon.test;":                        "553 5.7.1 ",
		"From: <ana@buzon.test> <luis@buzon.test>":             "553 5.7.1 ",
		"From: luis@buzon.test <ana@buzon.test>":               "",
		"From:\r\n luis@buzon.test":                            "553 5.7.1 ",
		"From: (ana@buzon.test) luis@buzon.test":               "553 5.7.1 ",
		"From:":                                                "553 5.7.1 ",
		"Subject: no author":                                   "553 5.7.1 ",
		"From: ana@buzon.test\r\nSender: luis@buzon.test":      "553 5.7.1 ",
		"From: ana@buzon.test\r\nResent-From: luis@buzon.test": "553 5.7.1 ",
		"From: ana@buzon.test\r\nSender: ana+x@buzon.test":     "250 ",
	} {
		p.transaction("ana@buzon.test", "x@remote.test")
		p.send(header + "\r\n\r\n.\r\n")
		if got := p.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
		p.say("RSET", "250 ")
		if c := p.reconnectAfter(h); c != nil {
			p = c
		}
	}
}

// reconnectAfter logs in again: refusals count as errors of a session.
func (p *peer) reconnectAfter(h *house) *peer {
	addr := p.nc.RemoteAddr().String()
	p.nc.Close()
	return h.login(addr, "ana@buzon.test")
}

func TestNullSenderIsAllowedForReceipts(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.transaction("", "x@remote.test")
	p.send("From: ana@buzon.test\r\n\r\n.\r\n")
	p.want("250 ")
}

func TestUnknownLocalRecipient(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<nobody@buzon.test>", "550 5.1.1 ")
	p.say("RCPT TO:<x@remote.test>", "250 ")
}

// U08: what cannot be queued leaves nothing behind, not even local copies.
func TestSpoolFails(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	for err, want := range map[error]string{errTest: "451 4.3.0 ", fmt.Errorf("%w: %w", smtp.DiskFull, errTest): "452 4.3.1 "} {
		h.queue.fail = err
		p.transaction("ana@buzon.test", "luis@buzon.test", "x@remote.test")
		p.send("From: ana@buzon.test\r\n\r\n.\r\n")
		if got := p.want(want); strings.Contains(got, errTest.Error()) {
			t.Errorf("the cause is told to the client: %q", got)
		}
	}
	if got := h.inbox("luis"); len(got) > 0 {
		t.Errorf("luis has %q", got)
	}
	if !strings.Contains(h.logged(), errTest.Error()) {
		t.Error("the cause is not in the log")
	}
}

// R11: a bug ends one connection and no other.
func TestPanic(t *testing.T) {
	h := newHouse(t)
	addr := h.submission(false)
	other := h.login(addr, "luis@buzon.test")
	h.queue.panic = true
	p := h.login(addr, "ana@buzon.test")
	p.transaction("ana@buzon.test", "x@remote.test")
	p.send("From: ana@buzon.test\r\n\r\n.\r\n")
	p.want("421 4.3.0 ")
	if got := p.reply(); got != "EOF" {
		t.Errorf("then %q", got)
	}
	p = h.login(addr, "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<x@remote.test>", "250 ")
	p.send("BDAT 24 LAST\r\nFrom: ana@buzon.test\r\n\r\n")
	p.want("421 ")
	other.say("NOOP", "250 ")
	h.stop()
	if !strings.Contains(h.logged(), "boom") {
		t.Error("the panic is not in the log")
	}
}

func TestRecipientRate(t *testing.T) {
	h := newHouse(t)
	h.cfg.Rate = limit.NewRate(2, time.Hour, nil)
	addr := h.submission(false)
	p := h.login(addr, "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<a@remote.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "250 ")
	p.say("RCPT TO:<b@remote.test>", "250 ")
	p.say("RCPT TO:<c@remote.test>", "450 4.7.1 ")
	q := h.login(addr, "luis@buzon.test")
	q.say("MAIL FROM:<luis@buzon.test>", "250 ")
	q.say("RCPT TO:<a@remote.test>", "250 ")
}

// A07: a session ends with the password that it was opened with.
func TestPasswordChanges(t *testing.T) {
	h := newHouse(t)
	p := h.login(h.submission(false), "ana@buzon.test")
	p.say("MAIL FROM:<ana@buzon.test>", "250 ")
	p.say("RSET", "250 ")
	h.must(h.cfg.Directory.SetPassword(t.Context(), "ana@buzon.test", "battery staple"))
	p.say("MAIL FROM:<ana@buzon.test>", "421 4.7.0 ")
	if got := p.reply(); got != "EOF" {
		t.Errorf("then %q", got)
	}
}

func TestTooManyRecipients(t *testing.T) {
	h := newHouse(t)
	h.cfg.MaxRecipients = 2
	p := dial(t, h.incoming()).hello()
	p.say("MAIL FROM:<x@remote.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("RCPT TO:<luis@buzon.test>", "250 ")
	p.say("RCPT TO:<marta@buzon.test>", "452 4.5.3 ")
}

// U03, U04, A02: what is no login is refused, and guesses cost.
func TestLoginRefused(t *testing.T) {
	h := newHouse(t)
	guard := limit.NewGuard(limit.GuardConfig{PerMinute: 1000, PerDay: 1000})
	h.cfg.Logins = sasl.New(sasl.Config{Directory: h.cfg.Directory, Guard: guard})
	addr := h.submission(true)
	try := func(line, want string) {
		t.Helper()
		p := dial(t, addr).startTLS(false).hello()
		p.say("AUTH PLAIN "+line, want)
		p.nc.Close()
		guard.Succeeded(hostOf(p.nc.LocalAddr())) // no delays here
	}
	long := strings.Repeat("x", 2000)
	for _, c := range [][3]string{
		{"luis@buzon.test", "ana@buzon.test", password}, {"", "", password}, {"", "ana@buzon.test", ""}, {"", "ana@buzon.test", "wrong"},
		{"", "nobody@buzon.test", password}, {"", "ana@buzon.test\r\n", password}, {"", "../ana@buzon.test", password}, {"", "%{ana}@buzon.test", password},
		{"", "ana@buzon.test", password + "\xff"}, {"", "\xffana@buzon.test", password}, {"", "ana@buzon.test", long}, {"", long, password}, {"ana@buzon.test", "", password},
	} {
		try(plain(c[0], c[1], c[2]), "535 5.7.8 ")
	}
	try(base64.StdEncoding.EncodeToString([]byte("no NUL")), "501 5.5.2 ")
	try(base64.StdEncoding.EncodeToString([]byte("\x00a\x00b\x00c")), "501 5.5.2 ")
	try(strings.Repeat("A", 16<<10), "500 5.5.2 ")
	try(plain("ANA@buzon.test", "ana@buzon.test", password), "235 ")
	if strings.Contains(h.logged(), "wrong") || strings.Contains(h.logged(), password) {
		t.Error("a password is in the log")
	}
}

func TestGuard(t *testing.T) {
	h := newHouse(t)
	h.cfg.Logins = sasl.New(sasl.Config{Directory: h.cfg.Directory, Guard: limit.NewGuard(limit.GuardConfig{PerMinute: 1})})
	addr := h.submission(true)
	p := dial(t, addr).startTLS(false).hello()
	p.say("AUTH PLAIN "+plain("", "ana@buzon.test", "wrong"), "535 ")
	p.say("AUTH PLAIN "+plain("", "ana@buzon.test", password), "421 4.7.0 ")
	if got := p.reply(); got != "EOF" {
		t.Errorf("then %q", got)
	}
}
