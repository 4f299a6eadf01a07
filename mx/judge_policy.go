package mx

import (
	"context"
	"net/netip"

	"buzon/internal/smtp"
	"buzon/mx/spf"
)

// PassesSPF reports whether the domain of from, or helo's where from is null,
// names ip among its hosts (RFC 7208). Trouble is no.
func (j *Judge) PassesSPF(ctx context.Context, ip netip.Addr, helo string, from smtp.Address) bool {
	ctx, cancel := context.WithTimeout(ctx, j.cfg.Budget)
	defer cancel()
	ctx, resolver, done := j.health.watch(ctx)
	defer done()
	return spf.MailFrom(ctx, resolver, ip, helo, from).Result == spf.Pass
}
