package e2e_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// dialogue is a conversation through `openssl s_client`, line by line.
type dialogue struct {
	t     testing.TB
	in    io.WriteCloser
	lines chan string
	said  []string // everything so far, for the message of a failure
	tag   int
}

// dial connects with TLS from the start, or by STARTTLS where protocol is set.
func dial(t testing.TB, addr, protocol string) *dialogue {
	t.Helper()
	need(t, "openssl")
	args := []string{"s_client", "-quiet", "-crlf", "-connect", addr}
	if protocol != "" {
		args = append(args, "-starttls", protocol)
	}
	cmd := child.Command(t, 10*patience, "openssl", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &dialogue{t: t, in: in, lines: make(chan string, 4096)}
	go func() {
		defer close(d.lines)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			d.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		for range d.lines {
		}
		cmd.Wait()
	})
	return d
}

// until reads lines up to one that matches, and returns them all.
func (d *dialogue) until(pattern string) []string {
	d.t.Helper()
	want := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	var got []string
	for {
		select {
		case line, open := <-d.lines:
			if !open {
				d.t.Fatalf("the connection ended before %q:\n%s", pattern, strings.Join(d.said, "\n"))
			}
			got = append(got, line)
			d.said = append(d.said, "< "+line)
			if want.MatchString(line) {
				return got
			}
		case <-deadline:
			d.t.Fatalf("no %q within %v:\n%s", pattern, patience, strings.Join(d.said, "\n"))
		}
	}
}

func (d *dialogue) send(lines ...string) {
	d.t.Helper()
	for _, line := range lines {
		d.said = append(d.said, "> "+line)
	}
	if _, err := io.WriteString(d.in, strings.Join(lines, "\n")+"\n"); err != nil {
		d.t.Fatal(err)
	}
}

// imap sends one command and wants its OK; it returns the untagged lines.
func (d *dialogue) imap(command string) string {
	d.t.Helper()
	d.tag++
	tag := fmt.Sprintf("a%d", d.tag)
	d.send(tag + " " + command)
	got := d.until("^" + tag + " ")
	if last := got[len(got)-1]; !strings.HasPrefix(last, tag+" OK") {
		d.t.Fatalf("%s: %s", command, last)
	}
	return strings.Join(got, "\n")
}

// smtp sends one command, or lines that end in one, and wants the reply code.
func (d *dialogue) smtp(code string, lines ...string) string {
	d.t.Helper()
	d.send(lines...)
	got := d.until(`^\d\d\d( |$)`)
	if last := got[len(got)-1]; !strings.HasPrefix(last, code) {
		d.t.Fatalf("%s: %s, want %s", lines[0], last, code)
	}
	return strings.Join(got, "\n")
}

func wantAll(t testing.TB, what, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in:\n%s", what, want, got)
		}
	}
}

func TestOpenSSLIMAP(t *testing.T) {
	t.Parallel()
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	for _, way := range []struct{ name, addr, starttls string }{
		{"imaps", h.Addr("imaps"), ""},
		{"starttls", h.Addr("imap"), "imap"},
	} {
		t.Run(way.name, func(t *testing.T) {
			subject := "over " + way.name
			h.deliver(t, "ana@a.test", subject)

			d := dial(t, way.addr, way.starttls)
			if way.starttls == "" {
				d.until(`^\* OK`)
			}
			wantAll(t, "capability before login", d.imap("CAPABILITY"), "IMAP4rev1", "AUTH=PLAIN")
			d.imap("LOGIN ana@a.test " + password)
			wantAll(t, "capability", d.imap("CAPABILITY"), "IDLE", "UIDPLUS", "MOVE", "SPECIAL-USE", "NAMESPACE")
			wantAll(t, "list", d.imap(`LIST "" "*"`), "INBOX", `\Sent`, `\Drafts`, `\Junk`, `\Trash`, `\Archive`)
			wantAll(t, "select", d.imap("SELECT INBOX"), " EXISTS", "[UIDVALIDITY ", "[UIDNEXT ", "PERMANENTFLAGS")

			found := d.imap(`UID SEARCH SUBJECT "` + subject + `"`)
			uid := regexp.MustCompile(`\* SEARCH (\d+)`).FindStringSubmatch(found)
			if uid == nil {
				t.Fatalf("search: %s", found)
			}
			wantAll(t, "fetch", d.imap("UID FETCH "+uid[1]+" (FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE)"),
				`"`+subject+`"`, `"text" "plain"`, "RFC822.SIZE")
			wantAll(t, "fetch of the body", d.imap("UID FETCH "+uid[1]+" BODY.PEEK[]"),
				"Subject: "+subject, "Return-Path:", "Delivered-To: ana@a.test", "Received: ")

			wantAll(t, "store", d.imap("UID STORE "+uid[1]+` +FLAGS (\Flagged \Answered)`), `\Flagged`, `\Answered`)
			renamed, err := filepath.Glob(filepath.Join(h.maildir("ana@a.test"), "cur", "*:2,FR*"))
			if err != nil || len(renamed) != 1 {
				t.Errorf("after STORE: %d files flagged FR on disk (%v)", len(renamed), h.files(t, "ana@a.test"))
			}
			d.imap("UID STORE " + uid[1] + ` -FLAGS.SILENT (\Flagged \Answered)`)

			d.send("i IDLE")
			d.until(`^\+ `)
			h.deliver(t, "ana@a.test", "while idle")
			d.until(`^\* \d+ EXISTS`)
			d.send("DONE")
			d.until(`^i OK`)
			d.send("z LOGOUT")
			d.until(`^z OK`)
		})
	}
}

func TestOpenSSLSMTP(t *testing.T) {
	t.Parallel()
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}})
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ana@a.test\x00" + password))
	for _, way := range []struct{ service, starttls, from string }{
		{"smtp", "smtp", "eva@far.test"},
		{"submission", "smtp", "ana@a.test"},
		{"submissions", "", "ana@a.test"},
	} {
		t.Run(way.service, func(t *testing.T) {
			d := dial(t, h.Addr(way.service), way.starttls)
			if way.starttls == "" { // otherwise s_client has read the greeting
				d.until(`^220 `)
			}
			greeting := d.smtp("250", "EHLO client.test")
			wantAll(t, "EHLO", greeting, "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE", "ENHANCEDSTATUSCODES", "CHUNKING")
			if strings.Contains(greeting, "STARTTLS") {
				t.Error("STARTTLS is offered under TLS")
			}
			if way.service == "smtp" {
				if strings.Contains(greeting, "AUTH") {
					t.Error("AUTH is offered to strangers")
				}
			} else {
				d.smtp("235", "AUTH PLAIN "+plain)
			}
			d.smtp("250", "MAIL FROM:<"+way.from+">")
			d.smtp("250", "RCPT TO:<luis@a.test>")
			d.smtp("354", "DATA")
			subject := "openssl " + way.service
			d.smtp("250", "From: <"+way.from+">", "To: <luis@a.test>", "Subject: "+subject, "", "..dot", ".")
			d.smtp("221", "QUIT")
			got := h.message(t, "luis@a.test", subject)
			wantAll(t, "delivered", got, "\r\n\r\n.dot\r\n", "(TLS")
		})
	}
}
