package imapd

import (
	"buzon/imapd/wire"
	"buzon/maildir"
)

// replace is REPLACE and UID REPLACE (RFC 8508): the new message is there before the old one goes.
func (s *session) replace(r *request) error {
	r.SP()
	set := wire.Set{}
	if r.Peek() == '$' {
		r.Fail("expected one message")
	} else {
		set = r.Set()
	}
	name := r.SP().Mailbox()
	if err := r.SP().Err(); err != nil {
		return err
	}
	ss, err := s.find(set, r.uid)
	if err != nil {
		return err
	}
	uids, gone := s.view.uidsOf(ss)
	switch {
	case gone:
		return maildir.ErrExpunged
	case len(uids) != 1:
		return no("", "No such message") // RFC 8508 3.3
	case s.view.readOnly:
		return errReadOnly
	}
	box, _, have, err := s.openNamed(r, name)
	if err != nil {
		return tryCreate(err)
	}
	defer box.Close()
	m, err := s.readAppend(r, box.User(), have.LockedFlags())
	if err != nil {
		return err
	}
	if err := r.End(); err != nil {
		m.Staged.Discard()
		return err
	}
	added, err := box.Append(s.ctx, []maildir.Append{m})
	if err != nil {
		m.Staged.Discard()
		return err
	}
	if _, err := s.view.box.Expunge(s.ctx, uids); err != nil {
		return err
	}
	s.enc.Raw("* OK [").Raw(appendUID(box, added)).Raw("] Replacement is there\r\n") // RFC 8508 3.4: before the EXPUNGE
	r.tellsModSeq = true
	return nil
}
