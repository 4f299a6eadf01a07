package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"buzon/internal/e2e/ledger"
)

// kills is how often the host dies under load: BUZON_KILLS, or 50.
func kills(t *testing.T) int {
	text := os.Getenv("BUZON_KILLS")
	if text == "" {
		return 50
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("BUZON_KILLS: ", err)
	}
	return n
}

// TestLedger kills a host again and again while eight clients deliver, submit
// and store, and then looks for every message that the host answered for.
func TestLedger(t *testing.T) {
	w := newWorld(t)
	a := w.host(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}})
	b := w.host(t, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"eva@b.test"}})
	a.start(t)
	b.start(t)

	book, err := ledger.Open(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	stranger := func(secure bool, to string) ledger.Writer {
		transport := &ledger.SMTP{Addr: a.Addr("smtp")}
		if secure {
			transport.TLS = a.tls(t)
		}
		return ledger.Writer{Transport: transport, From: "zoe@far.test", To: to, Account: to}
	}
	user := func(from, to string) ledger.Writer {
		transport := &ledger.SMTP{Addr: a.Addr("submission"), TLS: a.tls(t), User: from, Password: password}
		return ledger.Writer{Transport: transport, From: from, To: to, Account: to}
	}
	reader := func(account, mailbox string) ledger.Writer {
		transport := &ledger.Append{Addr: a.Addr("imaps"), TLS: a.tls(t), User: account, Password: password, Mailbox: mailbox}
		return ledger.Writer{Transport: transport, From: account, To: account, Account: account, Mailbox: mailbox}
	}
	writers := []ledger.Writer{
		stranger(false, "ana@a.test"), stranger(true, "luis@a.test"), stranger(false, "luis@a.test"),
		user("ana@a.test", "luis@a.test"), user("luis@a.test", "eva@b.test"), user("ana@a.test", "eva@b.test"),
		reader("ana@a.test", "Archive"), reader("luis@a.test", "INBOX"),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, writer := range writers {
		running.Go(func() {
			if err := writer.Run(ctx, book); err != nil {
				t.Error(err)
			}
		})
	}

	inbox := ledger.Mailbox{Addr: a.Addr("imaps"), TLS: a.tls(t), User: "luis@a.test", Password: password, Name: "INBOX"}
	var validity uint32
	uids := map[string]string{} // by UID as text: Message-ID
	for n := range kills(t) {
		await(t, book, 1+rand.IntN(24))
		a.kill(t)
		a.start(t)
		if n%10 == 0 {
			// What a client saw between two crashes is still true after the next ones.
			now, ids, err := inbox.UIDs(ctx)
			if err != nil {
				t.Fatalf("after %d kills: %v", n+1, err)
			}
			if validity == 0 {
				validity = now
			}
			seen := map[string]string{}
			for uid, id := range ids {
				seen[fmt.Sprint(uid)] = id
			}
			for uid, id := range uids {
				if seen[uid] != id {
					t.Errorf("after %d kills UID %s is %q, and was %q", n+1, uid, seen[uid], id)
				}
			}
			if now != validity {
				t.Errorf("UIDVALIDITY was %d, is %d", validity, now)
			}
			maps.Copy(uids, seen)
		}
	}
	cancel()
	running.Wait()

	check(t, "ana's INBOX on disk", mine(book, "ana@a.test", "INBOX"), a.maildir("ana@a.test"))
	check(t, "luis's INBOX on disk", mine(book, "luis@a.test", "INBOX"), a.maildir("luis@a.test"))
	check(t, "ana's Archive on disk", mine(book, "ana@a.test", "Archive"), filepath.Join(a.maildir("ana@a.test"), ".Archive"))
	// The queue needs its time to reach the other host.
	eventually(t, 2*time.Minute, func() error {
		report, err := ledger.CheckMaildir(mine(book, "eva@b.test", "INBOX"), b.maildir("eva@b.test"))
		if err == nil && report.Lost() {
			err = fmt.Errorf("eva's INBOX on disk: %v", report)
		}
		return err
	})
	check(t, "eva's INBOX on disk", mine(book, "eva@b.test", "INBOX"), b.maildir("eva@b.test"))

	inbox.TLS = a.tls(t)
	report, err := ledger.CheckIMAP(t.Context(), mine(book, "luis@a.test", "INBOX"), inbox)
	if err != nil || report.Lost() {
		t.Errorf("luis's INBOX over IMAP: %v %v", report, err)
	}
}

func mine(book *ledger.Ledger, account, mailbox string) []ledger.Entry {
	return ledger.For(book.Entries(), account, mailbox)
}

// await waits until more messages are acknowledged.
func await(t *testing.T, book *ledger.Ledger, more int) {
	t.Helper()
	first, _ := book.Len()
	deadline := time.After(patience)
	for {
		n, grown := book.Len()
		if n >= first+more {
			return
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("%d of %d messages acknowledged within %v", n-first, more, patience)
		}
	}
}

func check(t *testing.T, what string, entries []ledger.Entry, dir string) {
	t.Helper()
	report, err := ledger.CheckMaildir(entries, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v", what, report)
	if report.Lost() || report.Acknowledged == 0 {
		t.Errorf("%s: %v: missing %v, torn %v", what, report, report.Missing, report.Torn)
	}
}
