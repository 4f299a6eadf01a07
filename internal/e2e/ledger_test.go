package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"buzon/internal/e2e/ledger"

	"github.com/emersion/go-imap/v2"
)

// TestLedger kills a host again and again while eight clients deliver, submit,
// append, copy, move, flag and expunge, and then looks for everything that the host
// answered for. BUZON_KILLS says how often; `make ledger` does it 200 times.
func TestLedger(t *testing.T) {
	rounds := fromEnv(t, "BUZON_KILLS", 20)
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
	l := &ledgerRun{t: t, a: a, b: b, book: book, validity: map[string]uint32{}}

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, write := range l.writers() {
		running.Go(func() {
			if err := write(ctx, book); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range rounds {
		l.await(1 + rand.IntN(40))
		a.kill(t)
		a.start(t)
		if n%10 == 9 {
			// What a client saw between two crashes is still true after the next ones.
			l.contradictions(fmt.Sprintf("after %d kills", n+1))
		}
	}
	l.await(1 + rand.IntN(40))
	a.kill(t)
	cancel()
	running.Wait()
	a.start(t)
	l.contradictions("in the end")
	l.judge()
}

// ledgerRun is one run of TestLedger.
type ledgerRun struct {
	t        *testing.T
	a, b     *host
	book     *ledger.Ledger
	validity map[string]uint32 // by account and mailbox
}

func (l *ledgerRun) writers() []func(context.Context, *ledger.Ledger) error {
	a, t := l.a, l.t
	stranger := func(secure bool, to string) ledger.Writer {
		transport := &ledger.SMTP{Addr: a.Addr("smtp")}
		if secure {
			transport.TLS = a.tls(t)
		}
		return ledger.Writer{Transport: transport, From: "zoe@far.test", To: to, Account: to}
	}
	user := func(from, to string) ledger.Writer {
		transport := &ledger.SMTP{Addr: a.Addr("submission"), TLS: a.tls(t), User: from, Password: password}
		return ledger.Writer{Transport: transport, From: from, To: to, Account: to, Queued: true}
	}
	login := func(account, mailbox string) ledger.Append {
		return ledger.Append{Addr: a.Addr("imaps"), TLS: a.tls(t), User: account, Password: password, Mailbox: mailbox}
	}
	appender := login("luis@a.test", "INBOX")
	return []func(context.Context, *ledger.Ledger) error{
		stranger(false, "ana@a.test").Run,
		stranger(true, "luis@a.test").Run,
		user("ana@a.test", "luis@a.test").Run,
		user("luis@a.test", "eva@b.test").Run,
		ledger.Writer{Transport: &appender, From: "luis@a.test", To: "luis@a.test", Account: "luis@a.test"}.Run,
		(&ledger.Keeper{Append: login("ana@a.test", ""), Mailboxes: []string{"INBOX", "Archive", "Trash"}, Takes: "zoe@far.test"}).Run,
		(&ledger.Keeper{Append: login("ana@a.test", ""), Mailboxes: []string{"Archive", "INBOX", "Drafts"}}).Run,
		(&ledger.Keeper{Append: login("luis@a.test", ""), Mailboxes: []string{"INBOX", "Archive"}}).Run,
	}
}

// await waits until more is acknowledged.
func (l *ledgerRun) await(more int) {
	l.t.Helper()
	first, _ := l.book.Len()
	deadline := time.After(patience)
	for {
		n, grown := l.book.Len()
		if n >= first+more {
			return
		}
		select {
		case <-grown:
		case <-deadline:
			l.t.Fatalf("%d of %d messages and operations acknowledged within %v", n-first, more, patience)
		}
	}
}

func (l *ledgerRun) account(user string, host *host, mailboxes ...string) ledger.Account {
	return ledger.Account{
		Mailbox:   ledger.Mailbox{Addr: host.Addr("imaps"), TLS: host.tls(l.t), User: user, Password: password},
		Mailboxes: mailboxes, Maildir: host.maildir(user),
	}
}

func (l *ledgerRun) accounts() []ledger.Account {
	return []ledger.Account{
		l.account("ana@a.test", l.a, "INBOX", "Archive", "Trash", "Drafts"),
		l.account("luis@a.test", l.a, "INBOX", "Archive"),
	}
}

// contradictions compares what clients see now with all that they were told.
func (l *ledgerRun) contradictions(when string) {
	l.t.Helper()
	for _, a := range l.accounts() {
		for _, name := range a.Mailboxes {
			m := a.Mailbox
			m.Name = name
			wrong, err := l.book.Contradictions(a.User, name, func() (map[imap.UID]string, error) {
				validity, ids, err := m.UIDs(l.t.Context())
				key := a.User + " " + name
				if was := l.validity[key]; err == nil && was != 0 && was != validity {
					err = fmt.Errorf("UIDVALIDITY was %d, is %d", was, validity)
				}
				l.validity[key] = validity
				return ids, err
			})
			if err != nil {
				l.t.Fatalf("%s: %s %s: %v", when, a.User, name, err)
			}
			for _, w := range wrong {
				l.t.Errorf("%s: %s", when, w)
			}
		}
	}
}

// judge looks for everything when the queues are empty and nobody works any more.
func (l *ledgerRun) judge() {
	t := l.t
	accounts := append(l.accounts(), l.account("eva@b.test", l.b, "INBOX"))
	var verdict *ledger.Verdict
	waiting := time.Now().Add(2 * time.Minute)
	for {
		var err error
		if verdict, err = l.book.Judge(t.Context(), accounts); err != nil {
			t.Fatal(err)
		}
		// Only what is in a queue may come later.
		if len(verdict.Missing) == 0 || time.Now().After(waiting) {
			break
		}
		time.Sleep(time.Second)
	}
	litter, err := ledger.Litter(filepath.Join(l.a.data(), "mail"))
	if err != nil {
		t.Error(err)
	}
	verdict.Wrong = append(verdict.Wrong, litter...)
	fmt.Printf("%d messages and %d operations acknowledged\n%v\n", verdict.Messages, verdict.Operations, verdict)
	if !verdict.Kept() || verdict.Messages == 0 || verdict.Operations == 0 {
		t.Errorf("%s", verdict.Details())
	}
}
