package e2e_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// Case 22: a message for two accounts of which one gets full by it is refused for
// both, as the sender hears one answer; nobody has half of it. Where the full
// account is refused by itself, the other one gets the message.
func TestCase22OneMailboxFull(t *testing.T) {
	t.Parallel()
	const rich, poor = "ana@a.test", "luis@a.test"
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{rich}})
	h.buzon(t, password+"\n", "account", "add", "--quota", "100 KiB", poor)
	send := func(subject string, size int) error {
		t.Helper()
		client, err := smtp.Dial(h.Addr("smtp"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var options *smtp.MailOptions // none: the host learns the size last
		if subject == "announced" {
			options = &smtp.MailOptions{Size: int64(size)}
		}
		if err := client.Mail("eva@far.test", options); err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for _, to := range []string{rich, poor} {
			if client.Rcpt(to, nil) == nil {
				accepted++
			}
		}
		if accepted == 0 {
			t.Fatal("nobody was accepted")
		}
		w, err := client.Data()
		if err != nil {
			t.Fatal(err)
		}
		text := "Subject: " + subject + "\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return w.Close()
	}
	has := func(account, subject string, want int) {
		t.Helper()
		if n := len(h.messages(t, account, "Subject: "+subject+"\r\n")); n != want {
			t.Errorf("%s has %q %d times, want %d", account, subject, n, want)
		}
	}
	if err := send("small", 1000); err != nil {
		t.Fatal(err)
	}
	has(rich, "small", 1)
	has(poor, "small", 1)
	var reply *smtp.SMTPError
	if err := send("large", 200_000); !errors.As(err, &reply) || reply.Code != 552 && reply.Code != 452 {
		t.Errorf("a message that does not fit for one of two: %v, want 552 or 452", err)
	}
	has(rich, "large", 0)
	has(poor, "large", 0)
	// Who says beforehand how large it is hears of the full one by itself.
	if err := send("announced", 200_001); err != nil {
		t.Fatal(err)
	}
	has(rich, "announced", 1)
	has(poor, "announced", 0)
}
