package imapd

import (
	"slices"

	"buzon/maildir"
)

// closeMailbox is CLOSE (RFC 9051 6.4.1): messages marked \Deleted go without a word, unless the
// mailbox is open for reading only.
func (s *session) closeMailbox(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	if s.refreshRights() == nil && !s.view.readOnly && s.view.rights.Has(mayRead|maildir.RightExpunge) { // RFC 4314 4
		before := s.view.box.State()
		gone, err := s.expungeDeleted(nil)
		if err != nil {
			return err
		}
		if len(gone) > 0 {
			s.expungedOnly(before, gone)
			r.code = s.highestModSeqCode() // RFC 7162 3.2.8
		}
	}
	s.closeView()
	return nil
}

// expungedOnly takes the client to know the newest state, if it knew all of before and nothing but
// the expunge of gone, which were marked as it knows, has happened since: no VANISHED comes with CLOSE.
func (s *session) expungedOnly(before *maildir.State, gone []maildir.UID) {
	v := s.view
	if v.state != before || len(v.held) > 0 {
		return
	}
	after := v.box.State()
	ch := v.box.Changes(before, after)
	if len(ch.Changed)+len(ch.Added) == 0 && slices.Equal(ch.Vanished, gone) {
		v.advance(after)
	}
}

// unselect is UNSELECT (RFC 9051 6.4.2, RFC 3691).
func (s *session) unselect(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.closeView()
	return nil
}
