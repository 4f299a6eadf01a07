package imapd

import (
	"strings"

	"buzon/imapd/wire"
)

// rename is RENAME (RFC 9051 6.3.6). Renaming INBOX moves its messages, which the store does.
func (s *session) rename(r *request) error {
	from := r.SP().Mailbox()
	to := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	to = wire.FoldInbox(strings.TrimSuffix(to, "/"))
	if err := s.user.Rename(s.ctx, from, to); err != nil {
		return err
	}
	if err := s.createParents(to); err != nil {
		return err
	}
	if v := s.view; v != nil && from != "INBOX" && (v.name == from || strings.HasPrefix(v.name, from+"/")) {
		v.name = to + v.name[len(from):]
	}
	return nil
}
