package imapd

import (
	"errors"
	"strings"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// rename is RENAME (RFC 9051 6.3.6). Renaming INBOX moves its messages, which the store does.
func (s *session) rename(r *request) error {
	from := r.SP().Mailbox()
	to := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	to = wire.FoldInbox(strings.TrimSuffix(to, "/"))
	src, _, err := s.permitted(from, r.needs.mailbox)
	if errors.Is(err, maildir.ErrNotFound) && src.user != nil && !src.guest {
		err = nil // a name without a mailbox, which may have some below it
	}
	if err != nil {
		return err
	}
	dst, err := s.locateNew(r, to)
	switch {
	case err != nil:
		return err
	case dst.user != src.user:
		return no("CANNOT", "Mailboxes stay with their account")
	case src.guest && src.name == "INBOX":
		return maildir.ErrInbox
	}
	if err := src.user.Rename(s.ctx, src.name, dst.name); err != nil {
		return err
	}
	if src.name != "INBOX" { // RFC 5465 5.4: a renamed INBOX is a new mailbox
		s.srv.sessions.renamed(s, src, dst)
	}
	if err := s.createParents(dst, false); err != nil {
		return err
	}
	if v := s.view; v != nil && from != "INBOX" && (v.name == from || strings.HasPrefix(v.name, from+"/")) {
		v.name = to + v.name[len(from):]
	}
	return nil
}
