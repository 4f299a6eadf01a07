package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// TestJunk teaches a host what junk is, by IMAP: messages that ana moves to Junk,
// and those that she has read. Then what is alike goes to Junk by itself, what is
// not does not, and what she takes out of it counts.
func TestJunk(t *testing.T) {
	t.Parallel()
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}, Extra: "[junk]\nminimum = 10\n"})
	send := func(n int, from, subject, text string) {
		t.Helper()
		body := fmt.Sprintf("From: <%s>\r\nTo: <ana@a.test>\r\nMessage-ID: <%d@far.test>\r\nX-Junk-Score: 0\r\nSubject: %s\r\n\r\n%s\r\n", from, n, subject, text)
		client, err := smtp.Dial(h.Addr("smtp"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.SendMail(from, []string{"ana@a.test"}, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		client.Quit()
	}
	offer := func(n int) {
		t.Helper()
		send(n, fmt.Sprintf("seller%d@offers.test", n), "Unbeatable offer", fmt.Sprintf("Buy cheap replica watches online, discount %d today only: http://watches.test/%d", n, n))
	}
	letter := func(n int) {
		t.Helper()
		send(n, "eva@far.test", "Sunday", fmt.Sprintf("Dear Ana, shall we meet at the station on Sunday at %d? The children look forward to it. Eva", n))
	}
	h.knows(t, "ana@a.test", 0, 0)
	for n := 1; n <= 12; n++ {
		offer(n)
		letter(n)
	}
	c, err := imapclient.DialTLS(h.Addr("imaps"), &imapclient.Options{TLSConfig: h.tls(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("ana@a.test", password).Wait(); err != nil {
		t.Fatal(err)
	}
	find := func(mailbox, subject string) imap.UIDSet {
		t.Helper()
		if _, err := c.Select(mailbox, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return imap.UIDSetNum(found.AllUIDs()...)
	}
	move := func(set imap.UIDSet, to string) {
		t.Helper()
		if _, err := c.Move(set, to).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	letters := find("INBOX", "Sunday")
	if err := c.Store(letters, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	move(find("INBOX", "offer"), "Junk")
	h.knows(t, "ana@a.test", 12, 12)

	// Now it judges, with a score of its own only.
	offer(13)
	letter(13)
	count := func(mailbox, subject string) int {
		t.Helper()
		if _, err := c.Select(mailbox, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}, {Key: "X-Junk-Score"}}}, nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return len(found.AllUIDs())
	}
	if j, i := count("Junk", "offer"), count("INBOX", "Sunday"); j != 1 || i != 1 || count("INBOX", "offer") != 0 || count("Junk", "Sunday") != 0 {
		t.Fatalf("%d in Junk and %d in INBOX have a score", j, i)
	}
	h.knows(t, "ana@a.test", 12, 12) // what the host filed itself is no lesson

	// She takes them all out: they count as good now, the one that we filed too.
	move(find("Junk", "offer"), "Archive")
	h.knows(t, "ana@a.test", 25, 0)
	offer(14)
	h.message(t, "ana@a.test", "Unbeatable offer")

	// Trained from the mailboxes as they are.
	move(find("Archive", "offer"), "Junk")
	h.buzon(t, "", "junk", "train", "ana@a.test")
	h.knows(t, "ana@a.test", 12, 13)
}

// knows waits until so many messages are learned of an account, as good and as junk.
func (h *host) knows(t testing.TB, account string, good, junk int) {
	t.Helper()
	eventually(t, patience, func() error {
		var known []struct {
			Watched    bool
			Good, Junk int
		}
		out := h.buzon(t, "", "junk", "status", "--json", account)
		if err := json.Unmarshal([]byte(out), &known); err != nil {
			return err
		}
		if len(known) != 1 || !known[0].Watched || known[0].Good != good || known[0].Junk != junk {
			return fmt.Errorf("known are %+v, want %d good and %d junk", known, good, junk)
		}
		return nil
	})
}
