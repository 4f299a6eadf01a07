package dmarc

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"

	"buzon/mx/dns"
)

// Resolver is what of mx/dns is asked. Errors are final or temporary as
// dns.NotFound says.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
	MX(ctx context.Context, domain string) ([]dns.MX, dns.Answer, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Answer, error)
}

// maxWalk is how many names one walk asks for: longer names are cut to seven
// labels after the first question (RFC 9989 4.10).
const maxWalk = 8

// step is one name of a walk, and what stands there.
type step struct {
	domain string
	record Record
	found  bool
	err    error // temporary: nothing is known
}

// walkNames lists the names that a walk from domain asks for, itself first.
func walkNames(domain string) []string {
	names := []string{domain}
	labels := strings.Split(domain, ".")
	rest := labels[1:]
	if len(labels) >= maxWalk {
		rest = labels[len(labels)-(maxWalk-1):]
	}
	for ; len(rest) > 0; rest = rest[1:] {
		names = append(names, strings.Join(rest, "."))
	}
	return names
}

// walk asks for the policy records of a domain and of those above it, up to
// the first that says psd=y or psd=n. All questions go out at once.
func walk(ctx context.Context, r Resolver, domain string) []step {
	names := walkNames(domain)
	steps := make([]step, len(names))
	var questions sync.WaitGroup
	for i, name := range names {
		questions.Go(func() { steps[i] = lookup(ctx, r, name) })
	}
	questions.Wait()
	for i, s := range steps {
		if s.found && s.record.Suffix != 'u' {
			return steps[:i+1]
		}
	}
	return steps
}

// lookup finds the policy record at one name. Where there are several, there
// is none.
func lookup(ctx context.Context, r Resolver, domain string) step {
	s := step{domain: domain}
	texts, _, err := r.TXT(ctx, "_dmarc."+domain)
	if err != nil {
		if !dns.NotFound(err) {
			s.err = err
		}
		return s
	}
	policies := 0
	for _, text := range texts {
		if isPolicy(text) {
			policies++
			s.record, s.found = Parse(text)
		}
	}
	if policies > 1 {
		s.record, s.found = Record{}, false
	}
	return s
}

// organizational selects the Organizational Domain from a walk (RFC 9989
// 4.10.2). The error says that trouble hides it.
func organizational(steps []step) (string, error) {
	top := steps[0].domain
	var trouble error
	for i, s := range steps {
		switch {
		case s.err != nil:
			trouble = errors.Join(trouble, s.err)
		case !s.found:
		case s.record.Suffix == 'n':
			return s.domain, nil
		case s.record.Suffix == 'y' && i > 0:
			return oneBelow(steps[0].domain, s.domain), nil
		case s.record.Suffix == 'y':
		default:
			top = s.domain // the one with the fewest labels stays
		}
	}
	return top, trouble
}

// oneBelow returns the name below suffix on the way to domain.
func oneBelow(domain, suffix string) string {
	rest := strings.TrimSuffix(domain, "."+suffix)
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		rest = rest[i+1:]
	}
	return rest + "." + suffix
}

// Organizational returns the Organizational Domain of a domain, in the form of
// dns.Name. The error is about trouble with the DNS.
func Organizational(ctx context.Context, r Resolver, domain string) (string, error) {
	name, err := dns.Name(domain)
	if err != nil {
		return "", err
	}
	return organizational(walk(ctx, r, name))
}

// exists reports whether a domain has any of the records that make it one
// (RFC 9989 3.2.13: an A, AAAA or MX record).
func exists(ctx context.Context, r Resolver, domain string) (bool, error) {
	_, _, err := r.MX(ctx, domain)
	if err == nil {
		return true, nil
	}
	if _, _, e := r.Addrs(ctx, domain); e == nil {
		return true, nil
	} else if !dns.NotFound(e) {
		return false, e
	}
	if !dns.NotFound(err) {
		return false, err
	}
	return false, nil
}
