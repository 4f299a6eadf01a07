package mx

import (
	"context"
	"net/netip"
	"slices"

	"buzon/mx/dns"
)

// maxNames is how many of an address' names are looked up again.
const maxNames = 3

// ClientName returns the name of ip that has ip among its addresses, and the
// first name that is only claimed; "" where there is none, or where the DNS
// does not tell.
func (j *Judge) ClientName(ctx context.Context, ip netip.Addr) (verified, claimed string) {
	ctx, resolver, done := j.health.watch(ctx)
	defer done()
	if names, _, err := resolver.PTR(ctx, ip); err == nil {
		claimed = names[0]
	}
	return reverseName(ctx, resolver, ip).name, claimed
}

// reverse is what the DNS says of a client's address: a name counts only when
// the address is among its own (RFC 8601 2.7.3).
type reverse struct {
	result string // "pass", "fail", "permerror" or "temperror"
	name   string // of pass
}

func reverseName(ctx context.Context, r CheckResolver, ip netip.Addr) reverse {
	names, _, err := r.PTR(ctx, ip)
	switch {
	case dns.NotFound(err):
		return reverse{result: "permerror"}
	case err != nil:
		return reverse{result: "temperror"}
	}
	result := "fail"
	for _, name := range names[:min(len(names), maxNames)] {
		addrs, _, err := r.Addrs(ctx, name)
		if err != nil && !dns.NotFound(err) {
			result = "temperror"
		}
		if slices.Contains(addrs, ip.Unmap().WithZone("")) {
			return reverse{"pass", name}
		}
	}
	return reverse{result: result}
}
