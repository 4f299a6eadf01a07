package dns

import (
	"fmt"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	maxRecords = 256 // in one answer section; real MX, TXT and address sets have less than thirty
	maxChain   = 8   // CNAMEs in a row, as BIND and unbound allow about as many

	maxTTL         = 24 * time.Hour   // a record with a TTL of years was a mistake
	maxNegativeTTL = 15 * time.Minute // a domain that was just set up shall not bounce for long
	failureTTL     = time.Second      // RFC 9520 3.2: trouble is remembered for at least a second
)

// outcome is what one question came to, immutable once made.
type outcome struct {
	records   []mdns.RR
	canonical string
	authentic bool
	expires   time.Time
	err       error
}

// read makes an outcome of a reply to q: NOERROR or NXDOMAIN, nothing else.
func read(q question, reply *mdns.Msg, trusted bool, now time.Time) *outcome {
	out := &outcome{authentic: trusted && reply.AuthenticatedData, canonical: q.name}
	if len(reply.Answer) > maxRecords {
		return failure(fmt.Errorf("answer of %d records", len(reply.Answer)), now)
	}
	owner, ttl, err := followChain(q, reply)
	if err != nil {
		return failure(err, now)
	}
	if canonical, ok := answerName(owner); ok {
		out.canonical = canonical
	}
	if reply.Rcode == mdns.RcodeNameError {
		out.err, out.expires = ErrNoSuchDomain, now.Add(min(ttl, negativeTTL(reply)))
		return out
	}
	for _, rr := range reply.Answer {
		h := rr.Header()
		if h.Rrtype == q.qtype && h.Class == mdns.ClassINET && mdns.CanonicalName(h.Name) == owner {
			out.records = append(out.records, rr)
			ttl = min(ttl, recordTTL(h))
		}
	}
	if len(out.records) == 0 {
		out.err, out.expires = ErrNoData, now.Add(min(ttl, negativeTTL(reply)))
		return out
	}
	out.expires = now.Add(ttl)
	return out
}

// failure is the outcome of trouble: kept for a second, so that ten thousand
// messages to one broken domain do not ask ten thousand times at once.
func failure(err error, now time.Time) *outcome {
	return &outcome{err: err, expires: now.Add(failureTTL)}
}

// followChain walks the CNAMEs of an answer section from the name asked for to
// the name that owns the records, and returns it with the shortest TTL passed.
func followChain(q question, reply *mdns.Msg) (owner string, ttl time.Duration, err error) {
	owner, ttl = mdns.Fqdn(q.name), maxTTL
	if q.qtype == mdns.TypeCNAME {
		return owner, ttl, nil
	}
	alias := make(map[string]*mdns.CNAME)
	for _, rr := range reply.Answer {
		if cname, ok := rr.(*mdns.CNAME); ok && cname.Hdr.Class == mdns.ClassINET {
			alias[mdns.CanonicalName(cname.Hdr.Name)] = cname
		}
	}
	for n := 0; ; n++ {
		cname, ok := alias[owner]
		if !ok {
			return owner, ttl, nil
		}
		if n == maxChain {
			return "", 0, fmt.Errorf("more than %d CNAME records in a row", maxChain)
		}
		owner, ttl = mdns.CanonicalName(cname.Target), min(ttl, recordTTL(&cname.Hdr))
	}
}

// recordTTL reads a TTL with its first bit set as zero, RFC 2181 8.
func recordTTL(h *mdns.RR_Header) time.Duration {
	if h.Ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(h.Ttl) * time.Second
}

// negativeTTL is how long absence may be remembered: the lesser of the SOA's
// TTL and its minimum, and not at all without a SOA. RFC 2308 5.
func negativeTTL(reply *mdns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*mdns.SOA); ok {
			return min(recordTTL(&soa.Hdr), time.Duration(soa.Minttl)*time.Second, maxNegativeTTL)
		}
	}
	return 0
}
