package dns

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// maxPTR is how many names of an address are looked at: whoever has fifty
// names for one address wants us to ask fifty questions.
const maxPTR = 10

// An MX record names a host that takes a domain's mail. RFC 5321 5.1.
type MX struct {
	Preference uint16 // lower is tried first
	Host       string // lower case, no final dot; "." in a null MX (RFC 7505)
}

// IsNull reports the record that says "this domain takes no mail", RFC 7505 3.
func (m MX) IsNull() bool { return m.Host == "." }

// MX returns the MX records of a domain, best preference first. Records whose
// host could not be one are left out; when that leaves none the error is a
// temporary one, so that nobody falls back to the address records.
func (c *Client) MX(ctx context.Context, domain string) ([]MX, Answer, error) {
	records, a, err := c.lookup(ctx, domain, mdns.TypeMX)
	if err != nil {
		return nil, a, err
	}
	var list []MX
	for _, rr := range records {
		mx := rr.(*mdns.MX)
		if mx.Mx == "." {
			list = append(list, MX{mx.Preference, "."})
		} else if host, ok := answerName(mx.Mx); ok {
			list = append(list, MX{mx.Preference, host})
		}
	}
	if len(list) == 0 {
		return nil, a, &Error{domain, "MX", errors.New("no MX record names a possible host")}
	}
	slices.SortStableFunc(list, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return list, a, nil
}

// Addrs returns the IPv4 and IPv6 addresses of a host. When one family has
// addresses, trouble with the other is not an error, and the Answer is about
// that family alone: whoever makes the other fail must not take its signature
// away. An Answer of both is authentic only if each one is.
func (c *Client) Addrs(ctx context.Context, host string) ([]netip.Addr, Answer, error) {
	if name, err := Name(host); err == nil && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		// RFC 6761 6.3: never asked of a server.
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, Answer{Canonical: name}, nil
	}
	type result struct {
		addrs  []netip.Addr
		answer Answer
		err    error
	}
	six := make(chan result, 1)
	go func() {
		var r result
		r.addrs, r.answer, r.err = c.family(ctx, host, mdns.TypeAAAA)
		six <- r
	}()
	var v4 result
	v4.addrs, v4.answer, v4.err = c.family(ctx, host, mdns.TypeA)
	v6 := <-six

	a := v4.answer
	a.Authentic = v4.answer.Authentic && v6.answer.Authentic
	a.TTL = min(v4.answer.TTL, v6.answer.TTL)
	if a.Canonical == "" {
		a.Canonical = v6.answer.Canonical
	}
	addrs := append(v6.addrs, v4.addrs...)
	switch {
	case len(v4.addrs) > 0 && v6.err != nil && !NotFound(v6.err):
		return addrs, v4.answer, nil
	case len(v6.addrs) > 0 && v4.err != nil && !NotFound(v4.err):
		return addrs, v6.answer, nil
	case len(addrs) > 0:
		return addrs, a, nil
	case !NotFound(v4.err): // trouble outweighs "none": there may be addresses
		return nil, a, v4.err
	default:
		return nil, a, v6.err
	}
}

// IPv4 returns the IPv4 addresses of a name: the answers of lists in the DNS are
// such (RFC 5782 2.1).
func (c *Client) IPv4(ctx context.Context, name string) ([]netip.Addr, Answer, error) {
	return c.family(ctx, name, mdns.TypeA)
}

func (c *Client) family(ctx context.Context, host string, qtype uint16) ([]netip.Addr, Answer, error) {
	records, a, err := c.lookup(ctx, host, qtype)
	if err != nil {
		return nil, a, err
	}
	var addrs []netip.Addr
	for _, rr := range records {
		var raw []byte
		switch rr := rr.(type) {
		case *mdns.A:
			raw = rr.A
		case *mdns.AAAA:
			raw = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(raw); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	if len(addrs) == 0 { // records without data
		return nil, a, &Error{host, mdns.TypeToString[qtype], errors.New("no record holds an address")}
	}
	return addrs, a, nil
}

// TXT returns the text of each TXT record, its strings joined without a space
// (RFC 7208 3.3). The text is foreign bytes of up to 64 KiB.
func (c *Client) TXT(ctx context.Context, name string) ([]string, Answer, error) {
	records, a, err := c.lookup(ctx, name, mdns.TypeTXT)
	if err != nil {
		return nil, a, err
	}
	texts := make([]string, 0, len(records))
	for _, rr := range records {
		texts = append(texts, unescape(strings.Join(rr.(*mdns.TXT).Txt, "")))
	}
	return texts, a, nil
}

// PTR returns at most ten names of an address, as their owner claims them:
// believe one only when its own addresses hold addr.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, Answer, error) {
	name, err := reverseName(addr)
	if err != nil {
		return nil, Answer{}, &Error{addr.String(), "PTR", err}
	}
	records, a, err := c.lookup(ctx, name, mdns.TypePTR)
	if err != nil {
		return nil, a, err
	}
	var names []string
	for _, rr := range records {
		if host, ok := answerName(rr.(*mdns.PTR).Ptr); ok && len(names) < maxPTR {
			names = append(names, host)
		}
	}
	if len(names) == 0 {
		return nil, a, &Error{name, "PTR", ErrNoData}
	}
	return names, a, nil
}

// CNAME returns the name that name is an alias of; the error is ErrNoData when
// it is none.
func (c *Client) CNAME(ctx context.Context, name string) (string, Answer, error) {
	records, a, err := c.lookup(ctx, name, mdns.TypeCNAME)
	if err != nil {
		return "", a, err
	}
	target, ok := answerName(records[0].(*mdns.CNAME).Target)
	if !ok {
		return "", a, &Error{name, "CNAME", errors.New("the alias is not a possible name")}
	}
	return target, a, nil
}

// A TLSA record binds a service to a key or certificate. RFC 6698 2.
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// TLSA returns the TLSA records of a service on a TCP port. They mean
// something only when the Answer is Authentic (RFC 7672 2.1.1).
func (c *Client) TLSA(ctx context.Context, host string, port uint16) ([]TLSA, Answer, error) {
	records, a, err := c.lookup(ctx, fmt.Sprintf("_%d._tcp.%s", port, host), mdns.TypeTLSA)
	if err != nil {
		return nil, a, err
	}
	var list []TLSA
	for _, rr := range records {
		r := rr.(*mdns.TLSA)
		data, err := hex.DecodeString(r.Certificate)
		if err != nil {
			continue
		}
		list = append(list, TLSA{r.Usage, r.Selector, r.MatchingType, data})
	}
	return list, a, nil
}

// unescape turns the library's presentation form of a string back into its
// bytes: \" and \\ and \DDD, RFC 1035 5.1.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b = append(b, s[i])
		case i+3 < len(s) && digits(s[i+1:i+4]):
			b = append(b, (s[i+1]-'0')*100+(s[i+2]-'0')*10+(s[i+3]-'0'))
			i += 3
		default:
			b = append(b, s[i+1])
			i++
		}
	}
	return string(b)
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
