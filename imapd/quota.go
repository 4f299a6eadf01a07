package imapd

import (
	"buzon/maildir"
)

// Quotas are RFC 9208: one root, named "", that all mailboxes of the user have. Limits are set by
// the administrator, not over IMAP.

// getQuota is GETQUOTA.
func (s *session) getQuota(r *request) error {
	root := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	if root != "" {
		return no("NONEXISTENT", "No such quota root")
	}
	return s.writeQuota()
}

// getQuotaRoot is GETQUOTAROOT. A mailbox that does not exist yet would have the same root.
func (s *session) getQuotaRoot(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	s.enc.Raw("* QUOTAROOT ").Mailbox(name).Raw(" \"\"\r\n")
	return s.writeQuota()
}

// setQuota is SETQUOTA, which users may not.
func (s *session) setQuota(r *request) error {
	r.SP().AString()
	r.SP().List(func() {
		r.Atom()
		r.SP().Number64()
	})
	if err := r.End(); err != nil {
		return err
	}
	return no("NOPERM", "Quotas are set by the administrator")
}

func (s *session) writeQuota() error {
	q, err := s.user.Quota(s.ctx)
	if err != nil {
		return err
	}
	s.enc.Raw(`* QUOTA "" (`)
	if q.BytesLimit > 0 { // in units of 1024 octets, RFC 9208 5.1
		s.enc.Raw("STORAGE ").Raw(number((q.Bytes + 1023) / 1024)).SP().Raw(number(q.BytesLimit / 1024))
	}
	if q.MessagesLimit > 0 {
		if q.BytesLimit > 0 {
			s.enc.SP()
		}
		s.enc.Raw("MESSAGE ").Raw(number(q.Messages)).SP().Raw(number(q.MessagesLimit))
	}
	s.enc.Raw(")\r\n")
	return nil
}

// deletedStorage is what an EXPUNGE of the mailbox would give back (RFC 9208 4.1.4).
func (s *session) deletedStorage(name string) (int64, error) {
	box, err := s.user.Open(s.ctx, name)
	if err != nil {
		return 0, err
	}
	defer box.Close()
	st := box.State()
	var sum int64
	for i := range st.Len() {
		if st.Message(i).Flags&maildir.FlagDeleted == 0 {
			continue
		}
		size, err := st.Size(i)
		if err != nil && !isGone(err) {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}
