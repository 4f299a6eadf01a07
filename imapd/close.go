package imapd

import "buzon/maildir"

// closeMailbox is CLOSE (RFC 9051 6.4.1): messages marked \Deleted go without a word, unless the
// mailbox is open for reading only.
func (s *session) closeMailbox(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	if s.refreshRights() == nil && !s.view.readOnly && s.view.rights.Has(mayRead|maildir.RightExpunge) { // RFC 4314 4
		gone, err := s.expungeDeleted(nil)
		if err != nil {
			return err
		}
		if len(gone) > 0 {
			r.code = s.highestModSeqCode() // RFC 7162 3.2.8
		}
	}
	s.closeView()
	return nil
}

// unselect is UNSELECT (RFC 9051 6.4.2, RFC 3691).
func (s *session) unselect(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.closeView()
	return nil
}
