// Package spf tells whether a host may send mail for a domain (RFC 7208). It
// knows the protocol's limits and our resolver, and no message: the evaluation
// is that of blitiri.com.ar/go/spf, behind a check of the record's syntax.
package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	gospf "blitiri.com.ar/go/spf"

	"buzon/internal/smtp"
	"buzon/mx/dns"
)

// Result is one of the words of RFC 7208 2.6, as they stand in header fields.
type Result string

// The results.
const (
	None      Result = "none"
	Neutral   Result = "neutral"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Resolver is what of mx/dns is asked. Errors are final or temporary as
// dns.NotFound says.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
	MX(ctx context.Context, domain string) ([]dns.MX, dns.Answer, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Answer, error)
	PTR(ctx context.Context, addr netip.Addr) ([]string, dns.Answer, error)
}

// Check is the outcome for one identity.
type Check struct {
	Domain string // that was asked about; "" when there was none to ask
	Result Result
	Reason string // why, in a few words; "" when there is nothing to say
}

// Helo checks the name that ip gave in HELO or EHLO (RFC 7208 2.3). A name
// that is no domain has no policy.
func Helo(ctx context.Context, r Resolver, ip netip.Addr, helo string) Check {
	domain, err := smtp.ParseDomain(helo)
	if err != nil || strings.HasPrefix(domain, "[") || !strings.Contains(domain, ".") {
		return Check{Result: None, Reason: "not a full host name"}
	}
	return check(ctx, r, ip, helo, smtp.Address{Local: "postmaster", Domain: domain})
}

// MailFrom checks the reverse-path (RFC 7208 2.4). For the null one that is
// postmaster at the HELO name.
func MailFrom(ctx context.Context, r Resolver, ip netip.Addr, helo string, from smtp.Address) Check {
	if from.IsNull() {
		return Helo(ctx, r, ip, helo)
	}
	if from.Domain == "" || strings.HasPrefix(from.Domain, "[") {
		return Check{Result: None, Reason: "not a domain"}
	}
	if from.Local == "" {
		from.Local = "postmaster" // RFC 7208 4.3
	}
	return check(ctx, r, ip, helo, from)
}

func check(ctx context.Context, r Resolver, ip netip.Addr, helo string, from smtp.Address) Check {
	c := Check{Domain: from.Domain}
	if _, err := dns.Name(from.Domain); err != nil {
		c.Result, c.Reason = None, "not a possible domain" // RFC 7208 4.3
		return c
	}
	if ctx.Err() != nil {
		// Not even a quick "no such name" counts once the time is up: whether
		// it comes before the resolver looks at its clock is chance.
		c.Result, c.Reason = TempError, "no time was left to ask"
		return c
	}
	// The library splits the sender at its first "@"; a quoted local part may
	// hold one, and must not choose the domain.
	local := strings.ReplaceAll(from.Local, "@", "=")
	// The limits are its own: 10 terms that ask (4.6.4), 2 that find nothing.
	res, err := gospf.CheckHostWithSender(ip.Unmap().AsSlice(), helo, local+"@"+from.Domain,
		gospf.WithContext(ctx), gospf.WithResolver(resolver{r}))
	c.Result = Result(res)
	switch c.Result {
	case Pass, Fail, SoftFail, Neutral, None, TempError, PermError:
	default:
		c.Result = PermError
	}
	if c.Result == PermError && ctx.Err() != nil {
		c.Result = TempError
	}
	if err != nil && c.Result != None {
		c.Reason = reason(err)
	}
	return c
}

// reason is what of an error is worth a reader's time; it never holds what a
// foreign server has said.
func reason(err error) string {
	if netErr, ok := errors.AsType[*net.DNSError](err); ok {
		if netErr.IsNotFound {
			return "a name in the policy does not exist"
		}
		return "the DNS did not answer"
	}
	return err.Error()
}

// resolver is our resolver as the library wants one.
type resolver struct{ r Resolver }

func (r resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, _, err := r.r.TXT(ctx, name)
	if err != nil {
		return nil, netError(err)
	}
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		if isRecord(text) && !valid(text) {
			// RFC 7208 4.6: an error anywhere in a record is an error of all
			// of it; the library would only see it on its way.
			text = "v=spf1 syntax-error"
		}
		out = append(out, text)
	}
	return out, nil
}

func (r resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, _, err := r.r.MX(ctx, name)
	if err != nil {
		return nil, netError(err)
	}
	out := make([]*net.MX, len(records))
	for i, mx := range records {
		out[i] = &net.MX{Host: mx.Host, Pref: mx.Preference}
	}
	return out, nil
}

func (r resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, _, err := r.r.Addrs(ctx, host)
	if err != nil {
		return nil, netError(err)
	}
	out := make([]net.IPAddr, len(addrs))
	for i, a := range addrs {
		out[i] = net.IPAddr{IP: a.AsSlice()}
	}
	return out, nil
}

func (r resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	names, _, err := r.r.PTR(ctx, ip)
	if err != nil {
		return nil, netError(err)
	}
	for i, n := range names {
		names[i] = n + "."
	}
	return names, nil
}

// netError tells the library what it asks an error about: whether the name is
// not there, or the answer may come later.
func netError(err error) error {
	if dns.NotFound(err) {
		return &net.DNSError{Err: "no such name or record", IsNotFound: true}
	}
	return &net.DNSError{Err: "no answer", IsTemporary: true}
}
