// Package dnsbl asks lists in the DNS (RFC 5782) whether they know a client's
// address or a sender's domain. It knows how the lists answer and how they
// break, and not what becomes of mail.
package dnsbl

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"buzon/mx/dns"
)

// Resolver is what of mx/dns is asked.
type Resolver interface {
	IPv4(ctx context.Context, name string) ([]netip.Addr, dns.Answer, error)
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
}

// Zone is one list.
type Zone struct {
	Name    string
	Domains bool    // it lists domains, and not addresses
	Junk    bool    // what it knows is junk; otherwise it is refused
	Codes   []Codes // the answers that count; none: every one
}

// Config is what Lists are made of.
type Config struct {
	Zones    []Zone
	Resolver Resolver
	Budget   time.Duration // for all the questions about one sender; 4 s when zero
	Log      *slog.Logger
}

// Lists are the lists that are asked. They are safe for concurrent use.
type Lists struct{ cfg Config }

const (
	defaultBudget = 4 * time.Second
	// maxText bounds what is shown of a list's own words.
	maxText = 300
)

// New returns Lists that have asked nothing. Answers are remembered by the
// resolver.
func New(cfg Config) *Lists {
	if cfg.Budget <= 0 {
		cfg.Budget = defaultBudget
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Lists{cfg}
}

// Listing is what a list knows.
type Listing struct {
	Zone    Zone
	Subject string // the address or domain that is listed
	Text    string // in the list's words; "" where it has none
}

// Subjects is whom the lists are asked about.
type Subjects struct {
	IP      netip.Addr
	Domains []string // of the reverse-path and HELO; those that are none are left out
}

// Ask asks all lists at once and returns what they know, in their order.
// Trouble of the DNS is no listing, nor is an answer that a list gives to say
// that it does not answer us.
func (l *Lists) Ask(ctx context.Context, about Subjects) []Listing {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Budget)
	defer cancel()
	type question struct {
		zone          Zone
		subject, name string
	}
	var questions []question
	for _, z := range l.cfg.Zones {
		if !z.Domains {
			if about.IP.IsValid() {
				questions = append(questions, question{z, about.IP.String(), reversed(about.IP) + "." + z.Name})
			}
			continue
		}
		for _, d := range domains(about.Domains) {
			questions = append(questions, question{z, d, d + "." + z.Name})
		}
	}
	found := make([]*Listing, len(questions))
	var asking sync.WaitGroup
	for i, q := range questions {
		asking.Go(func() {
			if l.listed(ctx, q.zone, q.name) {
				found[i] = &Listing{q.zone, q.subject, l.text(ctx, q.zone, q.name)}
			}
		})
	}
	asking.Wait()
	var listings []Listing
	for _, f := range found {
		if f != nil {
			listings = append(listings, *f)
		}
	}
	return listings
}

// Eligible reports whether a list can know anything of an address: those of
// our own networks are in no list, whatever it says.
func Eligible(ip netip.Addr) bool {
	return ip.IsValid() && ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip.Unmap())
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598: behind a carrier's NAT

// domains are those of a list that a name can be made of, each once.
func domains(list []string) (names []string) {
	for _, d := range list {
		name, err := dns.Name(d)
		if err != nil || !strings.Contains(name, ".") || slices.Contains(names, name) {
			continue
		}
		if _, err := netip.ParseAddr(name); err == nil {
			continue
		}
		names = append(names, name)
	}
	return names
}

// listed asks one question.
func (l *Lists) listed(ctx context.Context, z Zone, name string) bool {
	answers, _, err := l.cfg.Resolver.IPv4(ctx, name)
	if err != nil {
		if !dns.NotFound(err) {
			l.cfg.Log.Debug("list does not answer", "host", z.Name, "err", err)
		}
		return false
	}
	counts := false
	for _, a := range answers {
		switch {
		case refusal.Contains(a):
			l.cfg.Log.Warn("list refuses to answer us: ask it by a resolver of your own, not by a public one", "host", z.Name, "answer", a.String())
			return false
		case !loopback.Contains(a) || a == first:
			// Not an answer of a list at all: somebody owns its name now.
		case len(z.Codes) == 0 || slices.ContainsFunc(z.Codes, func(c Codes) bool { return c.has(a) }):
			counts = true
		}
	}
	return counts && !l.broken(ctx, z)
}

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8") // RFC 5782 2.1
	first    = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	// refusal are answers that mean "you may not ask": Spamhaus began it, and
	// others follow.
	refusal = netip.MustParsePrefix("127.255.255.0/24")
)

// broken reports whether a list knows what no list may know (RFC 5782 5): one
// that has died often lists the whole world.
func (l *Lists) broken(ctx context.Context, z Zone) bool {
	probe := "1.0.0.127." + z.Name
	if z.Domains {
		probe = "invalid." + z.Name
	}
	_, _, err := l.cfg.Resolver.IPv4(ctx, probe)
	if err == nil {
		l.cfg.Log.Error("list knows everybody, it does not count any more: take it out of the configuration", "host", z.Name)
	}
	return !dns.NotFound(err)
}

// text is the list's explanation, often with the page to be taken off.
func (l *Lists) text(ctx context.Context, z Zone, name string) string {
	if z.Junk {
		return "" // nobody would read it
	}
	texts, _, err := l.cfg.Resolver.TXT(ctx, name)
	if err != nil || len(texts) == 0 {
		return ""
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, texts[0])
	return strings.TrimSpace(clean[:min(len(clean), maxText)])
}

// reversed is an address in the order of the DNS: octets, or nibbles (RFC 5782
// 2.1, 2.4).
func reversed(ip netip.Addr) string {
	var b strings.Builder
	if ip = ip.Unmap(); ip.Is4() {
		a := ip.As4()
		fmt.Fprintf(&b, "%d.%d.%d.%d", a[3], a[2], a[1], a[0])
		return b.String()
	}
	a := ip.As16()
	for i := len(a) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%x.%x.", a[i]&15, a[i]>>4)
	}
	return strings.TrimSuffix(b.String(), ".")
}
