package smtpd

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"buzon/internal/account"
	"buzon/internal/greylist"
	"buzon/internal/smtp"
	"buzon/mx/dnsbl"
)

// SenderPolicy knows which hosts may send in the name of a domain. It must be
// safe for concurrent use.
type SenderPolicy interface {
	// PassesSPF reports whether the domain of from, or helo's where from is
	// null, names ip among its hosts (RFC 7208).
	PassesSPF(ctx context.Context, ip netip.Addr, helo string, from smtp.Address) bool
}

// greylisted asks a sender that nobody knows to come again. A null reverse-path
// passes here: hosts ask with it whether a recipient exists, and never come as
// far as DATA.
func (in *incoming) greylisted(t *transaction, to smtp.Address, targets []account.Target) error {
	if in.cfg.Greylist == nil || t.env.From.IsNull() || in.correspond(t.env.From, targets) {
		return nil
	}
	return in.mustWait(t, to)
}

// correspond reports whether one of the accounts has written to the sender.
func (in *incoming) correspond(from smtp.Address, targets []account.Target) bool {
	if in.cfg.Recipients == nil {
		return false
	}
	for _, target := range targets {
		if in.cfg.Recipients.Known(string(target.Account), from) {
			return true
		}
	}
	return false
}

// mustWait looks for the sender by his network. When that is unknown, a domain
// that names the host as its own counts instead: large senders come again from
// another network.
func (in *incoming) mustWait(t *transaction, to smtp.Address) error {
	if in.cfg.Greylist == nil || !dnsbl.Eligible(t.s.c.ip) {
		return nil
	}
	a := greylist.Attempt{Network: t.s.c.ip, From: t.env.From.Domain, To: to.String()}
	if !in.cfg.Greylist.Knows(a) && in.cfg.Policy != nil && a.From != "" && in.cfg.Policy.PassesSPF(t.ctx, t.s.c.ip, t.helo, t.env.From) {
		a.Proven = true
	}
	wait := in.cfg.Greylist.Wait(a)
	if wait <= 0 {
		return nil
	}
	seconds := int(wait.Round(time.Second) / time.Second)
	r := smtp.NewReply(451, [3]int{4, 7, 1}, fmt.Sprintf("Greylisted: senders that are new here are asked to come again, in %d seconds or later", max(seconds, 1)))
	t.s.c.log().Info("filtered", "id", t.id, "by", "greylist", "verdict", "later", "from", t.env.From.String(), "to", to.String(), "code", r.Code)
	return r
}
