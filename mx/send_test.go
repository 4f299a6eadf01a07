package mx

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"buzon/internal/smtp"
)

const hello = "Subject: hello\r\n\r\n.dot\r\nworld\r\n"

// What most scripts begin with: a host without extensions, and one with.
const (
	greeted = `
220 mx.x.test
> EHLO us.test
250 mx.x.test
`
	pipelines = `
220 mx.x.test ESMTP
> EHLO us.test
250-mx.x.test
250-PIPELINING
250-size 10000
250-8bitmime
250 SMTPUTF8
`
	done = `
> QUIT
221 bye
`
	takes = greeted + `
> MAIL FROM:<me@us.test>
250 ok
> RCPT TO:<a@x.test>
250 ok
> DATA
354 go
*message
250 2.0.0 taken
` + done
)

// want compares one list of outcomes with another.
func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneRecipient(t *testing.T) {
	w := oneHost(t, takes)
	want(t, w.send(nil, hello, "a@x.test"), "250 2.0.0")
	want(t, w.messages, "Subject: hello\r\n\r\n..dot\r\nworld\r\n.\r\n")
	for _, part := range []string{"level=INFO", `msg="delivery attempt"`, "from=me@us.test", "to=a@x.test", "host=mx.x.test", "ip=192.0.2.1", "code=250", "dur="} {
		if !strings.Contains(w.log.String(), part) || strings.Count(w.log.String(), "\n") != 1 {
			t.Errorf("log has no %s, or not one line: %s", part, &w.log)
		}
	}
}

func TestEndWithoutLineEnd(t *testing.T) {
	w := oneHost(t, takes)
	want(t, w.send(nil, "\r\nend", "a@x.test"), "250 2.0.0")
	want(t, w.messages, "\r\nend\r\n.\r\n")
}

func TestPipelining(t *testing.T) {
	const group = `
> MAIL FROM:<me@us.test> SIZE=31
> RCPT TO:<a@x.test>
> RCPT TO:<b@x.test>
> DATA
`
	for _, tt := range []struct {
		name, replies string
		want          []string
		messages      int
	}{
		{"all taken", "250 ok\n250 ok\n250 ok\n354 go\n*message\n250 2.6.0 taken\n" + done, []string{"250 2.6.0", "250 2.6.0"}, 1},
		{"one refused", "250 ok\n550 5.1.1 no\n250 ok\n354 go\n*message\n250 2.6.0 taken\n" + done, []string{"550 5.1.1", "250 2.6.0"}, 1},
		{"one later", "250 ok\n250 ok\n450 4.2.0 greylisted\n354 go\n*message\n250 2.6.0 taken\n" + done, []string{"250 2.6.0", "450 4.2.0"}, 1},
		{"all refused, DATA too", "250 ok\n550 5.1.1 no\n451 4.2.1 no\n503 5.5.1 no\n" + done, []string{"550 5.1.1", "451 4.2.1"}, 0},
		{"all refused, DATA begun", "250 ok\n550 5.1.1 no\n550 5.1.1 no\n354 go\n*message\n554 nobody\n" + done, []string{"550 5.1.1", "550 5.1.1"}, 1},
		{"MAIL refused", "550 5.7.1 not you\n503 5.5.1 no\n503 5.5.1 no\n503 5.5.1 no\n" + done, []string{"550 5.7.1", "550 5.7.1"}, 0},
		{"MAIL refused, DATA begun: cut", "451 4.7.1 not now\n250 ok\n250 ok\n354 go\n*hang", []string{"451 4.7.1", "451 4.7.1"}, 0},
		{"DATA refused", "250 ok\n250 ok\n550 5.1.1 no\n451 4.3.0 no\n" + done, []string{"451 4.3.0", "550 5.1.1"}, 0},
		{"dot refused", "250 ok\n250 ok\n250 ok\n354 go\n*message\n550 5.7.1 spam\n" + done, []string{"550 5.7.1", "550 5.7.1"}, 1},
		{"lost after RCPT", "250 ok\n250 ok\n550 5.1.1 no\n", []string{"451 4.4.2 local", "550 5.1.1"}, 0},
		{"lost after 354", "250 ok\n250 ok\n250 ok\n354 go\n", []string{"451 4.4.2 local", "451 4.4.2 local"}, 0},
		{"yes to DATA is no 354", "250 ok\n250 ok\n250 ok\n250 ok\n*hang", []string{"451 4.5.0 local", "451 4.5.0 local"}, 0},
		{"answers before they are asked for", "250 ok\n250 ok\n250 ok\n*raw \"354 go\\r\\n250 taken\\r\\n\"\n*hang", []string{"451 4.5.0 local", "451 4.5.0 local"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := oneHost(t, pipelines+group+tt.replies)
			want(t, w.send(nil, hello, "a@x.test", "b@x.test"), tt.want...)
			if len(w.messages) != tt.messages {
				t.Errorf("messages: %q, want %d", w.messages, tt.messages)
			}
		})
	}
}

// TestEveryReplyAtEveryStage is Q04 and Q05 of the fault catalogue: what each
// kind of reply, or none, does at each stage when there is a second host, and
// whether that one is asked.
func TestEveryReplyAtEveryStage(t *testing.T) {
	const second = "asked the second host"
	stages := []struct{ name, before string }{
		{"greeting", ""},
		{"EHLO", "220 mx.x.test\n> EHLO us.test\n"},
		{"MAIL", greeted + "> MAIL FROM:<me@us.test>\n"},
		{"RCPT", greeted + "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n"},
		{"DATA", greeted + "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n250 ok\n> DATA\n"},
		{"dot", greeted + "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n250 ok\n> DATA\n354 go\n*message\n"},
	}
	for reply, outcomes := range map[string][]string{
		"450 4.3.2 later\n> QUIT\n": {second, second, "450 4.3.2", "450 4.3.2", "450 4.3.2", "450 4.3.2"},
		"554 5.7.1 never\n> QUIT\n": {second, second, "554 5.7.1", "554 5.7.1", "554 5.7.1", "554 5.7.1"},
		"421 4.3.2 closing\n":       {second, second, second, second, second, second},
		"":                          {second, second, second, second, second, "451 4.4.2 local"},
		"garbage\n*hang":            {second, second, second, second, second, "451 4.4.2 local"},
		"334 what\n*hang":           {second, second, second, second, second, "451 4.5.0 local"},
	} {
		for i, stage := range stages {
			t.Run(fmt.Sprintf("%s/%.9q", stage.name, reply), func(t *testing.T) {
				last := reply
				if last == "334 what\n*hang" && i < 2 { // no transaction is broken yet
					last = "334 what\n> QUIT\n"
				}
				w := oneHost(t, stage.before+last)
				w.mx["x.test"] = "10 mx.x.test, 20 backup.x.test"
				w.addr["backup.x.test"] = "192.0.2.2"
				w.host["192.0.2.2"] = []string{strings.Replace(takes, "2.0.0 taken", "2.9.9 "+second, 1)}
				got := w.send(nil, hello, "a@x.test")
				if got[0] == "250 2.9.9" {
					got[0] = second
				}
				want(t, got, outcomes[i])
			})
		}
	}
}

func TestRefusalByEveryHost(t *testing.T) {
	const never, later = "554 5.7.1 not you\n> QUIT\n", "450 4.7.1 not yet\n> QUIT\n"
	for _, tt := range []struct{ first, second, want string }{
		{never, never, "554 5.7.1"},
		{never, later, "450 4.7.1"},
		{later, never, "450 4.7.1"},
		{never, "", "451 4.4.2 local"},
	} {
		w := oneHost(t, tt.first)
		w.mx["x.test"] = "10 mx.x.test, 20 backup.x.test"
		w.addr["backup.x.test"] = "192.0.2.2"
		w.host["192.0.2.2"] = []string{tt.second}
		want(t, w.send(nil, hello, "a@x.test"), tt.want)
	}
}

func TestHELO(t *testing.T) {
	w := oneHost(t, strings.Replace(takes, "250 mx.x.test", "502 what\n> HELO us.test\n250 mx.x.test", 1))
	want(t, w.send(nil, hello, "a@x.test"), "250 2.0.0")
}

func TestWhatTheHostCannotDo(t *testing.T) {
	const bare = greeted + done
	const latin, utf8Header = "Subject: x\r\n\r\ncaf\xe9\r\n", "Subject: caf\xc3\xa9\r\n\r\nx\r\n"
	small := strings.Replace(pipelines, "10000", "30", 1) + done
	for _, tt := range []struct {
		name, script, message, to string
		utf8                      bool
		want                      string
	}{
		{"8-bit body", bare, latin, "a@x.test", false, "554 5.6.3 local"},
		{"UTF-8 header", bare, utf8Header, "a@x.test", true, "550 5.6.7 local"},
		{"UTF-8 address", bare, hello, "jos\u00e9@x.test", true, "550 5.6.7 local"},
		{"SMTPUTF8 was said, and not needed", takes, hello, "a@x.test", true, "250 2.0.0"},
		{"one octet over SIZE", small, hello, "a@x.test", false, "552 5.3.4 local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := oneHost(t, tt.script)
			env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, UTF8: tt.utf8}
			want(t, w.sendEnvelope(w.client(nil), env, tt.message, tt.to), tt.want)
		})
	}
	w := oneHost(t, takes)
	want(t, w.send(func(c *Config) { c.AssumeEightBit = true }, latin, "a@x.test"), "250 2.0.0")
}

func TestParametersOfMAIL(t *testing.T) {
	for _, tt := range []struct {
		from, message string
		utf8          bool
		want          string
	}{
		{"me@us.test", hello, true, "MAIL FROM:<me@us.test> SIZE=31"},
		{"", hello, false, "MAIL FROM:<> SIZE=31"},
		{"\"a b\"@us.test", hello, false, "MAIL FROM:<\"a b\"@us.test> SIZE=31"},
		{"me@us.test", "A: b\r\n\r\n\xe9", false, "MAIL FROM:<me@us.test> SIZE=11 BODY=8BITMIME"},
		{"me@us.test", "A: \u00e9\r\n\r\nb\r\n", true, "MAIL FROM:<me@us.test> SIZE=12 BODY=8BITMIME SMTPUTF8"},
		{"jos\u00e9@us.test", "\r\n", true, "MAIL FROM:<jos\u00e9@us.test> SIZE=2 SMTPUTF8"},
	} {
		w := oneHost(t, pipelines+"> "+tt.want+"\n> RCPT TO:<a@x.test>\n> DATA\n550 no\n503 no\n503 no\n"+done)
		env := smtp.Envelope{UTF8: tt.utf8}
		if tt.from != "" {
			from, err := smtp.ParseAddress(tt.from)
			if err != nil {
				t.Fatal(err)
			}
			env.From = from
		}
		want(t, w.sendEnvelope(w.client(nil), env, tt.message, "a@x.test"), "550 5.0.0")
	}
}

// TestManyRecipients: a hundred to a transaction, in groups of 4 KiB, and
// those for whom the host had no room in one more.
func TestManyRecipients(t *testing.T) {
	var script strings.Builder
	script.WriteString(pipelines)
	var to, wanted []string
	for i := range 150 {
		to = append(to, fmt.Sprintf("recipient-number-%03d@x.test", i))
		wanted = append(wanted, "250 2.0.0")
	}
	transaction := func(rcpts []string, refuse int) {
		b := &script
		b.WriteString("> MAIL FROM:<me@us.test> SIZE=31\n")
		replies := "250 ok\n"
		size := len("MAIL FROM:<me@us.test> SIZE=31")
		for i, rcpt := range append(slices.Clone(rcpts), "DATA") {
			line := "DATA"
			if rcpt != "DATA" {
				line = "RCPT TO:<" + rcpt + ">"
			}
			if size += len(line) + 2; size > maxGroup {
				b.WriteString(replies)
				replies, size = "", len(line)
			}
			b.WriteString("> " + line + "\n")
			switch {
			case rcpt == "DATA":
				replies += "354 go\n"
			case len(rcpts)-i <= refuse:
				replies += "452 4.5.3 too many\n"
			default:
				replies += "250 ok\n"
			}
		}
		b.WriteString(replies + "*message\n250 2.0.0 taken\n")
	}
	transaction(to[:100], 20)
	transaction(to[80:150], 0)
	w := oneHost(t, script.String()+done)
	want(t, w.send(nil, hello, to...), wanted...)
	if len(w.messages) != 2 {
		t.Errorf("%d messages, want 2", len(w.messages))
	}
}

func TestResetBetweenTransactions(t *testing.T) {
	var to []string
	script := strings.Replace(greeted, "250 mx", "250-mx", 1) + "250 SIZE\n> MAIL FROM:<me@us.test> SIZE=31\n250 ok\n"
	for i := range 101 {
		to = append(to, fmt.Sprintf("%d@x.test", i))
	}
	for range 100 {
		script += "> RCPT TO:...\n550 5.1.1 no\n"
	}
	script += "> RSET\n250 ok\n> MAIL FROM:...\n250 ok\n> RCPT TO:...\n250 ok\n> DATA\n354 go\n*message\n250 2.0.0 taken\n" + done
	got := oneHost(t, script).send(nil, hello, to...)
	if got[0] != "550 5.1.1" || got[99] != "550 5.1.1" || got[100] != "250 2.0.0" {
		t.Errorf("got %q", got)
	}
}

func TestMailboxFullByOldCode(t *testing.T) {
	w := oneHost(t, greeted+"> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n552 5.2.2 full\n"+done)
	want(t, w.send(nil, hello, "a@x.test"), "452 4.2.2") // RFC 5321 4.5.3.1.10
}

func TestHostileReplies(t *testing.T) {
	for name, script := range map[string]string{
		"line without an end":  `*flood "2"`,
		"reply without an end": `*flood "220-x\r\n"`,
		"long line":            "*raw \"220 " + strings.Repeat("x", 3000) + "\\r\\n\"\n*hang",
		"no digits":            "*raw \"2x0 hello\\r\\n\"\n*hang",
		"code out of range":    "*raw \"999 hello\\r\\n\"\n*hang",
		"NUL":                  "*raw \"\\x00\\r\\n\"\n*hang",
	} {
		t.Run(name, func(t *testing.T) {
			want(t, oneHost(t, script).send(nil, hello, "a@x.test"), "451 4.5.0 local")
		})
	}

	w := oneHost(t, greeted+"> MAIL FROM:<me@us.test>\n*raw \"550-5.7.1 no\\x00\\x1b[2J\\r\\n550 5.7.1 %s \\xff\\r550 x\\r\\n\"\n"+done)
	c := w.client(nil)
	env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
	r := c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello)))[0]
	c.Close()
	if got, want := r.Reply.Text, "no??[2J\n%s ??550 x"; got != want || !r.Permanent() {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestBareLineEndsNeverLeave(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n", "\r", "\r\n\r"} {
		w := oneHost(t, greeted+done)
		want(t, w.send(nil, "A: b\r\n\r\nx"+end+"MAIL FROM:<evil@x.test>\r\n", "a@x.test"), "554 5.6.0 local")
		w = oneHost(t, greeted+done)
		if strings.HasSuffix(end, "\r\n") {
			continue
		}
		want(t, w.send(nil, "A: b\r\n\r\nx"+end, "a@x.test"), "554 5.6.0 local")
	}
}

func TestMessageShorterThanItsSize(t *testing.T) {
	w := oneHost(t, greeted+done)
	c := w.client(nil)
	env := smtp.Envelope{To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
	r := c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello)+1))[0]
	c.Close()
	if got := outcome(r); got != "451 4.3.0 local" || !strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("got %s: %s", got, &w.log)
	}
}

// TestHostThatHasHeardEnough: 550 in the middle of the message, then silence.
func TestHostThatHasHeardEnough(t *testing.T) {
	long := "A: b\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20)
	w := oneHost(t, greeted+"> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n250 ok\n> DATA\n354 go\n> A: b\n550 5.7.1 enough\n")
	got := w.send(nil, long, "a@x.test")
	if got[0] != "550 5.7.1" && got[0] != "451 4.4.2 local" { // a reset may have overtaken the reply
		t.Errorf("got %q", got)
	}
}

func TestRecipientsOfTwoDomains(t *testing.T) {
	want(t, newWorld(t).send(nil, hello, "a@x.test", "b@y.test"), "451 4.3.0 local", "451 4.3.0 local")
}
