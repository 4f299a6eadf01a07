package imapd

import (
	"slices"

	"buzon/maildir"
)

// copy is COPY and UID COPY (RFC 9051 6.4.7): all of the messages or none.
func (s *session) copy(r *request) error {
	src, dst, locked, err := s.readTransfer(r)
	if err != nil || len(src) == 0 {
		return err
	}
	defer dst.Close()
	done, err := s.view.box.CopyUnlocked(s.ctx, src, dst, locked)
	if err != nil {
		return err
	}
	if len(done.Dst) > 0 {
		r.code = copyUID(done)
	}
	return nil
}

// move is MOVE and UID MOVE (RFC 9051 6.4.8, RFC 6851).
func (s *session) move(r *request) error {
	src, dst, locked, err := s.readTransfer(r)
	if err != nil || len(src) == 0 {
		return err
	}
	defer dst.Close()
	if s.view.readOnly {
		return errReadOnly
	}
	done, err := s.view.box.MoveUnlocked(s.ctx, src, dst, locked)
	if err != nil {
		return err
	}
	if len(done.Dst) > 0 {
		// RFC 6851 4.3: before the EXPUNGE responses, which follow with the answer.
		s.enc.Raw("* OK [").Raw(copyUID(done)).Raw("] Moved\r\n")
		r.tellsModSeq = true
	}
	return nil
}

// readTransfer reads the arguments of COPY and MOVE and opens the destination, which the caller
// closes. Without messages to take there is none. Flags that are locked there do not come along.
func (s *session) readTransfer(r *request) (uids []maildir.UID, dst *maildir.Mailbox, locked maildir.LockedFlags, err error) {
	set := r.SP().Set()
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return nil, nil, locked, err
	}
	ss, err := s.find(set, r.uid)
	if err != nil {
		return nil, nil, locked, err
	}
	dst, _, have, err := s.openNamed(r, name)
	if err != nil { // before anything else that is not as it should be (RFC 9051 6.4.7)
		return nil, nil, locked, tryCreate(err)
	}
	uids, gone := s.view.uidsOf(ss)
	newest := s.view.box.State()
	gone = gone || slices.ContainsFunc(uids, func(uid maildir.UID) bool {
		_, ok := newest.Find(uid)
		return !ok
	})
	if gone && !r.uid { // RFC 2180 4.4.1; UIDs that no message has are passed over
		dst.Close()
		return nil, nil, locked, maildir.ErrExpunged
	}
	if len(uids) == 0 {
		dst.Close()
		r.text = "No messages found"
	}
	return uids, dst, have.LockedFlags(), nil
}
