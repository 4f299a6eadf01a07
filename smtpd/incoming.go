package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/limit"
	"buzon/internal/message"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/mx"
	"buzon/smtpd/lda"
)

const (
	// maxReceived is how many hosts a message may have passed before it is
	// taken for a loop (Postfix hopcount_limit; RFC 5321 6.3).
	maxReceived = 50

	// unknownRecipients is how many recipients that do not exist end a
	// session: lists have a few, address harvesters nothing else. Each but
	// the first is refused after unknownDelay, and after harvestDelay where a
	// network has had more than unknownPerHour.
	unknownRecipients = 10
	unknownPerHour    = 100
	unknownDelay      = time.Second
	harvestDelay      = 5 * time.Second
)

var (
	replyHarvest = smtp.NewReply(421, [3]int{4, 7, 0}, "Too many unknown recipients")
	replyOneNull = smtp.NewReply(452, [3]int{4, 5, 3}, "A notification has one recipient only")
	replyAlone   = smtp.NewReply(452, [3]int{4, 5, 3}, "This recipient needs a transaction of its own")
)

// Judge tells whom a message from a stranger may be believed to be from. It
// must be safe for concurrent use, and end within seconds whatever the DNS does.
type Judge interface {
	Judge(ctx context.Context, a mx.Arrival) (mx.Verdict, error)
}

// incoming is the door for strangers: it takes mail for our users, and from
// nobody for anybody else.
type incoming struct{ *Server }

func (in *incoming) mechanisms(*client) []string { return nil }

func (in *incoming) sender(*transaction) error { return nil }

func (in *incoming) recipient(t *transaction, to smtp.Address) error {
	if t.env.From.IsNull() && len(t.env.To) > 0 {
		return replyOneNull
	}
	if ip, ok := to.LiteralIP(); ok && ip == t.s.c.local && mustExist(to.Local) {
		to.Domain = in.cfg.Hostname // RFC 5321 4.5.1
	}
	route, err := in.cfg.Directory.Route(to)
	switch {
	case errors.Is(err, account.ErrNotLocal):
		return smtp.NoRelay
	case errors.Is(err, account.ErrNoSuchUser) && in.cfg.Forward != nil && in.cfg.Directory.IsLocalDomain(to.Domain):
		return in.sendBack(t, to)
	case errors.Is(err, account.ErrNoSuchUser):
		return in.noSuchUser(t.s.c)
	case err != nil:
		return fmt.Errorf("resolve %s: %w", to, err)
	}
	if len(t.local) > 0 && (in.alone(route.Targets) || in.alone([]account.Target{t.local[0].Target})) {
		return replyAlone
	}
	if err := in.blocked(t, to); err != nil {
		return err
	}
	if err := in.greylisted(t, to, route.Targets); err != nil {
		return err
	}
	if err := in.addForward(t, to, route.Outside); err != nil {
		return err
	}
	return t.addLocal(to, route.Targets)
}

// alone reports whether a recipient must be the only one: a filter that may
// refuse the message needs the answer for itself.
func (in *incoming) alone(targets []account.Target) bool {
	return len(targets) == 1 && in.cfg.Local.Alone(targets[0].Account)
}

// mustExist tells the names that every host must take mail for: RFC 5321
// 4.5.1 and RFC 2142 4.
func mustExist(local string) bool {
	return strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "abuse")
}

// noSuchUser refuses a recipient, later and later.
func (in *incoming) noSuchUser(c *client) error {
	if in.perRecipient() { // it asks for somebody else, and knows no better
		return smtp.NoSuchUser
	}
	c.unknown++
	within, _ := in.unknown.Take(limit.Host(c.ip).String(), 1)
	switch {
	case c.unknown > unknownRecipients:
		return replyHarvest
	case !within:
		pause(c.ctx, harvestDelay)
	case c.unknown > 1:
		pause(c.ctx, unknownDelay)
	}
	return smtp.NoSuchUser
}

// addLocal adds the accounts that a recipient led to, when each has room.
func (t *transaction) addLocal(to smtp.Address, targets []account.Target) error {
	srv := t.s.c.srv
	for _, target := range targets {
		if err := srv.cfg.Local.Room(t.ctx, target.Account, t.env.Size); err != nil {
			return err
		}
	}
	for _, target := range targets {
		t.local = append(t.local, lda.Recipient{Target: target, To: to})
	}
	return nil
}

func (in *incoming) accept(t *transaction, content io.Reader) (*smtp.Reply, error) {
	if t.env.From.IsNull() {
		if err := in.mustWait(t, t.env.To[0].Address); err != nil {
			return nil, err
		}
	}
	m, err := in.receive(content, func(h *message.Header) (edit, error) {
		t.marks, t.spamClaims = h.Values("Delivered-To"), claimsSpamVerdict(h)
		return in.editStranger(h)
	})
	if err != nil {
		return nil, receiveError(err)
	}
	defer m.Close()
	verdict, err := in.judge(t, m)
	switch {
	case err != nil:
		return nil, err
	case verdict.Action == mx.Refuse:
		return nil, verdict.Reply
	}
	if t.spamClaims { // not before: a signature may be about them
		verdict.BodyAt = dropSpamVerdicts(m)
	}
	f, err := t.filter(m)
	switch {
	case err != nil:
		return nil, err
	case f.discard:
		return accepted(t, "accepted as "+t.id), nil
	case f.changed:
		verdict.BodyAt = f.bodyAt
	}
	t.junk, t.spam = t.junk || f.junk, f.spam
	trace := slices.Concat(f.top, verdict.Fields, received(t, in.cfg.Hostname, t.s.c))
	done, err := in.deliver(t, verdict, trace, m)
	if err != nil {
		return nil, err
	}
	return accepted(t, done), nil
}

// deliver puts m with trace on top into the mailboxes of t, and hands it over
// for the addresses elsewhere. done says what became of it.
func (in *incoming) deliver(t *transaction, verdict mx.Verdict, trace []byte, m *spooled) (done string, err error) {
	junk := verdict.Action == mx.Junk || t.junk
	done = "delivered as "
	var local *lda.Delivery
	if len(t.local) > 0 {
		local, err = in.cfg.Local.Stage(t.ctx, lda.Message{
			ID: t.id, From: t.env.From, Trace: separate(trace, m), Content: m, Size: m.Size(), Header: m.header, Junk: junk,
			Spam: spam(junk, t.spam), RemoteIP: t.s.c.address(), Refusable: true, Stranger: true, Onward: in.onward(verdict, m),
		}, t.local)
		if err != nil {
			return "", err
		}
		defer local.Discard()
	}
	if len(t.away) > 0 {
		if err := in.forward(t, verdict, trace, m); err != nil {
			return "", err
		}
		done = "accepted as "
	}
	if local != nil {
		if err := local.Commit(t.ctx); err != nil {
			return "", err
		}
	}
	return done + t.id, nil
}

// accepted is the answer to a message that was taken.
func accepted(t *transaction, done string) *smtp.Reply {
	t.s.c.accepted()
	return smtp.NewReply(250, [3]int{2, 0, 0}, done)
}

// spam is what users' filters are told of a message.
func spam(junk bool, tested sieve.Spam) sieve.Spam {
	if junk {
		return sieve.Spam{Tested: true, Percent: 100}
	}
	return tested
}

// judge asks whether the message is whose it says it is.
func (in *incoming) judge(t *transaction, m *spooled) (mx.Verdict, error) {
	if in.cfg.Judge == nil {
		return mx.Verdict{}, nil
	}
	return in.cfg.Judge.Judge(t.ctx, mx.Arrival{
		ID: t.id, IP: t.s.c.ip, Helo: t.helo, From: t.env.From, To: t.env.To[0].Address, Content: m, Size: m.Size(), Header: m.header,
	})
}

// editStranger refuses a message that goes round in circles, and takes off
// what only we may say: the Return-Path, which RFC 5321 4.4 lets us remove,
// and results of authentication in our name, which RFC 8601 5 makes us remove.
func (in *incoming) editStranger(h *message.Header) (edit, error) {
	if h.Count("Received") > maxReceived {
		return edit{}, smtp.MailLoop // RFC 5321 6.3
	}
	return edit{drop: func(f message.Field) bool {
		switch {
		case strings.EqualFold(f.Name, "Return-Path"), strings.EqualFold(f.Name, "X-Junk-Score"):
			return true
		case strings.EqualFold(f.Name, "Authentication-Results"):
			return strings.EqualFold(authservID(f.Value()), in.cfg.Hostname)
		}
		return false
	}}, nil
}

// authservID returns whose results a field holds (RFC 8601 2.2): the first
// word, comments before it left out.
func authservID(value string) string {
	value = strings.TrimSpace(value)
	for strings.HasPrefix(value, "(") {
		depth, i := 0, 0
		for ; i < len(value); i++ {
			switch value[i] {
			case '\\':
				i++
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 {
				break
			}
		}
		value = strings.TrimSpace(value[min(i+1, len(value)):])
	}
	value = strings.TrimPrefix(value, `"`)
	if i := strings.IndexAny(value, "\"; \t("); i >= 0 {
		value = value[:i]
	}
	return value
}
