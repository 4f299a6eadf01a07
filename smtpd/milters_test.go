package smtpd

import (
	"errors"
	"io"
	"net"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gomilter "github.com/emersion/go-milter"

	"buzon/internal/milter"
	"buzon/internal/sieve"
)

// theirs is a filter of somebody else's making: emersion's server speaks the
// protocol, so that ours is not only tested against itself.
type theirs struct {
	gomilter.NoOpMilter
	end  func(*gomilter.Modifier) (gomilter.Response, error)
	rcpt func(to string) gomilter.Response

	mu    sync.Mutex
	heard strings.Builder
}

func (f *theirs) note(parts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard.WriteString(strings.Join(parts, " ") + "\n")
}

func (f *theirs) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard.String()
}

func (f *theirs) Connect(host, family string, _ uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("connect", host, family, addr.String(), m.Macros["{daemon_name}"])
	return gomilter.RespContinue, nil
}

func (f *theirs) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("mail", from, m.Macros["{auth_authen}"], m.Macros["{auth_type}"])
	return gomilter.RespContinue, nil
}

func (f *theirs) RcptTo(to string, _ *gomilter.Modifier) (gomilter.Response, error) {
	f.note("rcpt", to)
	if f.rcpt != nil {
		return f.rcpt(to), nil
	}
	return gomilter.RespContinue, nil
}

func (f *theirs) Header(name, value string, _ *gomilter.Modifier) (gomilter.Response, error) {
	f.note("field", name, value)
	return gomilter.RespContinue, nil
}

func (f *theirs) Headers(textproto.MIMEHeader, *gomilter.Modifier) (gomilter.Response, error) {
	return gomilter.RespContinue, nil
}

func (f *theirs) BodyChunk(chunk []byte, _ *gomilter.Modifier) (gomilter.Response, error) {
	f.note("body", string(chunk))
	return gomilter.RespContinue, nil
}

func (f *theirs) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	if f.end == nil {
		return gomilter.RespAccept, nil
	}
	return f.end(m)
}

// withFilter makes f the filter of h's ports.
func (h *house) withFilter(f *theirs) *house {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	h.must(err)
	server := &gomilter.Server{
		NewMilter: func() gomilter.Milter { return f },
		Actions: gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptChangeBody | gomilter.OptAddRcpt |
			gomilter.OptRemoveRcpt | gomilter.OptQuarantine | gomilter.OptChangeFrom,
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	h.t.Cleanup(func() {
		ln.Close()
		<-done // before Close: the library's own Serve and Close race
		server.Close()
	})
	h.cfg.Milters = milter.NewChain(milter.Host{Name: h.cfg.Hostname, Daemon: "smtp"}, milter.New(milter.Config{Name: "theirs", Network: "unix", Address: path}))
	return h
}

// junk returns the messages in a user's Junk.
func (h *house) junk(user string) []string {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "mail", "buzon.test", user, "Maildir", ".Junk", "new", "*"))
	h.must(err)
	return files
}

// A filter hears what a stranger brings, and its changes are in what is stored.
func TestFilterChanges(t *testing.T) {
	f := &theirs{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
		err := errors.Join(m.InsertHeader(0, "X-Spam-Status", "No, score=2.5\n required=5.0"), m.ChangeHeader(1, "Subject", "changed"),
			m.AddHeader("X-Last", "1"), m.ReplaceBody([]byte("new body\r\n")), m.AddRecipient("luis@buzon.test"), m.ChangeFrom("bounce@remote.test"))
		return gomilter.RespAccept, err
	}}
	h := newHouse(t).withFilter(f)
	h.must(errors.Join(h.scripts.Put("ana@buzon.test", "mine", []byte(`require ["spamtest", "relational", "comparator-i;ascii-numeric"]; if spamtest :value "ge" :comparator "i;ascii-numeric" "5" { keep; } else { discard; }`)),
		h.scripts.Activate("ana@buzon.test", "mine")))
	p := dial(t, h.incoming()).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("X-Spam-Flag: forged\r\nSubject: old\r\nTo: a,\r\n b\r\n\r\n..hola\r\n.\r\n")
	p.want("250 2.0.0 delivered as ")
	got := h.inbox("ana")[0]
	if !strings.HasPrefix(got, "Return-Path: <bounce@remote.test>\r\nDelivered-To: ana@buzon.test\r\nX-Spam-Status: No, score=2.5\r\n required=5.0\r\nReceived: from client.test") ||
		!strings.HasSuffix(got, "\r\nSubject: changed\r\nTo: a,\r\n b\r\nX-Last: 1\r\n\r\nnew body\r\n") || strings.Contains(got, "forged") {
		t.Errorf("stored %q", got)
	}
	if n := len(h.inbox("luis")); n != 1 {
		t.Errorf("the recipient that was added has %d messages", n)
	}
	const want = "connect [127.0.0.1] tcp4 127.0.0.1 smtp\nmail x@remote.test  \nrcpt ana@buzon.test\nfield Subject old\nfield To a,\n b\nbody .hola\r\n\n"
	if got := f.text(); got != want {
		t.Errorf("the filter has heard\n%q, want\n%q", got, want)
	}
}

// What a filter wants done with a message.
func TestFilterVerdicts(t *testing.T) {
	f := &theirs{rcpt: func(to string) gomilter.Response {
		if strings.HasPrefix(to, "luis") {
			return gomilter.NewResponseStr('y', "551 5.1.6 luis has moved")
		}
		return gomilter.RespContinue
	}}
	h := newHouse(t).withFilter(f)
	p := dial(t, h.incoming()).hello()
	send := func(end func(*gomilter.Modifier) (gomilter.Response, error), want string) {
		t.Helper()
		f.end = end
		p.say("MAIL FROM:<x@remote.test>", "250 ")
		p.say("RCPT TO:<luis@buzon.test>", "551 5.1.6 luis has moved")
		p.say("RCPT TO:<ana@buzon.test>", "250 ")
		p.say("DATA", "354 ")
		p.send("Subject: x\r\n\r\nhola\r\n.\r\n")
		p.want(want)
	}
	answer := func(r gomilter.Response) func(*gomilter.Modifier) (gomilter.Response, error) {
		return func(*gomilter.Modifier) (gomilter.Response, error) { return r, nil }
	}
	send(answer(gomilter.RespReject), "550 5.7.1 ")
	send(answer(gomilter.RespTempFail), "451 4.7.1 ")
	send(answer(gomilter.NewResponseStr('y', "550 5.7.9 GTUBE")), "550 5.7.9 GTUBE")
	send(answer(gomilter.RespDiscard), "250 2.0.0 accepted as ")
	send(func(m *gomilter.Modifier) (gomilter.Response, error) {
		return gomilter.RespAccept, m.DeleteRecipient("ana@buzon.test")
	}, "250 2.0.0 accepted as ")
	if n := len(h.inbox("ana")) + len(h.inbox("luis")); n != 0 {
		t.Errorf("%d messages came through", n)
	}
	send(func(m *gomilter.Modifier) (gomilter.Response, error) {
		return gomilter.RespAccept, m.Quarantine("virus")
	}, "250 ")
	send(func(m *gomilter.Modifier) (gomilter.Response, error) {
		return gomilter.RespAccept, m.AddHeader("X-Spam", "Yes")
	}, "250 ")
	if inbox, junk := len(h.inbox("ana")), len(h.junk("ana")); inbox != 0 || junk != 2 {
		t.Errorf("%d in INBOX, %d in Junk; want both in Junk", inbox, junk)
	}
	send(answer(gomilter.RespContinue), "250 ")
	if n := len(h.inbox("ana")); n != 1 {
		t.Errorf("%d in INBOX", n)
	}
	log := h.logged()
	for _, want := range []string{"msg=filtered", "by=theirs", "verdict=refuse", "verdict=discard", "verdict=junk", "err=virus"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
}

// Our users' mail is shown with their names, and what is put in quarantine
// waits in the queue.
func TestFilterSubmission(t *testing.T) {
	f := &theirs{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
		return gomilter.RespAccept, errors.Join(m.InsertHeader(0, "DKIM-Signature", "v=1"), m.Quarantine("looks odd"), m.AddRecipient("archive@far.test"))
	}}
	h := newHouse(t).withFilter(f)
	p := dial(t, h.submission(false)).hello().startTLS(true)
	p.say("EHLO client.test", "250 ")
	p.say("AUTH PLAIN "+plain("", "ana@buzon.test", password), "235 ")
	p.transaction("ana@buzon.test", "eva@far.test", "luis@buzon.test")
	p.send("From: ana@buzon.test\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nhola\r\n.\r\n")
	p.want("250 2.0.0 queued as ")
	if !strings.Contains(f.text(), "mail ana@buzon.test ana@buzon.test PLAIN\n") {
		t.Errorf("the filter has heard\n%s", f.text())
	}
	m := h.queue.messages[0]
	if len(m.env.To) != 2 || m.env.To[1].Address.String() != "archive@far.test" || !m.env.Held || !strings.HasPrefix(m.text, "DKIM-Signature: v=1\r\nReceived: ") {
		t.Errorf("%+v\n%s", m.env, m.text)
	}
	if got := h.inbox("luis"); len(got) != 1 || !strings.Contains(got[0], "DKIM-Signature: v=1\r\nReceived: ") {
		t.Errorf("%q", got)
	}
}

// A message in a file, with a new header before its old body; by DATA and by BDAT.
func TestFilterLarge(t *testing.T) {
	f := &theirs{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
		return gomilter.RespAccept, m.ChangeHeader(1, "Subject", "a longer one than before")
	}}
	h := newHouse(t).withFilter(f)
	body := strings.Repeat("0123456789abcd\r\n", 40_000)
	p := dial(t, h.incoming()).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("Subject: x\r\n\r\n" + body + ".\r\n")
	p.want("250 ")
	p.say("MAIL FROM:<x@remote.test>", "250 ")
	p.say("RCPT TO:<ana@buzon.test>", "250 ")
	p.say("BDAT 16 LAST\r\nSubject: y\r\n\r\nno", "250 ")
	got := h.inbox("ana")
	if len(got) != 2 || !strings.HasSuffix(got[0], "\r\nSubject: a longer one than before\r\n\r\n"+body) || !strings.HasSuffix(got[1], "before\r\n\r\nno") {
		t.Errorf("%d messages, %.600q", len(got), got)
	}
}

// A filter that is not there: the policy says what becomes of mail.
func TestFilterAway(t *testing.T) {
	h := newHouse(t)
	away := milter.Config{Name: "away", Network: "unix", Address: filepath.Join(t.TempDir(), "none")}
	h.cfg.Milters = milter.NewChain(milter.Host{}, milter.New(away))
	p := dial(t, h.incoming()).hello()
	p.say("MAIL FROM:<x@remote.test>", "451 4.7.1 ")
	p.say("RCPT TO:<ana@buzon.test>", "503 ")
	p.say("QUIT", "221 ")

	away.OnFailure = milter.AcceptOnFailure
	h.cfg.Milters = milter.NewChain(milter.Host{}, milter.New(away))
	p = dial(t, h.incoming()).hello()
	p.transaction("x@remote.test", "ana@buzon.test")
	p.send("Subject: x\r\n\r\nhola\r\n.\r\n")
	p.want("250 ")
	if !strings.Contains(h.logged(), "filter failed, mail goes on without it") {
		t.Error("nobody was told")
	}
}

func TestSpamVerdict(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		junk        bool
		spam        sieve.Spam
	}{
		{"X-Spam", "Yes", true, sieve.Spam{Tested: true, Percent: 100}},
		{"X-Spam-Flag", "YES", true, sieve.Spam{Tested: true, Percent: 100}},
		{"X-Spam-Flag", "NO", false, sieve.Spam{}},
		{"X-Spam-Status", "Yes, score=9.1 required=5.0 tests=X", true, sieve.Spam{Tested: true, Percent: 100}},
		{"X-Spam-Status", "No, score=2.5 required=5.0 tests=X", false, sieve.Spam{Tested: true, Percent: 50}},
		{"X-Spam-Status", "No, score=-1.9 required=5.0", false, sieve.Spam{Tested: true}},
		{"X-Spam-Status", "No, score=9 required=5.0", false, sieve.Spam{Tested: true, Percent: 99}},
		{"X-Spamd-Result", "default: False [3.75 / 15.00]; X(1.0)[]", false, sieve.Spam{Tested: true, Percent: 25}},
		{"X-Spam-Status", "No, score=NaN required=0", false, sieve.Spam{}},
		{"X-Spam-Level", "*****", false, sieve.Spam{}},
		{"Subject", "Yes", false, sieve.Spam{}},
	} {
		junk, spam := spamVerdict([]milter.Field{{Name: tt.name, Value: tt.value}})
		if junk != tt.junk || spam != tt.spam {
			t.Errorf("%s: %s: %t, %+v", tt.name, tt.value, junk, spam)
		}
	}
}

// A message whose head was replaced reads as one, whatever is read of it.
func TestSpooledHead(t *testing.T) {
	for _, size := range []int{10, memorySpool + 10} {
		m := newSpooled(t.TempDir())
		old := strings.Repeat("o", size)
		if _, err := m.Write([]byte("head" + old)); err != nil {
			t.Fatal(err)
		}
		m.replaceHead([]byte("longer head"), 4)
		m.replaceHead([]byte("h"), int64(len("longer head")))
		want := "h" + old
		if m.Size() != int64(len(want)) {
			t.Errorf("size %d, want %d", m.Size(), len(want))
		}
		for off := range int64(4) {
			got, err := io.ReadAll(io.NewSectionReader(m, off, m.Size()-off))
			if err != nil || string(got) != want[off:] {
				t.Errorf("from %d: %d octets, %v", off, len(got), err)
			}
		}
		m.Close()
	}
}
