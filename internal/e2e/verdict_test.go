package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// inJunk returns the messages in an account's Junk that contain text.
func (h *host) inJunk(t testing.TB, account, text string) (found []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.maildir(account), ".Junk", "[nc][eu][wr]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), text) {
			found = append(found, string(raw))
		}
	}
	return found
}

// stranger brings a message to port 25 and returns the code of the answer.
func (h *host) stranger(t testing.TB, from, to, text string) int {
	t.Helper()
	client, err := smtp.Dial(h.Addr("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.CommandTimeout, client.SubmissionTimeout = patience, patience
	if err := client.Hello("mx.far.test"); err != nil {
		t.Fatal(err)
	}
	err = client.SendMail(from, []string{to}, strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
	var refused *smtp.SMTPError
	if errors.As(err, &refused) {
		return refused.Code
	}
	if err != nil {
		t.Fatal(err)
	}
	return 250
}

// TestVerdicts: what a domain asks for happens to mail in its name.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}})
	w.record(t,
		"strict.test. MX 10 mx.strict.test.", "strict.test. TXT \"v=spf1 -all\"", "_dmarc.strict.test. TXT \"v=DMARC1; p=reject\"",
		"good.test. MX 10 mx.good.test.", "good.test. TXT \"v=spf1 ip4:127.0.0.0/8 -all\"", "_dmarc.good.test. TXT \"v=DMARC1; p=reject\"",
		"mild.test. MX 10 mx.mild.test.", "_dmarc.mild.test. TXT \"v=DMARC1; p=quarantine\"",
		"watch.test. MX 10 mx.watch.test.", "_dmarc.watch.test. TXT \"v=DMARC1; p=none\"",
		"! servfail dark.test.", "! servfail _dmarc.dark.test.")
	h.start(t)
	for _, tt := range []struct {
		domain string
		code   int
		where  string
		says   string
	}{
		{"good", 250, "inbox", "dmarc=pass (p=reject)"},
		{"strict", 550, "", ""},
		{"mild", 250, "junk", "dmarc=fail (p=quarantine dis=quarantine)"},
		{"watch", 250, "inbox", "dmarc=fail (p=none dis=none)"},
		{"unknown", 250, "inbox", "dmarc=none"},
		{"dark", 250, "inbox", "dmarc=temperror"},
	} {
		from, subject := "eva@"+tt.domain+".test", "from "+tt.domain
		text := "Authentication-Results: mx.a.test; dmarc=pass header.from=strict.test\nFrom: <" + from + ">\nSubject: " + subject + "\n\nhola\n"
		if code := h.stranger(t, from, "ana@a.test", text); code != tt.code {
			t.Errorf("%s was answered %d, want %d", subject, code, tt.code)
		}
		inbox, junk := h.messages(t, "ana@a.test", subject), h.inJunk(t, "ana@a.test", subject)
		if len(inbox) != btoi(tt.where == "inbox") || len(junk) != btoi(tt.where == "junk") {
			t.Errorf("%s: %d messages in INBOX, %d in Junk; want it in %q", subject, len(inbox), len(junk), tt.where)
			continue
		}
		for _, m := range append(inbox, junk...) {
			if strings.Count(m, "Authentication-Results: mx.a.test") != 1 || strings.Contains(m, "strict.test") {
				t.Errorf("%s: results that are not ours:\n%s", subject, m)
			}
			wantAll(t, subject, m, tt.says, "Received-SPF: ", "header.from="+tt.domain+".test")
		}
	}
	if code := h.stranger(t, "x@unknown.test", "ana@a.test", "From: <a@unknown.test>\nFrom: <boss@watch.test>\nSubject: two\n\nx\n"); code != 550 {
		t.Errorf("two From fields were answered %d", code)
	}

	// Our own users are not judged, whatever their domain's policy is.
	w.record(t, "_dmarc.a.test. TXT \"v=DMARC1; p=reject\"", "a.test. TXT \"v=spf1 -all\"")
	need(t, "swaks")
	h.submit(t, "ana@a.test", "luis@a.test", "between us")
	if m := h.message(t, "luis@a.test", "between us"); strings.Contains(m, "dmarc=") {
		t.Errorf("a message between our users was judged:\n%s", m)
	}
	if code := h.stranger(t, "ana@a.test", "luis@a.test", "From: <ana@a.test>\nSubject: forged\n\nx\n"); code != 550 {
		t.Errorf("a stranger's message in our name was answered %d", code)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestDeadResolver: without any name server mail comes in all the same, and
// after the first messages nobody waits.
func TestDeadResolver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(t, "x. A 192.0.2.1")
	h := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	for _, name := range []string{"eva.test", "_dmarc.eva.test", "_dmarc.test", "mx.far.test", "1.0.0.127.in-addr.arpa", "probe-1.invalid", "probe-2.invalid", "probe-3.invalid"} {
		w.record(t, "! timeout "+name+".")
	}
	h.start(t)
	begun := time.Now()
	for range 20 {
		if code := h.stranger(t, "x@eva.test", "ana@a.test", "From: <x@eva.test>\nSubject: dark\n\nx\n"); code != 250 {
			t.Fatalf("answered %d", code)
		}
	}
	if took := time.Since(begun); took > 2*patience {
		t.Errorf("twenty messages took %v", took)
	}
	if n := len(h.messages(t, "ana@a.test", "dmarc=temperror")); n != 20 {
		t.Errorf("%d messages say that the check could not be made", n)
	}
	if !strings.Contains(h.log.String(), "no resolver answers") {
		t.Error("nobody was told")
	}
}
