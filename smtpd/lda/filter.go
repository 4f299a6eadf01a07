package lda

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/message"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/maildir"
)

// Forwarder sends messages on to addresses that are not ours, under a
// reverse-path that their hosts can accept from us.
type Forwarder interface {
	// Forward takes over a message that came from a sender for an account of
	// ours, which sends it on. It is durable when the error is nil.
	Forward(ctx context.Context, from, account smtp.Address, to []smtp.Address, content io.ReaderAt, size int64) error
}

// Outbox takes messages that we write ourselves. A message is durable when the
// error is nil.
type Outbox interface {
	Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (id string, err error)
}

// maxOnward is how often a message may be redirected among our own accounts.
const maxOnward = 5

// Alone reports whether mail for an account must come in a transaction of its
// own: its filter may refuse, and a transaction of several recipients has but
// one answer (RFC 5429 2.1.1).
func (l *Local) Alone(id account.ID) bool {
	script := l.script(id)
	return script != nil && script.Refuses()
}

// script returns an account's filter, nil where there is none. A filter that
// cannot be read filters nothing.
func (l *Local) script(id account.ID) *sieve.Script {
	if l.cfg.Scripts == nil {
		return nil
	}
	script, err := l.cfg.Scripts.Active(string(id))
	if err != nil {
		l.cfg.Log.Warn("filter is not run", "user", string(id), "err", err)
	}
	return script
}

// plan decides what is done with a copy.
func (d *Delivery) plan(ctx context.Context, c *copyOf) (sieve.Outcome, error) {
	keep := sieve.Outcome{Filings: []sieve.Filing{{}}}
	l, m, id := d.local, d.message, c.to.Target.Account
	script := l.script(id)
	if script == nil {
		return keep, nil
	}
	now := time.Now()
	to := c.to.To
	outcome, err := script.Run(ctx, sieve.Message{Content: c.content, Size: c.content.size()}, sieve.Environment{
		From: m.From, To: to, Separator: l.cfg.Directory.Separator(),
		Owns:      func(a smtp.Address) bool { return l.cfg.Directory.Owns(id, a) },
		Mailboxes: mailboxes{c.user}, Known: l.cfg.Scripts.Known(string(id), now),
		Spam: c.spam, Host: l.cfg.Hostname, RemoteIP: m.RemoteIP, Now: now,
	})
	if ctx.Err() != nil {
		return keep, ctx.Err()
	}
	if err != nil { // the outcome is to keep the message
		l.cfg.Log.Warn("filter failed, message is kept", "id", m.ID, "user", string(id), "err", err)
	}
	if r := outcome.Rejection; r != nil {
		if m.Refusable && len(d.copies) == 1 {
			return keep, smtp.NewReply(550, [3]int{5, 7, 1}, refusal(r.Reason))
		}
		// Nobody waits for an answer, or it would speak for others too. A notice
		// would go to an address that may be forged.
		l.cfg.Log.Info("message cannot be refused, it is kept", "id", m.ID, "user", string(id))
		return keep, nil
	}
	if m.From.IsNull() {
		outcome.Vacation = nil
	}
	return outcome, nil
}

// refusal is the text of a reply: RFC 5429 2.2 wants the user's own.
func refusal(reason string) string {
	reason = strings.TrimSpace(strings.ReplaceAll(reason, "\r\n", "\n"))
	if lines := strings.SplitN(reason, "\n", 11); len(lines) > 10 {
		reason = strings.Join(lines[:10], "\n")
	}
	if reason == "" {
		return "The recipient does not want this message"
	}
	return reason
}

// mailboxes answers what a script asks about them.
type mailboxes struct{ user *maildir.User }

func (m mailboxes) Exists(ctx context.Context, name string) bool {
	_, err := m.user.Status(ctx, name)
	return err == nil
}

func (m mailboxes) WithUse(ctx context.Context, use string) string {
	list, err := m.user.Mailboxes(ctx)
	if err != nil {
		return ""
	}
	for _, info := range list {
		if strings.EqualFold(info.SpecialUse, use) {
			return info.Name
		}
	}
	return ""
}

// onward prepares what goes to others: to our own accounts as deliveries of
// their own, to the rest of the world when the copy is committed.
func (d *Delivery) onward(ctx context.Context, c *copyOf, redirects []sieve.Redirect) error {
	for _, r := range redirects {
		content, err := c.content.withHeader(r.Header)
		if err != nil {
			return err
		}
		targets, err := d.local.cfg.Directory.Resolve(r.To)
		switch {
		case errors.Is(err, account.ErrNotLocal) && d.local.cfg.Forwarder != nil:
			err = d.away(c, r, content)
		case err == nil:
			err = d.redirect(ctx, c, r.To, targets, content)
		}
		if errors.Is(err, account.ErrNotLocal) || errors.Is(err, account.ErrNoSuchUser) || errors.Is(err, smtp.MailLoop) || errors.Is(err, errNotOnward) {
			// That will not change: the user's own copy is all that is left.
			d.local.cfg.Log.Warn("filter cannot redirect, message is kept", "id", d.message.ID,
				"user", string(c.to.Target.Account), "to", r.To.String(), "err", err)
			err = d.file(ctx, c, sieve.Filing{})
		}
		if err != nil {
			return fmt.Errorf("redirect to %s: %w", r.To, err)
		}
	}
	return nil
}

// redirect prepares a delivery to accounts of ours.
func (d *Delivery) redirect(ctx context.Context, c *copyOf, to smtp.Address, targets []account.Target, content content) error {
	if d.message.onward == maxOnward {
		return smtp.MailLoop
	}
	rcpts := make([]Recipient, len(targets))
	for i, t := range targets {
		rcpts[i] = Recipient{Target: t, To: to}
	}
	m := d.message
	m.Trace, m.Content, m.Size, m.Header, m.Refusable, m.onward = nil, content, content.size(), nil, false, m.onward+1
	next, err := d.local.Stage(ctx, m, rcpts)
	if err == nil {
		c.next = append(c.next, next)
	}
	return err
}

// errNotOnward is wrapped by the error of a message that may not be sent on.
var errNotOnward = errors.New("not sent on")

// away prepares what goes to somebody who is not ours. Return-Path is what the
// last host writes (RFC 5321 4.4). A seal is for the header that was judged.
func (d *Delivery) away(c *copyOf, r sieve.Redirect, whole content) error {
	h, err := message.ReadHeader(bufio.NewReader(io.NewSectionReader(whole, 0, whole.size())), message.HeaderLimits{})
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	f := forwarding{to: r.To, content: whole}
	for field := range h.Fields() {
		if strings.EqualFold(field.Name, "Return-Path") && field.Offset == 0 {
			f.content = content{below: whole, skip: int64(len(field.Raw)), end: whole.size()}
		}
		break
	}
	if d.message.Onward != nil {
		seal, err := d.message.Onward(c.to.Target.Account.Address())
		if err != nil {
			return fmt.Errorf("%w: %w", errNotOnward, err)
		}
		if r.Header == nil {
			f.content.top = seal
		}
	}
	c.away = append(c.away, f)
	return nil
}

// forwarding is a message to somebody who is not ours.
type forwarding struct {
	to      smtp.Address
	content content
}

// afterwards does what may fail without harm to the message: the answer of
// who is away, and remembering.
func (d *Delivery) afterwards(ctx context.Context, c *copyOf) {
	l, id, v := d.local, c.to.Target.Account, c.plan.Vacation
	if l.cfg.Scripts == nil {
		return
	}
	if err := l.cfg.Scripts.Remember(string(id), c.plan.Remember, time.Now()); err != nil {
		l.cfg.Log.Error("filter cannot remember", "user", string(id), "err", err)
		return // better no answer than a second one
	}
	if v == nil {
		return
	}
	err := l.Notify(ctx, v.To, bytes.NewReader(v.Content), int64(len(v.Content)))
	if errors.Is(err, smtp.NoSuchUser) && !l.cfg.Directory.IsLocalDomain(v.To.Domain) && l.cfg.Outbox != nil {
		_, err = l.cfg.Outbox.Submit(ctx, smtp.Envelope{To: []smtp.Recipient{{Address: v.To, Notify: smtp.NotifyNever}}}, bytes.NewReader(v.Content))
	}
	if err != nil {
		l.cfg.Log.Error("vacation notice is not sent", "user", string(id), "to", v.To.String(), "err", err)
		return
	}
	l.cfg.Log.Info("vacation notice", "id", d.message.ID, "user", string(id), "to", v.To.String())
}

// content is a message as it is kept: fields of ours on top of what came.
type content struct {
	top   []byte
	below io.ReaderAt
	skip  int64 // octets of below that top stands for
	end   int64 // of below
}

func (c content) size() int64 { return int64(len(c.top)) + c.end - c.skip }

// ReadAt reads the message as one.
func (c content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(c.top)) {
		n = copy(p, c.top[off:])
	}
	if n == len(p) {
		return n, nil
	}
	at := c.skip + off + int64(n) - int64(len(c.top))
	left := max(0, c.end-at)
	if want := int64(len(p) - n); want <= left {
		m, err := c.below.ReadAt(p[n:], at)
		return n + m, err
	}
	m, err := c.below.ReadAt(p[n:n+int(left)], at)
	if err == nil {
		err = io.EOF
	}
	return n + m, err
}

// withHeader returns c with another header; nil is its own.
func (c content) withHeader(header []byte) (content, error) {
	if header == nil {
		return c, nil
	}
	h, err := message.ReadHeader(bufio.NewReader(io.NewSectionReader(c, 0, c.size())), message.HeaderLimits{})
	if err != nil {
		return c, fmt.Errorf("read header: %w", err)
	}
	return content{top: header, below: c, skip: int64(len(h.Raw())), end: c.size()}, nil
}
