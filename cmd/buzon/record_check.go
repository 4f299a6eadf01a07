package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
)

// mark is how a record does, in one word.
type mark string

// The marks.
const (
	good     mark = "ok"
	missing  mark = "MISSING"
	differs  mark = "DIFFERS"
	unknown  mark = "UNKNOWN" // the DNS does not answer
	optional mark = "optional"
)

func (m mark) bad() bool { return m == missing || m == differs || m == unknown }

// finding is a mark with its reason.
type finding struct {
	mark   mark
	reason string
}

// recordCheck compares records with what the world sees.
type recordCheck struct {
	resolver *dns.Client
	host     string
}

// look asks for one record.
func (c recordCheck) look(ctx context.Context, r record) finding {
	switch r.kind {
	case "MX":
		list, _, err := c.resolver.MX(ctx, r.name)
		return compare(err, list, func(m dns.MX) bool { return m.Host == c.host }, func(m dns.MX) string { return m.Host },
			"mail goes to others")
	case "A", "AAAA":
		list, _, err := c.resolver.Addrs(ctx, r.name)
		return compare(err, list, func(a netip.Addr) bool { return a.String() == r.value }, netip.Addr.String, "the host is elsewhere")
	case "CNAME":
		return c.alias(ctx, r)
	case "SRV":
		list, _, err := c.resolver.SRV(ctx, r.name)
		show := func(s dns.SRV) string { return fmt.Sprintf("%d %s", s.Port, s.Target) }
		return compare(err, list, func(s dns.SRV) bool { return strings.HasSuffix(r.value, " "+show(s)+".") }, show, "mail programs are sent elsewhere")
	case "TLSA":
		list, answer, err := c.resolver.TLSA(ctx, c.host, 25)
		show := func(t dns.TLSA) string {
			return fmt.Sprintf("%d %d %d %s", t.Usage, t.Selector, t.MatchingType, hex.EncodeToString(t.Data))
		}
		f := compare(err, list, func(t dns.TLSA) bool { return show(t) == r.value }, show, "hosts that know DANE do not deliver to this certificate")
		if f.mark == good && !answer.Authentic {
			f.reason = "no use without DNSSEC, or this resolver cannot tell"
		}
		return f
	case "CAA":
		list, _, err := c.resolver.CAA(ctx, r.name)
		f := compare(err, list, func(a dns.CAA) bool { return a.Tag == "issue" && strings.Contains(r.value, `"`+a.Value+`"`) },
			func(a dns.CAA) string { return a.Tag + " " + a.Value }, "the certificate cannot be renewed where it came from")
		if f.mark == missing {
			return finding{optional, "without it every authority may issue certificates for the host"}
		}
		return f
	}
	return c.text(ctx, r)
}

// compare looks for a wanted record among those that are there.
func compare[T any](err error, list []T, want func(T) bool, show func(T) string, otherwise string) finding {
	switch {
	case err != nil:
		return failed(err)
	case slices.ContainsFunc(list, want):
		return finding{mark: good}
	}
	var there []string
	for _, r := range list[:min(len(list), 5)] {
		there = append(there, printableText(show(r)))
	}
	return finding{differs, otherwise + ": " + strings.Join(there, ", ")}
}

func failed(err error) finding {
	if dns.NotFound(err) {
		return finding{missing, "there is no such record"}
	}
	return finding{unknown, err.Error()}
}

func (c recordCheck) alias(ctx context.Context, r record) finding {
	target, _, err := c.resolver.CNAME(ctx, r.name)
	if err == nil && target+"." == r.value {
		return finding{mark: good}
	}
	if err == nil {
		return finding{differs, "it is an alias of " + target}
	}
	addrs, _, errAddrs := c.resolver.Addrs(ctx, r.name) // its own addresses will do
	if errAddrs != nil {
		return failed(errAddrs)
	}
	ours, _, err := c.resolver.Addrs(ctx, c.host)
	if err == nil && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(ours, a) }) {
		return finding{mark: good}
	}
	return finding{differs, "it leads to another host"}
}

// text compares TXT records by what they mean.
func (c recordCheck) text(ctx context.Context, r record) finding {
	list, _, err := c.resolver.TXT(ctx, r.name)
	if err != nil {
		return failed(err)
	}
	version, _, _ := strings.Cut(r.value, ";")
	version, _, _ = strings.Cut(version, " ")
	var ofKind []string
	for _, t := range list {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(t)), strings.ToLower(version)) || version == "v=DKIM1" && strings.Contains(t, "p=") {
			ofKind = append(ofKind, t)
		}
	}
	switch {
	case len(ofKind) == 0:
		return finding{missing, "there are other texts, and none that begins with " + version}
	case len(ofKind) > 1:
		return finding{differs, fmt.Sprintf("there are %d records of this kind, and others then use none of them", len(ofKind))}
	}
	found := ofKind[0]
	switch version {
	case "v=DKIM1":
		if !dkim.SameKey(found, r.value) {
			return finding{differs, "it holds another key, or a part of this one: signatures do not verify"}
		}
	case "v=spf1":
		return spfFinding(found)
	case "v=DMARC1":
		return dmarcFinding(found)
	case "v=STSv1":
		if r.needs == "" && strings.TrimRight(found, "; ") != r.value {
			return finding{differs, "it names another policy than the one that we serve, and others keep the old one until the id changes: " + printableText(found)}
		}
	default:
		if found != r.value {
			return finding{good, "as written there: " + printableText(found)}
		}
	}
	return finding{mark: good}
}

// spfFinding: what SPF says may differ, as long as this host may send.
func spfFinding(found string) finding {
	terms := strings.Fields(strings.ToLower(found))
	ends := func(list ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return slices.Contains(terms, s) })
	}
	switch {
	case ends("+all", "all", "?all"):
		return finding{differs, "it allows everybody: " + printableText(found)}
	case !slices.ContainsFunc(terms, func(t string) bool {
		return strings.HasPrefix(t, "mx") || strings.HasPrefix(t, "a") && t != "all" || strings.HasPrefix(t, "ip4:") || strings.HasPrefix(t, "ip6:") || strings.HasPrefix(t, "include:") || strings.HasPrefix(t, "redirect=") || strings.HasPrefix(t, "exists:")
	}):
		return finding{differs, "it allows nobody: " + printableText(found)}
	case !ends("-all", "~all") && !strings.Contains(found, "redirect="):
		return finding{good, "it does not end in -all, and so forbids nothing"}
	}
	return finding{mark: good}
}

func dmarcFinding(found string) finding {
	rec, ok := dmarc.Parse(found)
	switch {
	case !ok:
		return finding{differs, "it cannot be understood, and has no effect: " + printableText(found)}
	case len(rec.Reports) == 0:
		return finding{good, "without rua nobody reports who else uses the domain"}
	case rec.Policy == dmarc.None:
		return finding{good, "p=none only watches; go on to quarantine or reject when the reports show nothing unexpected"}
	}
	return finding{mark: good}
}

// reverseFinding is a finding about an address.
type reverseFinding struct {
	finding
	what string
}

// reverse checks that each address has the host's name, and the name the address.
func (c recordCheck) reverse(ctx context.Context, addrs []netip.Addr) []reverseFinding {
	if len(addrs) == 0 {
		addrs, _, _ = c.resolver.Addrs(ctx, c.host)
	}
	var out []reverseFinding
	for _, a := range addrs {
		names, _, err := c.resolver.PTR(ctx, a)
		f := compare(err, names, func(n string) bool { return n == c.host }, func(n string) string { return n }, "it has another name, big hosts may refuse its mail")
		if f.mark == missing {
			f.reason = "it has no name, big hosts refuse its mail: ask the provider of the address"
		}
		out = append(out, reverseFinding{f, "PTR " + a.String()})
	}
	return out
}

// printableText is foreign text for a terminal.
func printableText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}
