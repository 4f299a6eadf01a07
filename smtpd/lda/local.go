// Package lda is the local delivery agent: it puts messages into the mailboxes
// of accounts, where their filters want them. It knows accounts, filters and the
// store, and no protocol.
package lda

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"buzon/internal/account"
	"buzon/internal/message"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/maildir"
)

// Config is what a Local is made of.
type Config struct {
	Store     *maildir.Store
	Directory *account.Directory
	Log       *slog.Logger

	Hostname  string
	Scripts   *sieve.Library // nil: nobody has a filter
	Forwarder Forwarder      // nil: filters cannot redirect to the outside
	Outbox    Outbox         // nil: nobody outside is told that a user is away

	Classifier Classifier // nil: nobody has learned what junk is
}

// Local delivers into the store. It is safe for concurrent use.
type Local struct{ cfg Config }

// New returns a Local that has delivered nothing.
func New(cfg Config) *Local { return &Local{cfg: cfg} }

// Recipient is an account that a recipient of the envelope led to.
type Recipient struct {
	Target account.Target
	To     smtp.Address // as in RCPT, with its domain
}

// Message is what is delivered.
type Message struct {
	ID      string          // for the log; "" for a notice
	From    smtp.Address    // reverse-path
	Trace   []byte          // header fields that go on top, with CRLF
	Content io.ReaderAt     // the message below them
	Size    int64           // of Content
	Header  *message.Header // of Content; nil: it is read
	Junk    bool            // it goes to the account's junk mailbox, not to INBOX

	// Stranger is set for what comes from outside: only that may look like junk.
	Stranger bool

	// What filters may use.
	Spam      sieve.Spam
	RemoteIP  string // the client's, or ""
	Refusable bool   // an error with a Reply reaches the client that sends it
	// Onward returns what goes on top of the message when an account sends it on
	// to others, or why it may not; nil for mail of our own.
	Onward func(account smtp.Address) ([]byte, error)

	onward int // redirects so far
}

var errOverQuota = smtp.NewReply(552, [3]int{5, 2, 2}, "The message is larger than the mailbox may be")

// stagers bounds how many copies of one message are written at the same time:
// enough to share the disk's syncs, few enough to leave room for others.
const stagers = 8

// Deliver puts one copy of m into the INBOX of each distinct account of to.
// It returns nil only when every copy is durable, and before anything is
// visible it has written all of them. The error carries a Reply for the
// sender where there is more to say than smtp.TryLater.
func (l *Local) Deliver(ctx context.Context, m Message, to []Recipient) error {
	d, err := l.Stage(ctx, m, to)
	if err != nil {
		return err
	}
	return d.Commit(ctx)
}

// Notify delivers a notice, which is a message of ours under the null
// reverse-path, to a local address. When the address is not (or no longer)
// one of ours the error carries a permanent Reply.
func (l *Local) Notify(ctx context.Context, to smtp.Address, content io.ReaderAt, size int64) error {
	targets, err := l.cfg.Directory.Resolve(to)
	if errors.Is(err, account.ErrNoSuchUser) || errors.Is(err, account.ErrNotLocal) {
		return fmt.Errorf("notify %s: %w: %w", to, smtp.NoSuchUser, err)
	} else if err != nil {
		return fmt.Errorf("notify %s: %w", to, err)
	}
	rcpts := make([]Recipient, len(targets))
	for i, t := range targets {
		rcpts[i] = Recipient{Target: t, To: to}
	}
	return l.Deliver(ctx, Message{Content: content, Size: size}, rcpts)
}

// Room returns an error that carries a Reply when the account has no room
// for a message of size bytes.
func (l *Local) Room(ctx context.Context, id account.ID, size int64) error {
	u, err := l.cfg.Store.User(ctx, string(id))
	if err != nil {
		return answer(err)
	}
	defer u.Release()
	if !u.Limited() {
		return nil
	}
	q, err := u.Quota(ctx)
	switch {
	case err != nil:
		return answer(err)
	case q.BytesLimit > 0 && size > q.BytesLimit:
		return errOverQuota
	case q.BytesLimit > 0 && q.Bytes+size > q.BytesLimit, q.MessagesLimit > 0 && q.Messages >= q.MessagesLimit:
		return smtp.MailboxFull
	}
	return nil
}

// Delivery is a message of which every copy is written and none is visible.
// It ends with Commit or Discard.
type Delivery struct {
	local   *Local
	message Message
	copies  []*copyOf
	begun   time.Time
}

// copyOf is what becomes of the message for one account.
type copyOf struct {
	to      Recipient
	user    *maildir.User
	content content // with what the envelope said on top
	plan    sieve.Outcome
	spam    sieve.Spam // the message's, or what the account's classifier says
	junk    bool
	score   string // for the log

	filed []*filed
	next  []*Delivery  // to accounts that its filter redirects to
	away  []forwarding // to others
}

// Stage writes a copy for each distinct account of to.
func (l *Local) Stage(ctx context.Context, m Message, to []Recipient) (*Delivery, error) {
	d := &Delivery{local: l, message: m, begun: time.Now()}
	seen := map[account.ID]bool{}
	for _, r := range to {
		if !seen[r.Target.Account] {
			seen[r.Target.Account] = true
			d.copies = append(d.copies, &copyOf{to: r})
		}
	}
	if err := checkLoop(m, seen); err != nil {
		return nil, err
	}
	if err := d.each(ctx, d.stage); err != nil {
		d.Discard()
		return nil, err
	}
	return d, nil
}

// Commit makes every copy visible and durable. After an error some may be.
func (d *Delivery) Commit(ctx context.Context) error {
	defer d.Discard()
	if err := d.each(ctx, d.forward); err != nil {
		return err
	}
	if err := d.each(ctx, d.commit); err != nil {
		return err
	}
	for _, c := range d.copies {
		d.afterwards(ctx, c)
	}
	return nil
}

// Discard removes the copies that were not committed.
func (d *Delivery) Discard() {
	for _, c := range d.copies {
		for _, next := range c.next {
			next.Discard()
		}
		for _, f := range c.filed {
			if f.staged != nil {
				f.staged.Discard()
				f.staged = nil
			}
		}
		if c.user != nil {
			c.user.Release()
			c.user = nil
		}
	}
}

// each runs step for every copy, one after the other where there is but one.
func (d *Delivery) each(ctx context.Context, step func(context.Context, *copyOf) error) error {
	if len(d.copies) == 1 {
		return step(ctx, d.copies[0])
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(stagers)
	for _, c := range d.copies {
		g.Go(func() error { return step(ctx, c) })
	}
	return g.Wait()
}

// stage writes what the account's filter wants kept.
func (d *Delivery) stage(ctx context.Context, c *copyOf) (err error) {
	if c.user, err = d.local.cfg.Store.User(ctx, string(c.to.Target.Account)); err != nil {
		return answer(err)
	}
	m := d.message
	c.content = content{top: append(envelopeFields(m.From, c.to), m.Trace...), below: m.Content, end: m.Size}
	d.classify(c)
	if c.plan, err = d.plan(ctx, c); err != nil {
		return err
	}
	for _, f := range c.plan.Filings {
		if err := d.file(ctx, c, f); err != nil {
			return err
		}
	}
	return d.onward(ctx, c, c.plan.Redirects)
}

func (d *Delivery) file(ctx context.Context, c *copyOf, f sieve.Filing) error {
	content, err := c.content.withHeader(f.Header)
	if err != nil {
		return err
	}
	staged, err := c.user.Stage(ctx, io.NewSectionReader(content, 0, content.size()))
	if err != nil {
		return answer(err)
	}
	c.filed = append(c.filed, &filed{f, staged})
	return nil
}

// forward hands over what goes to others, before anything is visible here.
func (d *Delivery) forward(ctx context.Context, c *copyOf) error {
	for _, f := range c.away {
		if err := d.local.cfg.Forwarder.Forward(ctx, d.message.From, c.to.Target.Account.Address(), []smtp.Address{f.to}, f.content, f.content.size()); err != nil {
			return fmt.Errorf("redirect to %s: %w", f.to, err)
		}
		d.local.cfg.Log.Info("redirected", "id", d.message.ID, "user", string(c.to.Target.Account), "to", f.to.String())
	}
	c.away = nil
	return nil
}

// commit puts the message where the filter wants it.
func (d *Delivery) commit(ctx context.Context, c *copyOf) error {
	for _, f := range c.filed {
		size := f.staged.Size()
		into, err := d.put(ctx, c, f)
		if err != nil {
			return answer(err)
		}
		attrs := []any{"id", d.message.ID, "from", d.message.From.String(), "to", c.to.To.String(),
			"user", string(c.to.Target.Account), "mailbox", into, "size", size, "code", 250, "dur", time.Since(d.begun)}
		if c.score != "" {
			attrs = append(attrs, "junk", c.score)
		}
		d.local.cfg.Log.Info("delivered", attrs...)
	}
	if len(c.filed)+len(c.next)+len(c.plan.Redirects) == 0 {
		d.local.cfg.Log.Info("discarded by the filter", "id", d.message.ID, "from", d.message.From.String(), "user", string(c.to.Target.Account))
	}
	for _, next := range c.next {
		if err := next.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// envelopeFields keeps in the message what the envelope said: RFC 5321 4.4
// for Return-Path; the other two as Postfix and its users know them.
func envelopeFields(from smtp.Address, to Recipient) []byte {
	account := string(to.Target.Account)
	b := append(append([]byte("Return-Path: "), from.Path()...), "\r\nDelivered-To: "...)
	b = append(append(b, account...), "\r\n"...)
	if original := to.To.String(); !strings.EqualFold(original, account) {
		b = append(append(append(b, "X-Original-To: "...), original...), "\r\n"...)
	}
	return b
}

// checkLoop refuses a message that one of the accounts has had before.
func checkLoop(m Message, accounts map[account.ID]bool) error {
	h := m.Header
	if h == nil {
		var err error
		if h, err = message.ReadHeader(bufio.NewReader(io.NewSectionReader(m.Content, 0, m.Size)), message.HeaderLimits{}); err != nil {
			return fmt.Errorf("read header: %w", err)
		}
	}
	for _, v := range h.Values("Delivered-To") {
		if accounts[account.ID(strings.ToLower(v))] {
			return fmt.Errorf("%w: delivered to %s before", smtp.MailLoop, v)
		}
	}
	return nil
}

// answer gives an error of the store the Reply that the sender should have.
func answer(err error) error {
	var r *smtp.Reply
	switch {
	case err == nil:
		return nil
	case errors.Is(err, maildir.ErrQuota):
		r = smtp.MailboxFull
	case errors.Is(err, maildir.ErrFull):
		r = smtp.DiskFull
	default:
		r = smtp.TryLater
	}
	return fmt.Errorf("%w: %w", r, err)
}
