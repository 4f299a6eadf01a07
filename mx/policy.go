package mx

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dane"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
)

// kind is the name of a TLS policy in logs.
type kind string

// The kinds of policy, the weakest first. DANE goes before MTA-STS where a
// domain has both (RFC 8461 2).
const (
	opportunistic kind = "none"            // TLS when it can be had, RFC 7435
	stsTesting    kind = "mta-sts-testing" // the same, but what would fail is reported
	encrypted     kind = "dane-encrypt"    // TLS, with any certificate: TLSA records that nobody understands, RFC 7672 2.2
	requireTLS    kind = "requiretls"      // the sender's demand, RFC 8689
	stsEnforce    kind = "mta-sts"         // TLS, and a certificate for the host's name
	daneVerified  kind = "dane"            // TLS, and a certificate that TLSA records name
)

// policy says what TLS must be like on the way to a host.
type policy struct {
	kind  kind
	tlsa  []dns.TLSA // usable ones, of base
	base  string     // the name whose TLSA records count, RFC 7672 2.2.2; also the name that we ask TLS for
	names []string   // that a certificate under DANE-TA may be for
}

// mandatory policies let nothing go in plain text.
func (p policy) mandatory() bool {
	return p.kind != "" && p.kind != opportunistic && p.kind != stsTesting
}

// key tells sessions apart that were made under different policies.
func (p policy) key() string {
	var b strings.Builder
	b.WriteString(string(p.kind))
	for _, r := range p.tlsa {
		fmt.Fprintf(&b, " %d %d %d %s", r.Usage, r.Selector, r.MatchingType, hex.EncodeToString(r.Data))
	}
	return b.String()
}

// String is the policy's name in logs.
func (p policy) String() string {
	if p.kind == "" {
		return string(opportunistic)
	}
	return string(p.kind)
}

// accepts checks the certificates of a handshake against the policy. verified
// says that they prove whose host it is.
func (c *Client) accepts(p policy, host string, state tls.ConnectionState) (verified bool, err error) {
	if p.kind == daneVerified {
		err = dane.Verify(p.tlsa, state.PeerCertificates, p.names, time.Now())
	} else {
		err = c.verify(state, host)
	}
	if err != nil && (p.kind == daneVerified || p.kind == stsEnforce || p.kind == requireTLS) {
		return false, err
	}
	return err == nil, nil
}

// domainPolicy is what a domain says about all of its hosts.
type domainPolicy struct {
	domain string
	secure bool           // DNSSEC vouches for the names of the hosts
	sts    *mtasts.Policy // in force; nil: none
	stsErr error          // trouble on the way to it
	told   bool           // of stsErr
}

// stsPolicy asks for the domain's MTA-STS policy.
func (r *router) stsPolicy(ctx context.Context, d *domainPolicy) {
	if r.sts == nil {
		return
	}
	p, ok, err := r.sts.Policy(ctx, d.domain)
	d.stsErr = err
	if ok && p.Mode != mtasts.None {
		d.sts = &p
	}
}

// hostPolicy decides how TLS must be with one host, whose addresses have been
// looked up with this answer.
func (r *router) hostPolicy(ctx context.Context, h hop, answer dns.Answer, need smtp.TLSNeed) (policy, *failure) {
	if h.smarthost != nil || need == smtp.TLSOptional { // RFC 8689 5: the sender knows better
		return policy{kind: opportunistic}, nil
	}
	p, f := r.danePolicy(ctx, h, answer)
	if f != nil || p.kind == daneVerified {
		return p, f
	}
	if sts := h.domain.sts; sts != nil && sts.Mode == mtasts.Enforce {
		if !sts.Matches(h.host) {
			return policy{kind: stsEnforce}, temporary(7, 0, "The domain's MTA-STS policy does not allow its mail host", fmt.Errorf("%w: %s", errNotInPolicy, h.host))
		}
		return policy{kind: stsEnforce}, nil
	}
	switch {
	case need == smtp.TLSRequired && !h.domain.secure: // RFC 8689 4.2.1: neither of the two vouches for the host's name
		return policy{kind: requireTLS}, permanent(550, 7, 30, "The message requires TLS, and nobody vouches for the domain's mail hosts", errors.New("REQUIRETLS without DNSSEC or MTA-STS"))
	case need == smtp.TLSRequired:
		return policy{kind: requireTLS}, nil
	case p.kind == encrypted:
		return p, nil
	case h.domain.sts != nil:
		return policy{kind: stsTesting}, nil
	}
	return policy{kind: opportunistic}, nil
}

// errNotInPolicy is wrapped by the failure of a host that the policy has not.
var errNotInPolicy = errors.New("not in the MTA-STS policy")

// danePolicy looks for TLSA records, RFC 7672 2.2. They count only where
// DNSSEC vouches for every step from the domain to them.
func (r *router) danePolicy(ctx context.Context, h hop, answer dns.Answer) (policy, *failure) {
	none := policy{kind: opportunistic}
	if !r.dane || !h.domain.secure || h.addr.IsValid() {
		return none, nil
	}
	var bases []string
	if answer.Authentic {
		bases = []string{answer.Canonical, h.host}
	} else if answer.Canonical != h.host {
		// An alias out of a signed zone into one that is not, RFC 7672 2.2.2.
		_, alias, err := r.resolver.CNAME(ctx, h.host)
		if err != nil && !dns.NotFound(err) {
			return none, temporary(4, 3, "The mail host's name cannot be found out at the moment", err)
		}
		if alias.Authentic {
			bases = []string{h.host}
		}
	}
	for _, base := range slices.Compact(bases) {
		records, a, err := r.resolver.TLSA(ctx, base, h.port)
		switch {
		case dns.NotFound(err):
			continue
		case err != nil: // somebody may be hiding them, RFC 7672 2.1.2
			return none, temporary(7, 5, "The mail host's TLSA records cannot be found out at the moment", err)
		case !a.Authentic:
			continue
		}
		usable := dane.Usable(records)
		if len(usable) == 0 {
			return policy{kind: encrypted, base: base}, nil
		}
		names := []string{base, h.domain.domain, h.host}
		slices.Sort(names)
		return policy{kind: daneVerified, tlsa: usable, base: base, names: slices.Compact(names)}, nil
	}
	return none, nil
}
