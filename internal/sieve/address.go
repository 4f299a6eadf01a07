package sieve

import (
	"slices"
	"strings"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// addressParts are the tags that say which part of an address is meant: RFC
// 5228 2.7.4, and subaddress (RFC 5233 3).
var addressParts = map[string]tagRule{
	"all": {}, "localpart": {}, "domain": {}, "user": {extension: "subaddress"}, "detail": {extension: "subaddress"},
}

func (p *params) addressPart() string {
	if part := p.only("all", "localpart", "domain", "user", "detail"); part != "" {
		return part
	}
	return "all"
}

// part returns a part of an address. ok is false for the detail of an address
// that has none.
func (r *run) part(part string, a smtp.Address) (s string, ok bool) {
	user, detail, has := strings.Cut(a.Local, r.env.Separator)
	switch part {
	case "localpart":
		return a.Local, true
	case "domain":
		return a.Domain, true
	case "user":
		return user, true
	case "detail":
		return detail, has
	}
	return a.String(), true
}

// addressFields are the fields that the address test may be asked about: RFC
// 5228 5.1 wants it restricted to fields that hold addresses.
var addressFields = []string{
	"from", "to", "cc", "bcc", "sender", "reply-to", "resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-sender", "resent-reply-to",
	"return-path", "delivered-to", "x-original-to", "envelope-to", "apparently-to", "errors-to", "disposition-notification-to", "return-receipt-to",
	"mail-followup-to", "mail-reply-to", "x-beenthere", "x-forwarded-to", "x-forwarded-for", "abuse-reports-to",
}

// address compiles the test of RFC 5228 5.1. Groups are passed over, display
// names and comments do not count.
func (c *compiler) address(n node) (check, error) {
	p := c.params(n, tagsOf(matching, addressParts, indexed), 2, 2)
	names, m, part, pos := p.list(0), p.matcher(1), p.addressPart(), p.position()
	for _, name := range names {
		if name.fixed() && p.err == nil && !slices.Contains(addressFields, strings.ToLower(name.constant)) {
			p.fail(n.line, "the field %q holds no addresses; use the header test", name.constant)
		}
	}
	return func(r *run) (bool, error) {
		return m.any(r, func(yield func(string) bool) {
			for _, name := range values(r, names) {
				for _, f := range pos.pick(r.header.named(name)) {
					if !r.addresses(f.value, part, yield) {
						return
					}
				}
			}
		})
	}, p.err
}

// addresses yields a part of each address of a field.
func (r *run) addresses(value, part string, yield func(string) bool) bool {
	for _, a := range message.Addresses(value) {
		if a.Group != message.NoMark || a.Mailbox == "" {
			continue
		}
		if s, ok := r.part(part, smtp.Address{Local: a.Mailbox, Domain: a.Host}); ok && !yield(strings.TrimSuffix(s, "@")) {
			return false
		}
	}
	return true
}

// envelope compiles the test of RFC 5228 5.4. The null reverse-path is the
// empty string, whatever part is asked for.
func (c *compiler) envelope(n node) (check, error) {
	p := c.params(n, tagsOf(matching, addressParts), 2, 2)
	p.need("envelope")
	names, m, part := p.list(0), p.matcher(1), p.addressPart()
	for _, name := range names {
		if name.fixed() && p.err == nil && !slices.Contains([]string{"from", "to", "auth"}, strings.ToLower(name.constant)) {
			p.fail(n.line, `the envelope has no %q: "from", "to" and "auth" can be asked for`, name.constant)
		}
	}
	return func(r *run) (bool, error) {
		return m.any(r, func(yield func(string) bool) {
			for _, name := range values(r, names) {
				if s, ok := r.envelopePart(strings.ToLower(name), part); ok && !yield(s) {
					return
				}
			}
		})
	}, p.err
}

func (r *run) envelopePart(name, part string) (s string, ok bool) {
	switch name {
	case "from":
		if r.env.From.IsNull() {
			return "", true
		}
		return r.part(part, r.env.From)
	case "to":
		return r.part(part, r.env.To)
	case "auth":
		return r.env.Auth, r.env.Auth != ""
	}
	return "", false
}
