// Package migrate copies mail into an account and out of it: from another IMAP
// server, from Maildirs and mbox files, and to them. The account is an IMAP
// connection, so that nothing here knows how mail is kept. A copy that was
// stopped in the middle goes on where it was, and brings no message twice.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Message is one to copy.
type Message struct {
	Key   string // what the source knows it by, for ever; no spaces
	Flags []imap.Flag
	Time  time.Time // when it arrived; zero for unknown
	Body  []byte    // with CRLF
}

// Mailbox is one of a source.
type Mailbox struct {
	Name       []string // from the top down
	SpecialUse imap.MailboxAttr
	Subscribed bool
	Messages   int // as far as it is known before they are read

	id string // what the source calls it
}

// Source is where mail comes from.
type Source interface {
	Mailboxes(ctx context.Context) ([]Mailbox, error)
	// Each calls fn with the messages of a mailbox that known does not know, one
	// after the other. An error of fn ends it.
	Each(ctx context.Context, box Mailbox, known func(key string) bool, fn func(Message) error) error
}

// Progress is told how far a copy is. New is what this run has brought.
type Progress interface {
	Mailbox(name string, done, total, new int)
	Note(text string) // something that a person should know
}

// Result is what came of a copy.
type Result struct {
	Mailboxes, New, Known int
	LeftOut               int // messages that the account would not take
}

// Copy brings the mail of src into the account that dst is logged in to.
func Copy(ctx context.Context, src Source, dst *imapclient.Client, ledger *Ledger, progress Progress) (Result, error) {
	c := &copying{src: src, dst: dst, ledger: ledger, progress: progress}
	boxes, err := src.Mailboxes(ctx)
	if err != nil {
		return c.Result, err
	}
	if err := c.learn(); err != nil {
		return c.Result, err
	}
	if err := c.settle(); err != nil {
		return c.Result, fmt.Errorf("look what has arrived of an earlier run: %w", err)
	}
	for _, box := range boxes {
		if err := c.mailbox(ctx, box); err != nil {
			return c.Result, fmt.Errorf("mailbox %s: %w", strings.Join(box.Name, "/"), err)
		}
	}
	return c.Result, nil
}

type copying struct {
	Result
	src      Source
	dst      *imapclient.Client
	ledger   *Ledger
	progress Progress

	delim   string
	exists  map[string]bool // mailboxes of the account
	special map[imap.MailboxAttr]string
}

// learn looks which mailboxes the account has.
func (c *copying) learn() error {
	list, err := c.dst.List("", "*", nil).Collect()
	if err != nil {
		return err
	}
	c.exists, c.special, c.delim = make(map[string]bool), make(map[imap.MailboxAttr]string), "/"
	for _, box := range list {
		c.exists[box.Mailbox] = true
		if box.Delim != 0 {
			c.delim = string(box.Delim)
		}
		for _, attr := range box.Attrs {
			if slices.Contains(specialUses, attr) {
				c.special[attr] = box.Mailbox
			}
		}
	}
	return nil
}

// specialUses are the purposes that an account has one mailbox for (RFC 6154 2).
var specialUses = []imap.MailboxAttr{imap.MailboxAttrSent, imap.MailboxAttrDrafts, imap.MailboxAttrJunk, imap.MailboxAttrTrash, imap.MailboxAttrArchive}

// place is the account's mailbox for one of the source, made where it is
// missing. What the source has marked as Sent comes into our Sent, whatever its
// name is there.
func (c *copying) place(box Mailbox) (string, error) {
	if name, ok := c.special[box.SpecialUse]; ok {
		return name, nil
	}
	parts := make([]string, len(box.Name))
	for i, part := range box.Name {
		parts[i] = strings.ReplaceAll(part, c.delim, "_")
	}
	name := strings.Join(parts, c.delim)
	if strings.EqualFold(name, "INBOX") {
		return "INBOX", nil
	}
	if c.exists[name] {
		return name, nil
	}
	if err := c.dst.Create(name, nil).Wait(); err != nil && !hasCode(err, imap.ResponseCodeAlreadyExists) {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	c.exists[name] = true
	if box.Subscribed {
		if err := c.dst.Subscribe(name).Wait(); err != nil {
			return "", fmt.Errorf("subscribe to %s: %w", name, err)
		}
	}
	return name, nil
}

// mailbox copies what is new of one.
func (c *copying) mailbox(ctx context.Context, box Mailbox) error {
	name, err := c.place(box)
	if err != nil {
		return err
	}
	status, err := c.dst.Status(name, &imap.StatusOptions{UIDNext: true, UIDValidity: true}).Wait()
	if err != nil {
		return err
	}
	from := strings.Join(box.Name, "/")
	known, new := 0, 0
	tell := func() { c.progress.Mailbox(from, known+new, max(box.Messages, known+new), new) }
	seen := func(key string) bool {
		if !c.ledger.Has(box.id, key) {
			return false
		}
		known++
		return true
	}
	err = c.src.Each(ctx, box, seen, func(m Message) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		taken, err := c.message(box, m, name, status)
		if taken {
			new++
			c.New++
		}
		tell()
		return err
	})
	c.Known += known
	c.Mailboxes++
	tell()
	return err
}

// message brings one. taken is false when the account would not have it, which
// is only noted: the others may still come.
func (c *copying) message(box Mailbox, m Message, to string, status *imap.StatusData) (taken bool, err error) {
	next := uint32(status.UIDNext)
	if err := c.ledger.begin(attempt{box.id, m.Key, to, status.UIDValidity, next, sumOf(m.Body)}); err != nil {
		return false, fmt.Errorf("note what is being copied: %w", err)
	}
	cmd := c.dst.Append(to, int64(len(m.Body)), &imap.AppendOptions{Flags: m.Flags, Time: m.Time})
	_, err = cmd.Write(m.Body)
	if e := cmd.Close(); err == nil {
		err = e
	}
	data, e := cmd.Wait()
	if e != nil {
		err = e
	}
	var refused *imap.Error
	switch {
	case errors.As(err, &refused) && !hasCode(err, imap.ResponseCodeOverQuota) && c.dst.State() != imap.ConnStateLogout:
		c.LeftOut++
		c.progress.Note(fmt.Sprintf("%s: a message of %d bytes was not taken: %v", strings.Join(box.Name, "/"), len(m.Body), err))
		return false, nil
	case err != nil:
		return false, err
	}
	if data != nil && data.UID != 0 {
		status.UIDNext = data.UID + 1
	}
	return true, c.ledger.done(box.id, m.Key)
}

// settle finds out what came of the messages that an earlier run had begun to
// copy when it was stopped: those that are there are done.
func (c *copying) settle() error {
	byBox := make(map[string][]attempt)
	for _, a := range c.ledger.pending() {
		byBox[a.to] = append(byBox[a.to], a)
	}
	for to, list := range byBox {
		if !c.exists[to] {
			continue
		}
		selected, err := c.dst.Select(to, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			return err
		}
		least := list[0].next
		for _, a := range list {
			least = min(least, a.next)
		}
		arrived, err := c.sums(imap.UID(least), selected)
		if err != nil {
			return err
		}
		for _, a := range list {
			if a.validity == selected.UIDValidity && arrived[a.sum] > 0 {
				arrived[a.sum]--
				if err := c.ledger.done(a.box, a.key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sums counts the messages from a UID on by their content.
func (c *copying) sums(from imap.UID, selected *imap.SelectData) (map[string]int, error) {
	found := make(map[string]int)
	if selected.NumMessages == 0 || selected.UIDNext <= from {
		return found, nil
	}
	set := imap.UIDSet{imap.UIDRange{Start: from, Stop: 0}}
	fetch := c.dst.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	for {
		m := fetch.Next()
		if m == nil {
			return found, fetch.Close()
		}
		uid, got, err := collect(m)
		if err != nil {
			return found, errors.Join(err, fetch.Close())
		}
		if uid >= from { // n:* names the last message whatever its number
			found[sumOf(got.Body)]++
		}
	}
}

func hasCode(err error, code imap.ResponseCode) bool {
	var e *imap.Error
	return errors.As(err, &e) && e.Code == code
}
