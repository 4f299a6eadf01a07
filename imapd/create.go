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
	name = wire.FoldInbox(strings.TrimSuffix(name, "/"))
	if err := s.user.Create(s.ctx, name, use); err != nil {
		return err
	}
	if err := s.createParents(name); err != nil {
		return err
	}
	if st, err := s.user.Status(s.ctx, name); err == nil && st.MailboxID != "" {
		r.code = "MAILBOXID (" + st.MailboxID + ")" // RFC 8474 4.1
	}
	return nil
}

// createParents makes the names above name mailboxes as well, as RFC 9051 6.3.4 would have it.
func (s *session) createParents(name string) error {
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return nil
		}
		name = name[:i]
		if err := s.user.Create(s.ctx, name, ""); errors.Is(err, maildir.ErrExists) || errors.Is(err, maildir.ErrInbox) {
			return nil
		} else if err != nil {
			return err
		}
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
