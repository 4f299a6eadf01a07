package sieve

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buzon/internal/smtp"
)

func (c *compiler) stop(n node) (step, error) {
	return func(*run) error { return errStop }, c.params(n, nil, 0, 0).err
}

// discard cancels the implicit keep and does nothing else (RFC 5228 4.4).
func (c *compiler) discard(n node) (step, error) {
	return func(r *run) error {
		r.keep = false
		return nil
	}, c.params(n, nil, 0, 0).err
}

// filing are the tags that say with which flags a message is filed (RFC 5232 5).
var filing = map[string]tagRule{"flags": {aList, "imap4flags"}}

// flagsNow returns the flags that an action files with: those of its tag, or
// those of the internal variable.
func (p *params) flagsNow() func(*run) []string {
	if !p.has("flags") {
		return func(r *run) []string { return r.flags }
	}
	list := p.tagList("flags")
	return func(r *run) []string { return splitFlags(values(r, list)) }
}

// keep files where mail goes by default (RFC 5228 4.3).
func (c *compiler) keep(n node) (step, error) {
	p := c.params(n, filing, 0, 0)
	flags := p.flagsNow()
	return func(r *run) error {
		r.keep = false
		return r.file(Filing{Flags: flags(r)})
	}, p.err
}

// fileinto compiles the action of RFC 5228 4.1 with :copy (RFC 3894), :create
// (RFC 5490 3.2) and :specialuse (RFC 8579 4).
func (c *compiler) fileinto(n node) (step, error) {
	p := c.params(n, tagsOf(filing, map[string]tagRule{
		"copy": {extension: "copy"}, "create": {extension: "mailbox"}, "specialuse": {aString, "special-use"},
	}), 1, 1)
	p.need("fileinto")
	mailbox, flags, use := p.text(0), p.flagsNow(), p.tagText("specialuse")
	isCopy, create := p.has("copy"), p.has("create")
	return func(r *run) error {
		name := mailbox.value(r)
		if err := checkMailbox(name); err != nil {
			return err
		}
		if u := use.value(r); u != "" && r.env.Mailboxes != nil {
			if found := r.env.Mailboxes.WithUse(r.ctx, u); found != "" {
				name = found
			}
		}
		r.keep = r.keep && isCopy
		return r.file(Filing{Mailbox: name, Create: create, Flags: flags(r)})
	}, p.err
}

func checkMailbox(name string) error {
	switch {
	case name == "":
		return errors.New("fileinto: the name of the mailbox is empty")
	case len(name) > 1000:
		return fmt.Errorf("%w: fileinto: the name of the mailbox is too long", ErrLimit)
	case strings.ContainsAny(name, "\x00\r\n"):
		return fmt.Errorf("fileinto: %q cannot be a mailbox", name)
	}
	return nil
}

var errRefused = errors.New("a message that is rejected cannot be kept, filed, redirected or answered too (RFC 5429 2.4)")

// file adds a filing. A message is put into a mailbox once (RFC 5228 2.10.3),
// with all the flags that were asked for.
func (r *run) file(f Filing) error {
	if r.outcome.Rejection != nil {
		return errRefused
	}
	f.Header = r.header.bytes()
	for i := range r.outcome.Filings {
		if same := &r.outcome.Filings[i]; sameMailbox(same.Mailbox, f.Mailbox) {
			same.Flags = addFlags(same.Flags, f.Flags)
			same.Create = same.Create || f.Create
			return nil
		}
	}
	if len(r.outcome.Filings) == maxFilings {
		return fmt.Errorf("%w: more than %d mailboxes", ErrLimit, maxFilings)
	}
	f.Flags = slices.Clone(f.Flags)
	r.outcome.Filings = append(r.outcome.Filings, f)
	return nil
}

func sameMailbox(a, b string) bool {
	isInbox := func(name string) bool { return name == "" || strings.EqualFold(name, "INBOX") }
	return a == b || isInbox(a) && isInbox(b)
}

// redirect compiles the action of RFC 5228 4.2.
func (c *compiler) redirect(n node) (step, error) {
	p := c.params(n, map[string]tagRule{"copy": {extension: "copy"}}, 1, 1)
	to, isCopy := p.text(0), p.has("copy")
	if to.fixed() && p.err == nil {
		if _, err := parseAddress(to.constant); err != nil {
			p.fail(n.line, "redirect: %v", err)
		}
	}
	return func(r *run) error {
		a, err := parseAddress(to.value(r))
		if err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		if r.outcome.Rejection != nil {
			return errRefused
		}
		r.keep = r.keep && isCopy
		for _, other := range r.outcome.Redirects {
			if other.To.Equal(a) {
				return nil
			}
		}
		if len(r.outcome.Redirects) == MaxRedirects {
			return fmt.Errorf("%w: more than %d redirects", ErrLimit, MaxRedirects)
		}
		r.outcome.Redirects = append(r.outcome.Redirects, Redirect{To: a, Header: r.header.bytes()})
		return nil
	}, p.err
}

// parseAddress reads an address of a script: RFC 5228 2.4.2.3 allows no more
// than the address itself.
func parseAddress(s string) (smtp.Address, error) {
	a, err := smtp.ParseAddress(strings.TrimSpace(s))
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("%q has no domain", s)
	}
	return a, err
}

// reject compiles reject and ereject (RFC 5429 2.1, 2.2).
func (c *compiler) reject(n node) (step, error) {
	p := c.params(n, nil, 1, 1)
	p.need(n.name)
	reason, extended := p.text(0), n.name == "ereject"
	return func(r *run) error {
		o := &r.outcome
		if o.Rejection != nil || o.Vacation != nil || len(o.Filings) > 0 || len(o.Redirects) > 0 {
			return errRefused
		}
		text := reason.value(r)
		if len(text) > maxReason {
			return fmt.Errorf("%w: the reason is too long", ErrLimit)
		}
		r.keep = false
		o.Rejection = &Rejection{Reason: text, Extended: extended}
		return nil
	}, p.err
}
