package imapd_test

import (
	"fmt"
	"strings"
	"testing"
)

// Every command has an end to its arguments, and the session goes on in step behind it.
func TestArgumentLimits(t *testing.T) {
	h := newHost(t, nil)
	c := h.ask(t, ana)
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), " ")
	}
	url := `"imap://ana@buzon.test/INBOX/;UID=%d;URLAUTH=anonymous" `
	for _, test := range []struct{ command, want string }{
		{"GETMETADATA INBOX (" + many(201, "/private/a%d ") + ")", "BAD"},
		{"GETMETADATA INBOX (" + many(200, "/private/a%d ") + ")", "OK"},
		{"SETMETADATA INBOX (" + many(201, `/private/a%d "x" `) + ")", "NO [METADATA TOOMANY]"},
		{"SETMETADATA INBOX (" + many(201, "/private/a%d {1+}\r\nx ") + ")", "NO [METADATA TOOMANY]"},
		{"SETMETADATA INBOX (" + many(200, `/private/a%d "x" `) + ")", "OK"},
		{`SETMETADATA INBOX (/private/more "x")`, "NO [METADATA TOOMANY]"},
		{`SETMETADATA INBOX (/private/a7 NIL /private/more "x")`, "OK"},
		{"SETMETADATA INBOX (/private/a1 {65537+}\r\n" + strings.Repeat("x", 65537) + ")", "NO [METADATA MAXSIZE 65536]"},
		{"SETMETADATA INBOX (/private/a1 {65536+}\r\n" + strings.Repeat("x", 65536) + ")", "OK"},
		{"SETMETADATA INBOX (/private/" + strings.Repeat("x", 255) + ` "x")`, "BAD"},
		{"GENURLAUTH " + many(101, url+"INTERNAL "), "BAD"},
		{"GENURLAUTH " + many(100, strings.Replace(url, "%d", "1%02d", 1)+"INTERNAL "), "OK"},
		{"URLFETCH " + many(101, "x%d "), "BAD"},
		{"URLFETCH " + many(100, "x%d "), "OK"},
		{"URLFETCH imap://" + strings.Repeat("x", 5000), "OK"},
		{"RESETKEY INBOX " + many(20_000, "x%d "), "BAD"},
		{"SETACL INBOX " + strings.Repeat("x", 70_000) + " lr", "BAD"},
		{"SETACL INBOX luis " + strings.Repeat("l", 1000), "OK"},
		{"NOTIFY SET " + many(10_001, "(mailboxes a%d (MailboxName)) "), "BAD"},
		{`LIST "" "*" RETURN (METADATA (` + many(201, "/private/a%d ") + "))", "BAD"},
		{"LIST " + strings.Repeat("(", 60) + strings.Repeat(")", 60), "BAD"},
		{"CREATE " + strings.Repeat("a/", 60) + "a", "NO"},
		{"SELECT \"Other Users/" + strings.Repeat("x", 300) + "@buzon.test/INBOX\"", "NO [NONEXISTENT]"},
		{"NOOP", "OK"},
	} {
		got := c.do("%s", test.command)
		lines := strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, fmt.Sprintf("t%d %s", c.n, test.want)) {
			t.Errorf("%.60s…: %s, want %s", test.command, last, test.want)
		}
	}
}
