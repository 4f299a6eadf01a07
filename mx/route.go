package mx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
)

// maxHosts bounds how many MX hosts of a domain are looked up in one attempt;
// those without addresses do not count against what is dialled.
const maxHosts = 20

// A Resolver knows the domain name system; *dns.Client is one. Its errors are
// final only where dns.NotFound says so.
type Resolver interface {
	MX(ctx context.Context, domain string) ([]dns.MX, dns.Answer, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Answer, error)
	CNAME(ctx context.Context, name string) (string, dns.Answer, error)
	TLSA(ctx context.Context, host string, port uint16) ([]dns.TLSA, dns.Answer, error)
}

// router decides which hosts take the mail of a domain.
type router struct {
	resolver     Resolver
	sts          *mtasts.Cache // nil: no MTA-STS
	dane         bool
	names        []string            // by which we are known, as dns.Name writes them
	ownAddrs     func() []netip.Addr // ours, without loopback
	port         uint16              // of MX hosts
	allowPrivate bool
	smarthost    *Smarthost            // for every domain without a route; nil: its MX hosts
	routes       map[string]*Smarthost // by domain; nil: its MX hosts
	senders      map[string]*Smarthost // by address or "@domain" of the sender; nil: the MX hosts
}

// configure checks the names and smarthosts of cfg and takes them over.
func (r *router) configure(cfg Config) error {
	for _, text := range cfg.Names {
		name, err := dns.Name(text)
		if err != nil {
			return fmt.Errorf("host name %q: %w", text, err)
		}
		r.names = append(r.names, name)
	}
	var err error
	if cfg.Smarthost != nil {
		if r.smarthost, err = cfg.Smarthost.checked(); err != nil {
			return err
		}
	}
	for text, smarthost := range cfg.Routes {
		domain, err := dns.Name(text)
		if err != nil {
			return fmt.Errorf("route for %q: %w", text, err)
		}
		if smarthost != nil {
			if smarthost, err = smarthost.checked(); err != nil {
				return fmt.Errorf("route for %s: %w", domain, err)
			}
		}
		r.routes[domain] = smarthost
	}
	for text, smarthost := range cfg.Senders {
		local, name, _ := strings.Cut(text, "@")
		domain, err := dns.Name(name)
		if err != nil {
			return fmt.Errorf("route for sender %q: %w", text, err)
		}
		if smarthost != nil {
			if smarthost, err = smarthost.checked(); err != nil {
				return fmt.Errorf("route for sender %s: %w", text, err)
			}
		}
		r.senders[local+"@"+domain] = smarthost
	}
	return nil
}

// smarthostFor is the smarthost for mail from a sender to a domain, or nil.
func (r *router) smarthostFor(from smtp.Address, domain string) *Smarthost {
	if s, ok := r.routes[domain]; ok {
		return s
	}
	for _, sender := range []string{from.Local + "@" + from.Domain, "@" + from.Domain} {
		if s, ok := r.senders[sender]; ok && !from.IsNull() {
			return s
		}
	}
	return r.smarthost
}

// hop is one host that an attempt may go to.
type hop struct {
	host string     // a name, or an IP address
	addr netip.Addr // valid where host is one
	port uint16
	// preference is that of the MX record.
	preference uint16
	// smarthost is set where the operator chose the host: any address may be
	// dialled then, and TLS and login are as he says.
	smarthost *Smarthost
	domain    *domainPolicy // nil for smarthosts
	policy    policy
}

// opportunistic hops use TLS when they can, with any certificate (RFC 7435).
func (h hop) opportunistic() bool { return h.smarthost == nil && !h.policy.mandatory() }

// route returns the hosts for a domain in the order in which to try them.
func (r *router) route(ctx context.Context, from smtp.Address, domain string, need smtp.TLSNeed) ([]hop, *failure) {
	d := &domainPolicy{domain: domain}
	if smarthost := r.smarthostFor(from, domain); smarthost != nil {
		addr, _ := literal(smarthost.Host)
		return []hop{{host: smarthost.Host, addr: addr, port: smarthost.Port, smarthost: smarthost}}, nil
	}
	if strings.HasPrefix(domain, "[") { // RFC 5321 4.1.3
		addr, ok := literal(domain)
		if !ok {
			return nil, permanent(550, 1, 2, "The address literal is not an IP address", errors.New("address literal "+domain))
		}
		return []hop{{host: addr.String(), addr: addr, port: r.port, domain: d}}, nil
	}
	list, answer, err := r.resolver.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNoData):
		list = []dns.MX{{Preference: 0, Host: domain}} // the implicit MX, RFC 5321 5.1
	case dns.NotFound(err):
		return nil, permanent(550, 1, 2, "The domain does not exist", err)
	case err != nil:
		return nil, temporary(4, 3, "The domain's mail hosts cannot be found out at the moment", err)
	}
	d.secure = answer.Authentic
	if need != smtp.TLSOptional {
		r.stsPolicy(ctx, d)
	}
	return r.hosts(list, d)
}

// hosts orders MX records: by preference, equal ones at random (RFC 5321 5.1).
func (r *router) hosts(list []dns.MX, d *domainPolicy) ([]hop, *failure) {
	if len(list) > 0 && !slices.ContainsFunc(list, func(m dns.MX) bool { return !m.IsNull() }) {
		return nil, permanent(556, 1, 10, "The domain takes no mail", errors.New("null MX (RFC 7505)"))
	}
	list = slices.DeleteFunc(slices.Clone(list), dns.MX.IsNull)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })

	// RFC 5321 5.1: where we are one of the hosts, only better ones than we may
	// be tried, or the mail would go round.
	for _, m := range list {
		if slices.Contains(r.names, m.Host) {
			list = slices.DeleteFunc(list, func(o dns.MX) bool { return o.Preference >= m.Preference })
			if len(list) == 0 {
				return nil, loop(fmt.Errorf("we are the best MX host, as %s", m.Host))
			}
			break
		}
	}
	var hops []hop
	for _, m := range list[:min(len(list), maxHosts)] {
		hops = append(hops, hop{host: m.Host, port: r.port, preference: m.Preference, domain: d})
	}
	return hops, nil
}

// addresses returns where a host may be dialled, in the order to try. A host
// that has an address of ours is a loop, and stops the attempt: what follows
// in the list is not better than we are.
func (r *router) addresses(ctx context.Context, h hop) ([]netip.Addr, dns.Answer, *failure) {
	addrs := []netip.Addr{h.addr}
	var answer dns.Answer
	if !h.addr.IsValid() {
		var err error
		addrs, answer, err = r.resolver.Addrs(ctx, h.host)
		switch {
		case dns.NotFound(err) && h.smarthost != nil:
			f := temporary(4, 4, "The smarthost has no address", err)
			f.ours = true
			return nil, answer, f
		case dns.NotFound(err):
			return nil, answer, permanent(550, 4, 4, "The domain's mail host has no address", err)
		case err != nil:
			return nil, answer, temporary(4, 3, "The mail host's address cannot be found out at the moment", err)
		}
	}
	if h.smarthost != nil {
		return interleave(addrs), answer, nil
	}
	ours := r.ownAddrs()
	if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(ours, a.Unmap().WithZone("")) }) {
		return nil, answer, loop(fmt.Errorf("%s has an address of ours", h.host))
	}
	if !r.allowPrivate {
		addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !public(a) })
	}
	if len(addrs) == 0 {
		return nil, answer, permanent(550, 4, 4, "The domain's mail host has no public address", fmt.Errorf("only private addresses for %s", h.host))
	}
	return interleave(addrs), answer, nil
}

func loop(cause error) *failure {
	f := permanent(550, 4, 6, "The mail would come back to us: the domain is not one of ours, but its MX record says so", cause)
	f.stop = true
	return f
}

// literal reads an IP address, with the brackets and the tag of an address
// literal (RFC 5321 4.1.3) or without.
func literal(s string) (netip.Addr, bool) {
	inner, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return netip.Addr{}, false
		}
		if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
			inner = inner[5:]
		}
	}
	addr, err := netip.ParseAddr(inner)
	return addr.Unmap(), err == nil && addr.Zone() == ""
}
