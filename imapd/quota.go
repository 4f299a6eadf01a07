package imapd

import (
	"buzon/internal/account"
	"buzon/maildir"
)

// Quotas are RFC 9208: one root for each account, that all its mailboxes have; one's own is named "",
// that of others as they are. Limits are set by
// the administrator, not over IMAP.

// getQuota is GETQUOTA.
func (s *session) getQuota(r *request) error {
	root := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	if root == "" {
		return s.writeQuota(root, s.user)
	}
	if account.ID(root) != s.account.ID { // who may read a mailbox may know of its quota
		infos, err := s.sharedMailboxes()
		if err != nil {
			return err
		}
		for _, info := range infos {
			if p, _, err := s.permitted(info.Name, mayRead); err == nil && string(p.owner) == root {
				return s.writeQuota(root, p.user)
			}
		}
	}
	return no("NONEXISTENT", "No such quota root")
}

// getQuotaRoot is GETQUOTAROOT. A mailbox that does not exist yet would have the same root.
func (s *session) getQuotaRoot(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	p, err := s.locate(name)
	if err != nil {
		return err
	}
	root := ""
	if p.guest {
		if _, _, err := s.permitted(name, r.needs.mailbox); err != nil {
			return err
		}
		root = string(p.owner)
	}
	s.enc.Raw("* QUOTAROOT ").Mailbox(name).SP().String(root).CRLF()
	return s.writeQuota(root, p.user)
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

func (s *session) writeQuota(root string, user *maildir.User) error {
	q, err := user.Quota(s.ctx)
	if err != nil {
		return err
	}
	s.enc.Raw("* QUOTA ").String(root).Raw(" (")
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
func (s *session) deletedStorage(p place) (int64, error) {
	box, err := p.user.Open(s.ctx, p.name)
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
