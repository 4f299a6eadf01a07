package imapd

import (
	"buzon/maildir"
)

// What a command may do in the selected mailbox is looked up anew for each command, so that a right
// that is taken away is gone at once (RFC 4314 5.1.1).

// rightsToChange are those of which a mailbox that is opened READ-WRITE needs one (RFC 4314 5.2).
const rightsToChange = maildir.RightInsert | maildir.RightExpunge | maildir.RightSeen | maildir.RightWrite | maildir.RightDeleted

// refreshRights looks at the selected mailbox's access control list. A client whose rights have
// changed is told which flags it can change now.
func (s *session) refreshRights() error {
	v := s.view
	acl, err := v.box.ACL()
	if err != nil {
		return err
	}
	have := acl.Rights(string(s.account.ID), !v.guest)
	if have == v.rights {
		return nil
	}
	v.rights = have
	if have.Has(maildir.RightRead) {
		s.writeFlags()
	}
	return nil
}

// permitSelected checks the rights that a command needs on the selected mailbox; to read it is the
// least (RFC 4314 4).
func (s *session) permitSelected(need maildir.Rights) error {
	if err := s.refreshRights(); err != nil {
		return err
	}
	return permit(s.view.rights, maildir.RightRead|need)
}

// mayHear says whether the client may still be told of the selected mailbox.
func (s *session) mayHear() bool {
	if !s.view.guest {
		return true
	}
	return s.refreshRights() == nil && s.view.rights.Has(maildir.RightRead)
}
