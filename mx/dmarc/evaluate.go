package dmarc

import (
	"context"
	"strings"

	"buzon/mx/dns"
)

// Policy is the policy that applies to an Author Domain.
type Policy struct {
	Author    string // the Author Domain
	Org       string // its Organizational Domain; "" when trouble hides it
	Domain    string // where the record stands
	Record    Record
	Requested Disposition // of p, sp and np the one that applies
	Walked    bool        // the record was found above the Author Domain
}

// Discover finds the policy for an Author Domain, which must be as dns.Name
// has it. A nil Policy without an error means that DMARC does not apply.
func Discover(ctx context.Context, r Resolver, author string) (*Policy, error) {
	steps := walk(ctx, r, author)
	org, trouble := organizational(steps)
	if steps[0].err != nil {
		return nil, steps[0].err
	}
	p := &Policy{Author: author, Org: org}
	if trouble != nil {
		p.Org = ""
	}
	if steps[0].found {
		p.Domain, p.Record, p.Requested = author, steps[0].record, steps[0].record.Policy
		return p, nil
	}
	if trouble != nil {
		return nil, trouble
	}
	for _, s := range steps { // the Organizational Domain before the public suffix, which is above it
		if s.found && (s.domain == org || s.record.Suffix == 'y') {
			p.Domain, p.Record, p.Walked = s.domain, s.record, true
			break
		}
	}
	if p.Domain == "" {
		return nil, nil
	}
	there, err := exists(ctx, r, author)
	if err != nil {
		// Nobody can tell whether np or sp counts; where they agree it does
		// not matter, and where they differ the milder one is the safe guess.
		there = milder(p.Record.below(true), p.Record.below(false)) == p.Record.below(true)
	}
	p.Requested = p.Record.below(there)
	return p, nil
}

// below is the disposition for a subdomain of the record's domain.
func (rec Record) below(exists bool) Disposition {
	switch {
	case !exists && rec.Nonexistent != "":
		return rec.Nonexistent
	case rec.Subdomains != "":
		return rec.Subdomains
	}
	return rec.Policy
}

func milder(a, b Disposition) Disposition {
	rank := map[Disposition]int{None: 0, Quarantine: 1, Reject: 2}
	if rank[a] <= rank[b] {
		return a
	}
	return b
}

// Result is one of the words of RFC 8601 and RFC 9989 for the outcome.
type Result string

// The results. Where no policy applies there is ResultNone.
const (
	ResultPass      Result = "pass"
	ResultFail      Result = "fail"
	ResultNone      Result = "none"
	ResultTempError Result = "temperror"
	ResultPermError Result = "permerror"
)

// Identifier is a domain that SPF or DKIM has something to say about.
type Identifier struct {
	Domain string
	Passed bool
	Temp   bool // trouble hides whether it passed
}

// Outcome is what the identifiers of a message come to under a policy.
type Outcome struct {
	Result Result
	DKIM   bool // an aligned signature passed
	SPF    bool // the aligned reverse-path passed
}

// Evaluate tells whether one of the identifiers that passed is aligned with
// the Author Domain (RFC 9989 4.4). Where none did, and trouble may be the
// reason, the result is temperror.
func (p *Policy) Evaluate(ctx context.Context, r Resolver, spf Identifier, dkim []Identifier) Outcome {
	var out Outcome
	trouble := false
	check := func(id Identifier, strict bool) bool {
		if !id.Passed && !id.Temp {
			return false
		}
		aligned, err := p.aligned(ctx, r, id.Domain, strict)
		trouble = trouble || err != nil || aligned && id.Temp
		return aligned && id.Passed
	}
	out.SPF = check(spf, p.Record.StrictSPF)
	for _, id := range dkim {
		out.DKIM = check(id, p.Record.StrictDKIM) || out.DKIM
	}
	switch {
	case out.SPF || out.DKIM:
		out.Result = ResultPass
	case trouble:
		out.Result = ResultTempError
	default:
		out.Result = ResultFail
	}
	return out
}

// aligned compares a domain with the Author Domain: exactly, or by their
// Organizational Domains.
func (p *Policy) aligned(ctx context.Context, r Resolver, domain string, strict bool) (bool, error) {
	domain, err := dns.Name(domain)
	if err != nil {
		return false, nil
	}
	if domain == p.Author || strict {
		return domain == p.Author, nil
	}
	// Names that share no label on top share no Organizational Domain either,
	// and need no questions.
	if lastLabel(domain) != lastLabel(p.Author) {
		return false, nil
	}
	author := p.Org
	if author == "" {
		if author, err = Organizational(ctx, r, p.Author); err != nil {
			return false, err
		}
	}
	org, err := Organizational(ctx, r, domain)
	return org == author, err
}

func lastLabel(domain string) string { return domain[strings.LastIndexByte(domain, '.')+1:] }
