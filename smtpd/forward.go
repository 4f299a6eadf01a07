package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"buzon/internal/account"
	"buzon/internal/smtp"
	"buzon/mx"
)

// Forward prepares messages for the way to a host that one of our aliases
// names. It must be safe for concurrent use.
type Forward interface {
	// ReversePath is what a message from a sender is forwarded with, by an
	// alias at domain.
	ReversePath(from smtp.Address, domain string) smtp.Address
	// Original returns whom such a path leads back to.
	Original(a smtp.Address) (original smtp.Address, is bool, err error)
	// Fields returns what is put on top of the message, with CRLF.
	Fields(v mx.Verdict, alias smtp.Address, content io.ReaderAt, size int64) ([]byte, error)
}

var (
	replyOnlyNotices = smtp.NewReply(550, [3]int{5, 7, 1}, "Only notices may be sent to this address")
	replyNotForward  = smtp.NewReply(550, [3]int{5, 7, 1}, "Mail in our own name is forwarded only when it is proven to be from us")
	replyNoForward   = smtp.NewReply(550, [3]int{5, 7, 1}, "Mail is not forwarded here")
)

// addForward adds the addresses elsewhere that a recipient led to.
func (in *incoming) addForward(t *transaction, to smtp.Address, outside []smtp.Address) error {
	if len(outside) == 0 {
		return nil
	}
	if in.cfg.Forward == nil || in.cfg.Spool == nil {
		return replyNoForward
	}
	for _, a := range outside {
		t.away = append(t.away, away{smtp.Recipient{Address: a}, to})
	}
	if t.alias.IsNull() {
		t.alias = to
	}
	return nil
}

// sendBack takes a notice for an address that we have made for a sender whose
// mail we have forwarded.
func (in *incoming) sendBack(t *transaction, to smtp.Address) error {
	original, is, err := in.cfg.Forward.Original(to)
	switch {
	case !is || err != nil:
		return in.noSuchUser(t.s.c)
	case !t.env.From.IsNull():
		return replyOnlyNotices
	case !in.cfg.Directory.IsLocalDomain(original.Domain):
		t.away = append(t.away, away{smtp.Recipient{Address: original}, to})
		return nil
	}
	targets, err := in.cfg.Directory.Resolve(original)
	if errors.Is(err, account.ErrNoSuchUser) || errors.Is(err, account.ErrNotLocal) {
		return smtp.NoSuchUser
	} else if err != nil {
		return fmt.Errorf("resolve %s: %w", original, err)
	}
	return t.addLocal(original, targets)
}

// mayForward refuses what only claims to be from us.
func (in *incoming) mayForward(v mx.Verdict) error {
	for _, domain := range v.Authors {
		if in.cfg.Directory.IsLocalDomain(domain) && !v.Proven {
			return replyNotForward
		}
	}
	return nil
}

// onward is what an account puts on a message that its filter sends on.
func (in *incoming) onward(v mx.Verdict, m *spooled) func(smtp.Address) ([]byte, error) {
	return func(account smtp.Address) ([]byte, error) {
		if err := in.mayForward(v); err != nil || in.cfg.Forward == nil {
			return nil, err
		}
		return in.cfg.Forward.Fields(v, account, m, m.Size())
	}
}

// forward gives the message to the spool, with a reverse-path of ours. What
// only claims to be from us is not forwarded: our own signature would make it so.
func (in *incoming) forward(t *transaction, v mx.Verdict, trace []byte, m *spooled) error {
	if err := in.mayForward(v); err != nil {
		return err
	}
	env := smtp.Envelope{To: t.outside(), UTF8: t.env.UTF8, EightBit: t.env.EightBit, TLS: t.env.TLS}
	head := trace
	if !t.alias.IsNull() {
		for _, mark := range t.marks {
			if strings.EqualFold(mark, t.alias.String()) {
				return fmt.Errorf("%w: forwarded by %s before", smtp.MailLoop, t.alias)
			}
		}
		env.From = in.cfg.Forward.ReversePath(t.env.From, t.alias.Domain)
		fields, err := in.cfg.Forward.Fields(v, t.alias, m, m.Size())
		if err != nil {
			return err
		}
		head = append(fields, trace...)
	}
	head = separate(head, m)
	env.Size = int64(len(head)) + m.Size()
	id, err := in.cfg.Spool.Submit(t.ctx, env, io.MultiReader(bytes.NewReader(head), io.NewSectionReader(m, 0, m.Size())))
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	t.s.c.log().Info("forwarded", "id", id, "received", t.id, "from", t.env.From.String(), "to", t.alias.String(), "recipients", len(env.To))
	return nil
}
