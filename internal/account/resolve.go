package account

import (
	"slices"
	"strings"

	"buzon/internal/smtp"
)

// Target is an account that an address leads to.
type Target struct {
	Account ID
	Detail  string       // what follows the separator, as written: "+Lists" is "Lists"
	Via     smtp.Address // the address that was resolved, before aliases
}

// Route is where mail for an address goes.
type Route struct {
	Targets []Target       // accounts, each once
	Outside []smtp.Address // to be forwarded to, each once
}

// Resolve returns the accounts that mail for a goes to, each once, at least
// one. The error is ErrNotLocal or ErrNoSuchUser.
func (d *Directory) Resolve(a smtp.Address) ([]Target, error) {
	route, err := d.Route(a)
	if err == nil && len(route.Targets) == 0 {
		err = ErrNoSuchUser
	}
	return route.Targets, err
}

// Route returns everything that mail for a goes to, at least one account or
// address. The error is ErrNotLocal or ErrNoSuchUser.
func (d *Directory) Route(a smtp.Address) (Route, error) {
	s := d.snapshot()
	r := resolver{s: s, via: a}
	dom, ours := s.domains[strings.ToLower(a.Domain)]
	switch {
	case ours:
		r.address(keyOf(a), a.Local)
		if !r.found() {
			r.role(a.Local, dom)
		}
		if !r.found() && dom.catchAll != "" {
			r.address(dom.catchAll, dom.catchAll.local())
		}
	case d.isHost(a):
		// RFC 5321 4.5.1: postmaster is reachable at every name of the host,
		// and with no domain at all. We cannot know our public addresses
		// behind NAT, so that every literal counts; nothing else does there.
		r.role(a.Local, domain{})
	}
	switch {
	case r.found():
		return Route{r.targets, r.outside}, nil
	case ours || strings.EqualFold(a.Domain, d.hostname):
		return Route{}, ErrNoSuchUser
	}
	return Route{}, ErrNotLocal
}

// Separator is what stands between user and detail in a local part.
func (d *Directory) Separator() string { return d.separator }

// Owns reports whether the account may send as a: its own address with any
// detail, or an alias that leads to it. A catch-all gives no ownership.
func (d *Directory) Owns(id ID, a smtp.Address) bool {
	s := d.snapshot()
	r := resolver{s: s}
	dom, ours := s.domains[strings.ToLower(a.Domain)]
	switch {
	case ours:
		r.address(keyOf(a), a.Local)
		if len(r.targets) == 0 {
			r.role(a.Local, dom)
		}
	case a.Domain != "" && d.isHost(a):
		r.role(a.Local, domain{})
	}
	return slices.ContainsFunc(r.targets, func(t Target) bool { return t.Account == id })
}

// isHost reports whether a's domain may mean this host rather than a domain.
func (d *Directory) isHost(a smtp.Address) bool {
	return a.Domain == "" && a.Local != "" || strings.HasPrefix(a.Domain, "[") || strings.EqualFold(a.Domain, d.hostname)
}

// resolver follows one address through the aliases.
type resolver struct {
	s       *snapshot
	via     smtp.Address
	seen    []key // aliases on the way and behind us: none is followed twice
	targets []Target
	outside []smtp.Address
}

func (r *resolver) found() bool { return len(r.targets)+len(r.outside) > 0 }

// address adds what k leads to. written is its local part before folding.
func (r *resolver) address(k key, written string) {
	if len(r.seen) > maxMembers {
		return
	}
	if _, ours := r.s.domains[k.domain()]; !ours {
		if a := k.address(); !slices.Contains(r.outside, a) && len(r.outside) < maxMembers {
			r.outside = append(r.outside, a)
		}
		return
	}
	base, detail := r.s.split(k, written)
	for _, name := range []key{k, base} {
		a, ok := r.s.aliases[name]
		if !ok || slices.Contains(r.seen, name) {
			continue
		}
		r.seen = append(r.seen, name)
		for _, member := range a.members {
			local := member.local()
			_, ours := r.s.domains[member.domain()]
			if _, own := r.s.split(member, local); ours && own == "" && detail != "" && name == base {
				local += r.s.separator + detail
				member = key(fold(local) + "@" + member.domain())
			}
			r.address(member, local)
		}
		return
	}
	if _, ok := r.s.accounts[ID(k)]; ok {
		r.add(ID(k), "")
	} else if _, ok := r.s.accounts[ID(base)]; ok {
		r.add(ID(base), detail)
	}
}

func (r *resolver) add(id ID, detail string) {
	if !slices.ContainsFunc(r.targets, func(t Target) bool { return t.Account == id }) {
		r.targets = append(r.targets, Target{Account: id, Detail: detail, Via: r.via})
	}
}

// role adds who reads postmaster and abuse (RFC 5321 4.5.1, RFC 2142): the
// configured address when it leads anywhere, else the oldest account.
func (r *resolver) role(local string, dom domain) {
	if name := strings.ToLower(local); name != "postmaster" && name != "abuse" {
		return
	}
	if dom.name == "" { // the host itself: its first domain answers
		dom = r.s.firstDomain()
	}
	if dom.postmaster != "" {
		r.address(dom.postmaster, dom.postmaster.local())
	}
	for _, of := range []string{dom.name, ""} {
		if id := r.s.oldest[of]; id != "" && len(r.targets) == 0 {
			r.add(id, "")
		}
	}
}

// split takes the detail off an address: the name before the first separator,
// and what follows it as written.
func (s *snapshot) split(k key, written string) (base key, detail string) {
	name, _, found := strings.Cut(k.local(), s.separator)
	if !found || name == "" {
		return k, ""
	}
	_, detail, _ = strings.Cut(written, s.separator)
	return key(name + "@" + k.domain()), detail
}

// exists reports whether an address leads anywhere but a catch-all.
func (s *snapshot) exists(k key) bool {
	r := resolver{s: s}
	r.address(k, k.local())
	return r.found()
}

func (s *snapshot) firstDomain() domain {
	for _, dom := range s.domains {
		if dom.first {
			return dom
		}
	}
	return domain{}
}
