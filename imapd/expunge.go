package imapd

import (
	"strconv"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// expunge is EXPUNGE (RFC 9051 6.4.3).
func (s *session) expunge(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	return s.runExpunge(r, nil)
}

// uidExpunge is UID EXPUNGE (RFC 9051 6.4.9, RFC 4315 2.1): of the messages marked \Deleted only
// those that are named.
func (s *session) uidExpunge(r *request) error {
	set := r.SP().Set()
	if err := r.End(); err != nil {
		return err
	}
	ss, err := s.find(set, true)
	if err != nil {
		return err
	}
	if ss == nil {
		ss = spans{}
	}
	return s.runExpunge(r, ss)
}

func (s *session) runExpunge(r *request, within spans) error {
	if s.view.readOnly {
		return errReadOnly
	}
	gone, err := s.expungeDeleted(within)
	if err != nil || len(gone) == 0 {
		return err
	}
	r.tellsModSeq = true // RFC 7162 3.2.7
	return nil
}

// errReadOnly answers what EXAMINE does not allow.
var errReadOnly = no("READ-ONLY", "The mailbox is open for reading only")

// expungeDeleted removes the messages marked \Deleted, of within or, where that is nil, of the
// whole mailbox.
func (s *session) expungeDeleted(within spans) ([]maildir.UID, error) {
	v := s.view
	st := v.box.State()
	if st.Deleted() == 0 {
		return nil, nil
	}
	var uids []maildir.UID
	add := func(m maildir.Message) {
		if m.Flags&maildir.FlagDeleted != 0 {
			uids = append(uids, m.UID)
		}
	}
	if within == nil {
		for i := range st.Len() {
			add(st.Message(i))
		}
	} else {
		for i := range within.all() {
			if at, ok := st.Find(v.uids[i]); ok {
				add(st.Message(at))
			}
		}
	}
	if len(uids) == 0 {
		return nil, nil
	}
	return v.box.Expunge(s.ctx, uids)
}

// copyUID is the response code COPYUID (RFC 9051 7.1): the sets are paired in order.
func copyUID(c maildir.CopyResult) string {
	b := []byte("COPYUID ")
	b = strconv.AppendUint(b, uint64(c.UIDValidity), 10)
	b = wire.AppendList(append(b, ' '), c.Src)
	b = wire.AppendList(append(b, ' '), c.Dst)
	return string(b)
}
