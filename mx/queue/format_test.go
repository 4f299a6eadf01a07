package queue

import (
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

func exampleHead() head {
	return head{Queued: time.Date(2026, 11, 22, 3, 17, 18, 123e6, time.UTC), Envelope: smtp.Envelope{
		From: address("ana@buzon.test"), UTF8: true, EightBit: true, EnvelopeID: "x \"y\"\n", Return: "FULL",
		To: []smtp.Recipient{
			{Address: address("ñandú@far.test"), Original: "rfc822;n@far.test", Notify: smtp.NotifyNever},
			{Address: address(`"a > b"@[192.0.2.1]`), Notify: smtp.NotifySuccess | smtp.NotifyDelay},
			{Address: address("eva@near.test")},
		},
	}}
}

func exampleState() *state {
	st := newState(exampleHead())
	at := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	st.Held = true
	st.Recipients[0] = recipient{Address: st.Recipients[0].Address, Status: Waiting, Attempts: 3, Next: at, Warned: true,
		Last: outcome{At: at, Host: "mx.far.test", Reply: &smtp.Reply{Code: 451, Enhanced: [3]int{4, 7, 1}, Text: "grey\nlisted \"x\" ñ"}}}
	st.Recipients[1] = recipient{Address: st.Recipients[1].Address, Status: Failed, Attempts: 1, Last: outcome{At: at, Cause: "dial: no"}}
	return st
}

// FuzzHead: what the parser takes formats to the same bytes, and its limits hold.
func FuzzHead(f *testing.F) {
	f.Add(string(exampleHead().format()))
	f.Add(string(head{Queued: time.Unix(0, 0).UTC(), Envelope: envelope("a@b.test")}.format()))
	f.Add(messageMagic + "\nqueued 2026-11-22T03:17:18.123Z\nfrom <>\nrecipient <a@b>\nnotify NEVER,FAILURE\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHead(s)
		if err != nil {
			t.Skip()
		}
		if got := string(h.format()); got != s {
			t.Errorf("parseHead(%q).format() = %q", s, got)
		}
		if len(h.Envelope.To) == 0 || strings.Count(s, "\n\n") != 1 {
			t.Errorf("parseHead(%q) = %+v", s, h)
		}
		if st := newState(h); !st.matches(h) {
			t.Error("a new state does not match its head")
		}
	})
}

// FuzzState: what the parser takes formats to the same bytes.
func FuzzState(f *testing.F) {
	f.Add(string(exampleState().format()))
	f.Add(string(newState(exampleHead()).format()))
	f.Add(stateMagic + "\nqueued 2026-11-22T03:17:18.123Z\nheld\nrecipient <a@b>\nstatus waiting\n")
	f.Add(stateMagic + "\nrecipient <a@b>\nstatus bounced\nlast 2026-11-22T03:17:18.123Z\nreply 550 5.1.1 \"\"\n")
	f.Fuzz(func(t *testing.T, s string) {
		st, err := parseState(s)
		if err != nil {
			t.Skip()
		}
		if got := string(st.format()); got != s {
			t.Errorf("parseState(%q).format() = %q", s, got)
		}
	})
}

// FuzzLetter: a file with any contents is read as a message with an envelope,
// or refused as damaged; and what was written is read back.
func FuzzLetter(f *testing.F) {
	var b strings.Builder
	if _, err := writeMessage(&b, exampleHead(), strings.NewReader(text)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String(), text)
	f.Add("", "")
	f.Add(messageMagic+"\n\n", "\n\n")
	f.Fuzz(func(t *testing.T, file, body string) {
		if l, err := readLetter(strings.NewReader(file), int64(len(file))); err == nil {
			if n := int64(len(l.format())) + l.Body.Size() + endLength; n != int64(len(file)) {
				t.Errorf("%q has %d bytes, read as %d", file, len(file), n)
			}
		}
		var b strings.Builder
		if _, err := writeMessage(&b, exampleHead(), strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		l, err := readLetter(strings.NewReader(b.String()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, l.Body.Size())
		if _, err := l.Body.ReadAt(got, 0); err != nil && len(got) > 0 || string(got) != body {
			t.Errorf("wrote %q, read %q, %v", body, got, err)
		}
	})
}

func TestParsersRefuse(t *testing.T) {
	good := string(exampleHead().format())
	for _, cut := range []string{"from <ana@buzon.test>\n", "queued 2026-11-22T03:17:18.123Z\n", messageMagic + "\n"} {
		if _, err := parseHead(strings.Replace(good, cut, "", 1)); err == nil {
			t.Errorf("without %q a head is taken", cut)
		}
	}
	for from, to := range map[string]string{
		"from <ana@buzon.test>": "from ana@buzon.test", "ret FULL": "ret SOME", "body 8bit": "body 7bit", "notify NEVER": "notify SOMETIMES",
		"eva@near.test": "eva", "123Z": "123+01:00", "smtputf8\n": "smtputf8\nsmtputf8\n", "notify NEVER\n": "notify NEVER\nsecret 1\n",
	} {
		if _, err := parseHead(strings.Replace(good, from, to, 1)); err == nil {
			t.Errorf("with %q for %q a head is taken", to, from)
		}
	}
	good = string(exampleState().format())
	for from, to := range map[string]string{
		"status waiting": "status maybe", "attempts 3": "attempts -3", "attempts 1": "attempts 01", "4.7.1": "4.7", "451": "x", "held": "helt", "<eva@near.test>": "<eva@near.test",
	} {
		if _, err := parseState(strings.Replace(good, from, to, 1)); err == nil {
			t.Errorf("with %q for %q a state is taken", to, from)
		}
	}
}

func TestIDs(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 17, 18, 0, time.UTC)
	g := ids{now: func() time.Time { return now }}
	last := ""
	seen := make(map[string]bool)
	for range 10_000 {
		id := g.next(func(id string) bool { return seen[id] })
		message, mark, number, ok := splitID(id)
		if len(id) != idLength || id <= last || message != id || mark != "" || number != "" || !ok {
			t.Fatalf("id %q after %q: %q %q %q %v", id, last, message, mark, number, ok)
		}
		seen[id], last = true, id
	}
	if a, b := formatID(1<<51-1, 1<<13-1), formatID(1<<51, 0); a >= b {
		t.Errorf("%s, %s", a, b)
	}
	if message, mark, number, ok := splitID(last + "-f12"); message != last || mark != failureMark || number != "12" || !ok || !isNotice(last+"-f12") {
		t.Errorf("split notice: %q %q %q %v", message, mark, number, ok)
	}
	for _, id := range []string{"", "x", last[:12], last + "x", last + "-x1", last + "-f", last + "-f1/..", last + "-f12345", strings.ToUpper(last), "../../etc/pas"} {
		if _, _, _, ok := splitID(id); ok {
			t.Errorf("%q is taken for an id", id)
		}
	}
}
