package imapd

import (
	"errors"
	"slices"
	"strings"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// specialUses are the attributes that CREATE may ask for (RFC 6154 3); \All and \Flagged would be
// views, which a Maildir has none of.
var specialUses = []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`}

// create is CREATE (RFC 9051 6.3.4), with USE (RFC 6154 3).
func (s *session) create(r *request) error {
	name := r.SP().Mailbox()
	use, err := readUse(r)
	if err != nil {
		return err
	}
	if err := r.End(); err != nil {
		return err
	}
	// RFC 9051 6.3.4: a trailing separator only says that there will be children.
	p, err := s.locateNew(r, wire.FoldInbox(strings.TrimSuffix(name, "/")))
	if err != nil {
		return err
	}
	if err := p.user.Create(s.ctx, p.name, use); err != nil {
		return err
	}
	if err := s.createParents(p, true); err != nil {
		return err
	}
	if st, err := p.user.Status(s.ctx, p.name); err == nil && st.MailboxID != "" {
		r.code = "MAILBOXID (" + st.MailboxID + ")" // RFC 8474 4.1
	}
	return nil
}

// locateNew finds where a mailbox is to be made, and checks the right to do so.
func (s *session) locateNew(r *request, name string) (place, error) {
	p, err := s.locate(name)
	switch {
	case errors.Is(err, maildir.ErrNotFound):
		return p, errNoPermission // whether the account is there, and lets others in, is not said
	case err != nil:
		return p, err
	case !p.guest && (name == othersName || strings.HasPrefix(name, othersPrefix)):
		return p, no("CANNOT", "The name is for the mailboxes of others")
	}
	r.tree = p.owner
	if err := s.permitBelow(p, r.needs.parent); err != nil || !p.guest {
		return p, err
	}
	// That there is one already is not for those to hear who may not see it (RFC 4314 6).
	have, err := s.rights(p)
	if err == nil && !have.Has(maildir.RightLookup) {
		return p, errNoPermission
	}
	if errors.Is(err, maildir.ErrNotFound) {
		err = nil
	}
	return p, err
}

// createParents makes the names above a new mailbox mailboxes as well, as RFC 9051 6.3.4 would have
// it. What is new inherits the rights of what was there (RFC 4314 4); the mailbox itself does so when
// it is fresh.
func (s *session) createParents(p place, fresh bool) error {
	var made []string
	if fresh {
		made = append(made, p.name)
	}
	for name := p.name; ; {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return nil
		}
		name = name[:i]
		err := p.user.Create(s.ctx, name, "")
		switch {
		case errors.Is(err, maildir.ErrExists), errors.Is(err, maildir.ErrInbox):
			for _, child := range made {
				if err := p.user.InheritACL(s.ctx, name, child); err != nil {
					return err
				}
			}
			return nil
		case err != nil:
			return err
		}
		made = append(made, name)
	}
}

func readUse(r *request) (use string, err error) {
	if !r.Is(' ') {
		return "", nil
	}
	r.Expect('(')
	if r.Word() != "USE" {
		r.Fail("expected USE")
	}
	r.SP()
	uses := r.Flags()
	r.Expect(')')
	if r.Err() != nil || len(uses) == 0 {
		return "", nil
	}
	i := slices.IndexFunc(specialUses, func(known string) bool { return strings.EqualFold(known, uses[0]) })
	if i < 0 || len(uses) > 1 {
		return "", no("USEATTR", "No such special use")
	}
	return specialUses[i], nil
}
