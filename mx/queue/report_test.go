package queue

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.want")

// The notices are compared as files, and read back by another's parser.
func TestReports(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 17, 18, 0, time.UTC)
	base := func(action string, to ...subject) *report {
		return &report{
			id: "6q817cvy002xf-f0", action: action, hostname: "mx.buzon.test", now: at.Add(5 * time.Hour),
			envelope: envelope("luis@far.test"), queued: at, until: at.Add(5 * 24 * time.Hour),
			header: []byte("From: Ana <ana@buzon.test>\r\nTo: Luis <luis@far.test>\r\nMessage-ID: <1@buzon.test>\r\nSubject: hello\r\n"),
			about:  to,
		}
	}
	about := func(to string, o outcome) subject {
		o.At = at.Add(4 * time.Hour)
		return subject{recipient: recipient{Address: address(to), Attempts: 7, Last: o}}
	}
	no := &smtp.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user"}
	later := &smtp.Reply{Code: 451, Text: "greylisted"}
	words := &smtp.Reply{Code: 451, Enhanced: [3]int{4, 4, 1}, Text: "No answer from the mail host"}

	refused := base(actionFailed, about("luis@far.test", outcome{Host: "mx1.far.test", Reply: no}))
	expired := base(actionFailed, about("luis@far.test", outcome{Host: "mx1.far.test", Reply: words, Cause: "dial tcp 192.0.2.1:25: i/o timeout"}))
	delayed := base(actionDelayed, about("luis@far.test", outcome{Host: "mx1.far.test", Reply: later}), about("eva@far.test", outcome{Cause: "no name server answers"}))
	dsn := base(actionFailed, about("luis@far.test", outcome{Reply: no}))
	dsn.envelope.EnvelopeID = "QQ314159"
	dsn.about[0].original = "rfc822;luis@old.test"
	unicode := base(actionFailed, about("ñandú@far.test", outcome{Host: "mx1.far.test", Reply: &smtp.Reply{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no está aquí"}}))
	unicode.envelope.UTF8, unicode.envelope.From = true, address("íñigo@buzon.test")
	unicode.header = []byte("From: Íñigo <íñigo@buzon.test>\r\nTo: ñandú@far.test\r\nSubject: ¡hola!\r\n")
	unicodeToASCII := base(actionFailed, unicode.about[0])
	unicodeToASCII.header = []byte("From: ana@buzon.test\r\nSubject: \xa1hola!\r\nX-Long: " + strings.Repeat("x", 1200) + "\r\n")
	hostile := base(actionFailed, about("luis@far.test", outcomeOf(smtp.Result{
		Host:  "mx\r\nX: y",
		Reply: &smtp.Reply{Code: 554, Enhanced: [3]int{4, 7, 1}, Text: "no\r\n\r\n--report-6q817cvy002xf-f0\r\n\x1b[31m\x00" + strings.Repeat("<b>%s ", 400)},
	}, at)))
	hostile.header = []byte("Message-ID: <a b\"\r\nSubject: --report-6q817cvy002xf-f0--\r\n")

	for name, tt := range map[string]struct {
		r      *report
		types  []string
		status []string // fields that must stand in the second part
	}{
		"01-refused": {refused, plainTypes(), []string{"Action: failed", "Status: 5.1.1", "Final-Recipient: rfc822; luis@far.test",
			"Remote-MTA: dns; mx1.far.test", "Diagnostic-Code: smtp; 550 5.1.1 no such user"}},
		"02-expired": {expired, plainTypes(), []string{"Action: failed", "Status: 4.4.7"}},
		"03-delayed": {delayed, plainTypes(), []string{"Action: delayed", "Status: 4.0.0", "Will-Retry-Until: Fri, 27 Nov 2026 03:17:18 +0000", "Final-Recipient: rfc822; eva@far.test"}},
		"04-dsn":     {dsn, plainTypes(), []string{"Original-Envelope-Id: QQ314159", "Original-Recipient: rfc822; luis@old.test"}},
		"05-utf8": {unicode, []string{"text/plain", "message/global-delivery-status", "message/global-headers"},
			[]string{"Final-Recipient: utf-8; ñandú@far.test", "Diagnostic-Code: smtp; 550 5.1.1 no está aquí"}},
		"06-utf8-to-ascii": {unicodeToASCII, plainTypes(), []string{`Final-Recipient: utf-8; \x{F1}and\x{FA}@far.test`}},
		"07-hostile":       {hostile, plainTypes(), []string{"Status: 5.7.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := tt.r.format()
			compare(t, "testdata/"+name+".want", text)
			checkReport(t, tt.r, text, tt.types, tt.status)
		})
	}
}

func plainTypes() []string {
	return []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
	if *update {
		check(t, errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}

// checkReport holds for every notice.
func checkReport(t *testing.T, r *report, text []byte, types, status []string) {
	t.Helper()
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > maxLineLength || bytes.ContainsAny(line, "\r\n\x00\x1b") {
			t.Errorf("line %.80q", line)
		}
	}
	header, gotTypes, bodies := parts(t, string(text))
	if !slices.Equal(gotTypes, types) {
		t.Fatalf("parts %v, want %v", gotTypes, types)
	}
	mediaType, params, err := header.ContentType()
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("Content-Type %s %v, %v", mediaType, params, err)
	}
	for key, want := range map[string]string{
		"Auto-Submitted": "auto-replied", "To": "<" + r.envelope.From.String() + ">", "Mime-Version": "1.0",
		"Message-Id": "<" + r.id + "@mx.buzon.test>", "Date": "Sun, 22 Nov 2026 08:17:18 +0000",
	} {
		if got := header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	for _, field := range append(status, "Reporting-MTA: dns; mx.buzon.test") {
		if !strings.Contains("\r\n"+bodies[1], "\r\n"+field+"\r\n") {
			t.Errorf("no %q in\n%s", field, bodies[1])
		}
	}
	if bodies[2] != string(r.header) {
		t.Errorf("returned header %q, want %q", bodies[2], r.header)
	}
}

// A notice about one recipient names no other, and returns no body.
func TestNoticeNamesOneRecipient(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.answer = func(to smtp.Address, _ int) smtp.Result {
			if to.Local == "eva" {
				return ok(to)
			}
			return refused()
		}
		q := w.open(w.config(memoryDir(t)), nil)
		w.submit(q.Queue, "luis@far.test", "max@far.test", "eva@far.test", "leo@near.test")
		pass(time.Minute)
		if len(w.notices) != 3 {
			t.Fatalf("%d notices", len(w.notices))
		}
		for _, n := range w.notices {
			named := 0
			for _, to := range []string{"luis@far.test", "max@far.test", "eva@far.test", "leo@near.test"} {
				if strings.Contains(n, to) {
					named++
				}
			}
			if named != 1 || strings.Contains(n, "Hello there") || !strings.Contains(n, "\r\nSubject: hello\r\n") {
				t.Errorf("notice:\n%s", n)
			}
			if !strings.Contains(n, "\r\nIn-Reply-To: <1@buzon.test>\r\n") {
				t.Error("the notice is not part of the thread")
			}
		}
	})
}

func TestReadHeader(t *testing.T) {
	long := "A: b\r\n" + "Long: " + strings.Repeat("x", maxReturned) + "\r\n\r\nbody"
	for in, want := range map[string]string{
		"A: b\r\nC: d\r\n\r\nbody": "A: b\r\nC: d\r\n",
		"A: b\nC: d\n\nbody":       "A: b\r\nC: d\r\n",
		"A: b":                     "A: b\r\n",
		"\r\nbody":                 "",
		"":                         "",
		long:                       "A: b\r\n",
	} {
		got, err := readHeader(strings.NewReader(in))
		if err != nil || string(got) != want {
			t.Errorf("readHeader(%.40q) = %.40q, %v", in, got, err)
		}
	}
}

func TestMessageID(t *testing.T) {
	for in, want := range map[string]string{
		"A: b\r\nMESSAGE-ID:  <x@y> \r\n": "<x@y>", "Message-ID:\r\n <x@y>\r\n": "", "Message-ID: x@y\r\n": "",
		"Message-ID: <x y>\r\n": "", "Message-ID: <ñ@y>\r\n": "", "A: b\r\n": "",
	} {
		if got := messageID([]byte(in)); got != want {
			t.Errorf("messageID(%q) = %q, want %q", in, got, want)
		}
	}
}
