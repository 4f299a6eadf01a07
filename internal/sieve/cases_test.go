package sieve

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// TestCases runs testdata/*.txt. A case begins with "== script"; what it does
// not say it has from the case before. Sections: script, message, with
// (key value), want (see describe; empty lines do not count).
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range readCases(t, file, string(text)) {
			t.Run(c.name, c.run)
		}
	}
}

type testCase struct {
	name                  string
	script, message, want string
	with                  map[string]string
}

func readCases(t *testing.T, file, text string) (cases []testCase) {
	topic := strings.TrimSuffix(filepath.Base(file), ".txt")
	var c testCase
	section := ""
	for i, line := range strings.SplitAfter(text, "\n") {
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = strings.TrimSpace(name)
			switch section {
			case "script":
				if c.script != "" {
					cases = append(cases, c)
				}
				c.name, c.script, c.want, c.with = fmt.Sprintf("%s:%d", topic, i+1), "", "", map[string]string{}
			case "message":
				c.message = ""
			case "with", "want":
			default:
				t.Fatalf("%s:%d: no section is called %q", file, i+1, section)
			}
			continue
		}
		switch section {
		case "script":
			c.script += line
		case "message":
			c.message += line
		case "with":
			if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key != "" {
				c.with[key] = value
			}
		case "want":
			if strings.TrimSpace(line) != "" {
				c.want += line
			}
		}
	}
	return append(cases, c)
}

type someMailboxes map[string]string // name: special use or ""

func (m someMailboxes) Exists(_ context.Context, name string) bool { _, ok := m[name]; return ok }

func (m someMailboxes) WithUse(_ context.Context, use string) string {
	for name, u := range m {
		if u != "" && strings.EqualFold(u, use) {
			return name
		}
	}
	return ""
}

func testMessage(text string) Message {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	return Message{Content: strings.NewReader(text), Size: int64(len(text))}
}

func (c testCase) run(t *testing.T) {
	s, err := Compile([]byte(c.script))
	if err != nil {
		c.check(t, "wrong: "+err.Error()+"\n")
		return
	}
	env := Environment{
		From: address(t, c.with["from"], "bea@elsewhere.test"), To: address(t, c.with["to"], "ana@buzon.test"), Auth: c.with["auth"],
		Mailboxes: someMailboxes{"INBOX": "", "Lists": "", "Junk": `\Junk`, "Old mail": `\Archive`},
		Known:     func(key string) bool { return c.with["known"] == "yes" },
		Host:      "mx.buzon.test", RemoteIP: "192.0.2.7",
		Now: time.Date(2026, 3, 4, 17, 8, 9, 0, time.FixedZone("", 3600)),
	}
	if spam := c.with["spam"]; spam != "" {
		env.Spam.Tested = true
		if env.Spam.Percent, err = strconv.Atoi(spam); err != nil {
			t.Fatal(err)
		}
	}
	o, err := s.Run(t.Context(), testMessage(c.message), env)
	c.check(t, describe(o, err))
}

func (c testCase) check(t *testing.T, got string) {
	t.Helper()
	// A want may end in "..." where the rest of the line is somebody else's wording.
	gots, wants := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(c.want), "\n")
	same := len(gots) == len(wants)
	for i := 0; same && i < len(gots); i++ {
		prefix, open := strings.CutSuffix(wants[i], "...")
		same = gots[i] == wants[i] || open && strings.HasPrefix(gots[i], prefix)
	}
	if !same {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", c.script, got, c.want)
	}
}

func address(t *testing.T, s, otherwise string) smtp.Address {
	t.Helper()
	if s == "" {
		s = otherwise
	}
	if s == "<>" {
		return smtp.Address{}
	}
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// describe writes an outcome in lines. Of a header only what was edited is
// shown: all of it.
func describe(o Outcome, err error) string {
	var b strings.Builder
	header := func(h []byte) {
		if h != nil {
			for line := range strings.SplitSeq(strings.TrimSuffix(string(h), "\r\n\r\n"), "\r\n") {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	for _, f := range o.Filings {
		if f.Mailbox == "" {
			b.WriteString("keep")
		} else {
			fmt.Fprintf(&b, "file %q", f.Mailbox)
		}
		if f.Create {
			b.WriteString(" create")
		}
		for _, flag := range f.Flags {
			b.WriteString(" " + flag)
		}
		b.WriteString("\n")
		header(f.Header)
	}
	for _, r := range o.Redirects {
		b.WriteString("redirect " + r.To.String() + "\n")
		header(r.Header)
	}
	if r := o.Rejection; r != nil {
		fmt.Fprintf(&b, "reject %q %v\n", r.Reason, r.Extended)
	}
	if v := o.Vacation; v != nil {
		fmt.Fprintf(&b, "vacation to %s\n", v.To)
		head, body, _ := bytes.Cut(v.Content, []byte("\r\n\r\n"))
		for line := range strings.SplitSeq(string(head), "\r\n") {
			if !strings.HasPrefix(line, "Message-ID:") {
				b.WriteString("  " + line + "\n")
			}
		}
		fmt.Fprintf(&b, "  %q\n", body)
	}
	for _, m := range o.Remember {
		name, _, _ := strings.Cut(m.Key, "-")
		fmt.Fprintf(&b, "remember %s for %v\n", name, m.For)
	}
	if err != nil {
		b.WriteString("error: " + err.Error() + "\n")
	}
	if b.Len() == 0 {
		return "discard\n"
	}
	return b.String()
}
