package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

const letter = "Subject: =?x?\r\n folded\r\nTo:<ana@buzon.test>\r\n\r\nhola\r\n.\r\n"

// converse sends one message through the filters.
func converse(v *Conversation, m *Message) (Outcome, error) {
	if err := v.Mail(Envelope{ID: "Q1", From: eva, Args: []string{"SIZE=77"}}); err != nil {
		return Outcome{}, err
	}
	if err := v.Rcpt(ana); err != nil {
		return Outcome{}, err
	}
	return v.Message(m)
}

// The whole of what a filter hears.
func TestConversation(t *testing.T) {
	f := &fake{}
	v := begin(t, f.start(t))
	m := messageOf(letter)
	out, err := converse(v, m)
	if err != nil || out.Changed || m.text() != "--\r\n"+letter {
		t.Fatalf("%+v, %v, %q", out, err, m.text())
	}
	const want = `D Cj|mx.buzon.test|{daemon_name}|smtp|{v}|Buzon|{daemon_addr}|192.0.2.1|{daemon_port}|25|{if_addr}|192.0.2.1|{if_name}|mx.buzon.test|` +
		`{client_addr}|192.0.2.7|{client_port}|4711|{client_name}|mx.far.test|{client_ptr}|mx.far.test|{client_resolve}|OK|
C mx.far.test|4` + "\x12\x67" + `192.0.2.7|
D H{tls_version}|TLSv1.3|{cipher}|TLS_AES_128_GCM_SHA256|{cipher_bits}|128|
H far.test|
D Mi|Q1|{mail_mailer}|smtp|{mail_host}|far.test|{mail_addr}|eva@far.test|
M <eva@far.test>|SIZE=77|
D Ri|Q1|{rcpt_mailer}|local|{rcpt_host}|buzon.test|{rcpt_addr}|ana@buzon.test|
R <ana@buzon.test>|
D Ti|Q1|
T ` + `
L Subject|=?x?
 folded|
L To|<ana@buzon.test>|
D Ni|Q1|
N ` + `
B hola` + "\r\n.\r\n" + `
D Ei|Q1|
E `
	if got := f.transcript(); got != want {
		t.Errorf("the filter has heard\n%s\nwant\n%s", got, want)
	}

	// A second message goes over the same connection, and one that is not
	// finished is taken back.
	if err := v.Mail(Envelope{ID: "Q2", From: eva}); err != nil {
		t.Fatal(err)
	}
	if _, err := converse(v, messageOf(letter)); err != nil {
		t.Fatal(err)
	}
	more := strings.TrimPrefix(f.transcript(), want)
	if strings.Count(more, "\nA ") != 1 || strings.Count(more, "\nM ") != 2 || strings.Contains(more, "\nC ") {
		t.Errorf("then it has heard%s", more)
	}
}

// What a filter does not want it is not sent, and where it says nothing nobody waits.
func TestNegotiation(t *testing.T) {
	f := &fake{script: map[byte]string{
		cmdNegotiate: optneg(6, 0, noConnect|noHelo|noBody|noData|silentMail|silentHeader|silentEndOfHeader|leadingSpace),
		cmdMail:      "silent", cmdHeader: "silent", cmdEndHeader: "silent",
	}}
	if _, err := converse(begin(t, f.start(t)), messageOf(letter)); err != nil {
		t.Fatal(err)
	}
	got := f.transcript()
	for _, unwanted := range []string{"\nC ", "\nH ", "\nB ", "\nT "} {
		if strings.Contains("\n"+got, unwanted) {
			t.Errorf("the filter has heard %q, which it did not want:\n%s", unwanted, got)
		}
	}
	if !strings.Contains(got, "L Subject| =?x?\n folded|\nL To|<ana@buzon.test>|") {
		t.Errorf("the space before a value is lost:\n%s", got)
	}

	old := &fake{script: map[byte]string{cmdNegotiate: optneg(2, mayAddHeaders, 0)}}
	if _, err := converse(begin(t, old.start(t)), messageOf(letter)); err != nil || strings.Contains(old.transcript(), "\nT ") {
		t.Errorf("an old filter: %v\n%s", err, old.transcript())
	}
}

// A refusal at each step, and whom it is for.
func TestRefusals(t *testing.T) {
	reject := packet(replyReject)
	own := packet(replyCode, "451-4.7.9 greylisted\r\n451 4.7.9 100%% sure\x00")
	for _, tt := range []struct {
		step byte
		say  string
		want string
	}{
		{cmdConnect, reject, "550 5.7.1 The message is refused by a filter"},
		{cmdHelo, own, "451 4.7.9 greylisted 100% sure"},
		{cmdMail, packet(replyTempfail), "451 4.7.1 A filter asks to try again later"},
		{cmdRcpt, own, "451 4.7.9 greylisted 100% sure"},
		{cmdData, reject, "550 5.7.1 The message is refused by a filter"},
		{cmdHeader, reject, "550 5.7.1 The message is refused by a filter"},
		{cmdEndHeader, packet(replyShutdown), "451 4.7.1 A filter asks to try again later"},
		{cmdBody, packet(replyCode, "550 no\x00"), "550 5.7.1 no"},
		{cmdEnd, packet(replyProgress) + own, "451 4.7.9 greylisted 100% sure"},
	} {
		f := &fake{script: map[byte]string{tt.step: tt.say}}
		v := begin(t, f.start(t))
		_, err := converse(v, messageOf(letter))
		if err == nil || err.Error() != tt.want {
			t.Errorf("refused at %q: %v, want %s", tt.step, err, tt.want)
		}
		if _, ok := err.(*smtp.Reply); !ok {
			t.Errorf("a decision of a filter comes as %T", err)
		}
		// The next message is judged anew, but what was said of the client holds.
		f.mu.Lock()
		delete(f.script, tt.step)
		f.mu.Unlock()
		_, err = converse(v, messageOf(letter))
		if (err != nil) != (tt.step == cmdConnect || tt.step == cmdHelo) {
			t.Errorf("after a refusal at %q: %v", tt.step, err)
		}
	}
}

// A filter that refuses a recipient still hears of the others.
func TestRecipientRefused(t *testing.T) {
	f := &fake{script: map[byte]string{cmdRcpt: packet(replyReject)}}
	v := begin(t, f.start(t))
	if err := v.Mail(Envelope{ID: "Q1", From: eva}); err != nil {
		t.Fatal(err)
	}
	if err := v.Rcpt(ana); err == nil {
		t.Fatal("not refused")
	}
	f.mu.Lock()
	f.script = nil
	f.mu.Unlock()
	if err := v.Rcpt(smtp.Address{Local: "luis", Domain: "buzon.test"}); err != nil {
		t.Fatal(err)
	}
	if out, err := v.Message(messageOf(letter)); err != nil || out.Discard {
		t.Errorf("%+v, %v", out, err)
	}
}

// Filters that have said enough.
func TestAcceptAndDiscard(t *testing.T) {
	for _, step := range []byte{cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData, cmdHeader, cmdBody, cmdEnd} {
		first, second := &fake{script: map[byte]string{step: packet(replyAccept)}}, &fake{}
		v := begin(t, first.start(t), second.start(t))
		out, err := converse(v, messageOf(letter))
		if err != nil || out.Discard || !strings.HasSuffix(second.transcript(), "E ") {
			t.Errorf("accepted at %q: %+v, %v; the second filter has heard\n%s", step, out, err, second.transcript())
		}
		if step != cmdEnd && strings.Contains(first.transcript(), "\nE ") {
			t.Errorf("accepted at %q, and yet shown all of it", step)
		}
	}
	for _, step := range []byte{cmdMail, cmdRcpt, cmdHeader, cmdBody, cmdEnd} {
		first, second := &fake{script: map[byte]string{step: packet(replyDiscard)}}, &fake{}
		v := begin(t, first.start(t), second.start(t))
		if out, err := converse(v, messageOf(letter)); err != nil || !out.Discard || out.By != "fake" {
			t.Errorf("discarded at %q: %+v, %v", step, out, err)
		}
		if strings.Contains(second.transcript(), "E ") {
			t.Errorf("discarded at %q, and yet shown to the next", step)
		}
	}
	long := messageOf("Subject: long\r\n\r\n" + strings.Repeat("0123456789abcde\n", 20_000))
	f := &fake{script: map[byte]string{cmdBody: packet(replySkip)}}
	if _, err := converse(begin(t, f.start(t)), long); err != nil || strings.Count(f.transcript(), "B 0123") != 1 {
		t.Errorf("skip: %v", err)
	}
}

// Every change that a filter can make.
func TestChanges(t *testing.T) {
	header := func(name, value string) string { return name + "\x00" + value + "\x00" }
	f := &fake{script: map[byte]string{cmdEnd: strings.Join([]string{
		packet(changeAddHeader, header("X-Spam", "Yes")),
		packet(changeInsertHeader, number(0), header("X-Top", "a\n b\nSubject: c")),
		packet(changeInsertHeader, number(2), header("X-First", "1")), // X-Top and ours are before it
		packet(changeHeader, number(1), header("subject", "new")),
		packet(changeHeader, number(2), header("To", "<other@buzon.test>")), // there is no second one
		packet(changeHeader, number(9), header("Nobody", "")),
		packet(replyProgress),
		packet(changeHeader, number(1), header("To", "")),
		packet(changeBody, "adiós\r\n"), packet(changeBody, "más\r\n"),
		packet(changeAddRcpt, "<luis@buzon.test>\x00"), packet(changeAddRcptWithArgs, "marta@buzon.test\x00NOTIFY=NEVER\x00"),
		packet(changeDeleteRcpt, "<ana@buzon.test>\x00"),
		packet(changeFrom, "<>\x00"),
		packet(changeQuarantine, "looks\r\nbad\x00"),
		packet(replyContinue),
	}, "")}}
	next := &fake{}
	v := begin(t, f.start(t), next.start(t))
	m := messageOf(letter)
	out, err := converse(v, m)
	if err != nil {
		t.Fatal(err)
	}
	const want = "X-Top: a\r\n b\r\n\tSubject: c\r\n--\r\nX-First: 1\r\nsubject: new\r\nX-Spam: Yes\r\nTo: <other@buzon.test>\r\n\r\nadiós\r\nmás\r\n"
	if got := m.text(); got != want {
		t.Errorf("the message is\n%q, want\n%q", got, want)
	}
	if len(out.Add) != 2 || out.Add[1].Local != "marta" || len(out.Drop) != 1 || out.Drop[0] != ana || out.From == nil || !out.From.IsNull() {
		t.Errorf("envelope: %+v", out)
	}
	if !out.Quarantine || out.Reason != "looks??bad" || out.By != "fake" || len(out.Fields) != 5 || out.Fields[0] != (Field{"X-Spam", "Yes"}) {
		t.Errorf("%+v", out)
	}
	if got := next.transcript(); !strings.Contains(got, "B adiós\r\nmás\r\n") || !strings.Contains(got, "L X-Top|a\n b\n\tSubject: c|") {
		t.Errorf("the next filter has heard\n%s", got)
	}
}

// A new body has the line ends that all mail has, however it comes.
func TestNewBodyLines(t *testing.T) {
	const want = "a\r\nb\r\n\r\nc\r\n\r\nd\r\n"
	for _, pieces := range [][]string{
		{want}, {"a\nb\n\nc\n\nd\n"}, {"a\r", "\nb\r\n", "\r\nc\n\n", "d\n"}, {"a\rb\r\rc\r\r", "d\r"},
	} {
		c := &changes{limit: 100, newBody: func() Body { return &memory{} }}
		for _, p := range pieces {
			if err := c.write([]byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.finish(); err != nil || string(c.body.(*memory).text) != want {
			t.Errorf("%q: %q, %v", pieces, c.body.(*memory).text, err)
		}
	}
}

// What fails, and what becomes of mail then: by the policy, at once or when the
// time is over, and the next message is asked about again.
func TestFailures(t *testing.T) {
	flood := strings.Repeat(packet(changeAddHeader, "X\x00y\x00"), maxChanges+1)
	for name, script := range map[string]map[byte]string{
		"closes at once":             {cmdNegotiate: "close"},
		"closes in the middle":       {cmdHeader: "close"},
		"closes at the end":          {cmdEnd: "close"},
		"no packet":                  {cmdMail: "HTTP/1.1 400 Bad Request\r\n"},
		"an empty packet":            {cmdMail: "\x00\x00\x00\x00c"},
		"half a packet":              {cmdNegotiate: "\x00\x00\x00"},
		"an unknown answer":          {cmdHelo: packet('?')},
		"a reply that is no":         {cmdMail: packet(replyCode, "250 fine\x00")},
		"a reply without an end":     {cmdMail: packet(replyCode, "550 fine")},
		"two codes":                  {cmdMail: packet(replyCode, "550-a\r\n250 b\x00")},
		"a wrong version":            {cmdNegotiate: optneg(7, 0, 0)},
		"what was not offered":       {cmdNegotiate: optneg(6, 1<<12, 0)},
		"a short offer":              {cmdNegotiate: packet(cmdNegotiate, "\x00")},
		"skip where nothing is":      {cmdMail: packet(replySkip)},
		"a client discarded":         {cmdHelo: packet(replyDiscard)},
		"a change without a right":   {cmdNegotiate: optneg(6, mayAddHeaders, 0), cmdEnd: packet(changeBody, "x")},
		"a change out of place":      {cmdBody: packet(changeBody, "x")},
		"a flood of changes":         {cmdEnd: flood},
		"a bad field name":           {cmdEnd: packet(changeAddHeader, "X: a\r\nY\x00b\x00")},
		"a field without a value":    {cmdEnd: packet(changeAddHeader, "X\x00")},
		"a change without a place":   {cmdEnd: packet(changeHeader, "\x00")},
		"a bad address":              {cmdEnd: packet(changeAddRcpt, "<a b\r\nRCPT>\x00")},
		"nobody as a recipient":      {cmdEnd: packet(changeAddRcpt, "<>\x00")},
		"a header without an end":    {cmdEnd: strings.Repeat(packet(changeAddHeader, "X\x00"+strings.Repeat("y", 100_000)+"\x00"), 12)},
		"a body without an end":      {cmdEnd: strings.Repeat(packet(changeBody, strings.Repeat("y", 100_000)), 12)},
		"asks for patience for ever": {cmdEnd: strings.Repeat(packet(replyProgress), maxProgress+1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{script: script}
			filter := f.start(t)
			if name == "half a packet" {
				filter.cfg.Timeout = 50 * time.Millisecond
			}
			m := messageOf(letter)
			_, err := converse(begin(t, filter), m)
			if r := smtp.ReplyFor(err); r != replyNoFilter || !strings.Contains(err.Error(), "filter fake") {
				t.Errorf("%v", err)
			}
			if m.text() != "--\r\n"+letter {
				t.Errorf("the message was changed: %.200q", m.text())
			}
			filter.cfg.OnFailure = RejectOnFailure
			if _, err := converse(begin(t, filter), messageOf(letter)); !errors.Is(err, replyNoFilterEver) {
				t.Errorf("to be refused: %v", err)
			}
			filter.cfg.OnFailure = AcceptOnFailure
			next := &fake{}
			v := begin(t, filter, next.start(t))
			for range 2 {
				if out, err := converse(v, messageOf(letter)); err != nil || out.Changed {
					t.Errorf("to be ignored: %+v, %v", out, err)
				}
			}
			if strings.Count(next.transcript(), "E ") != 2 {
				t.Error("the next filter was not asked")
			}
		})
	}
}

// A filter that hangs has its time and no more, wherever it does.
func TestHangs(t *testing.T) {
	for _, step := range []byte{cmdNegotiate, cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData, cmdHeader, cmdEndHeader, cmdBody, cmdEnd} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			f := &fake{script: map[byte]string{step: "hang"}}
			filter := f.start(t)
			filter.cfg.Timeout = 50 * time.Millisecond
			v := begin(t, filter)
			if _, err := converse(v, messageOf(letter)); smtp.ReplyFor(err) != replyNoFilter {
				t.Errorf("%v", err)
			}
		})
	}
	// One that does not exist.
	gone := New(Config{Name: "gone", Network: "unix", Address: filepath.Join(t.TempDir(), "none")})
	if _, err := converse(begin(t, gone), messageOf(letter)); smtp.ReplyFor(err) != replyNoFilter {
		t.Errorf("%v", err)
	}
	// One that listens and never accepts, nor reads: the end of the server ends it.
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "deaf"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	deaf := New(Config{Name: "deaf", Network: "unix", Address: ln.Addr().String(), OnFailure: AcceptOnFailure, Timeout: time.Hour})
	v := NewChain(testHost, deaf).Begin(ctx, slog.New(slog.DiscardHandler), testClient)
	done := make(chan error)
	go func() { done <- v.Mail(Envelope{ID: "Q1", From: eva}) }()
	cancel()
	if err := <-done; smtp.ReplyFor(err) != replyNoFilter {
		t.Errorf("%v", err)
	}
	v.Close()
}

func TestMaxSize(t *testing.T) {
	f := &fake{script: map[byte]string{cmdEnd: packet(replyReject)}}
	filter := f.start(t)
	filter.cfg.MaxSize = int64(len(letter)) - 1
	if _, err := converse(begin(t, filter), messageOf(letter)); err != nil {
		t.Errorf("too large to be shown: %v", err)
	}
	filter.cfg.MaxSize++
	if _, err := converse(begin(t, filter), messageOf(letter)); err == nil {
		t.Error("not shown")
	}
}
