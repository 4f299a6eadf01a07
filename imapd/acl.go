package imapd

import (
	"slices"
	"strings"

	"buzon/internal/account"
	"buzon/maildir"
)

// ACL (RFC 4314): who may do what with a mailbox. The rights that each command needs stand in the
// command table; they are checked in place.go and, for the selected mailbox, in rights.go.

// imapRights is the order in which we show rights.
const imapRights = "lrswipkxtea"

// showRights writes rights for a client, with the obsolete ones (RFC 4314 2.1.1).
func showRights(r maildir.Rights) string {
	var b strings.Builder
	for _, letter := range imapRights {
		if one, _ := maildir.ParseRights(string(letter)); r.Has(one) {
			b.WriteRune(letter)
		}
	}
	if r&(maildir.RightCreate|maildir.RightDelete) != 0 {
		b.WriteByte('c')
	}
	if r&(maildir.RightExpunge|maildir.RightDeleted) != 0 {
		b.WriteByte('d')
	}
	return b.String()
}

// An aclSubject is an identifier as a client names it.
type aclSubject struct {
	identifier string // as the store keeps it
	negative   bool
}

// subject finds whom a client means: "anyone", "authenticated", "owner", or an account of this host,
// in one's own domain by its name alone; with "-" in front its negative rights.
func (s *session) subject(name string, p place) (aclSubject, error) {
	var sub aclSubject
	name, sub.negative = strings.CutPrefix(name, "-")
	switch strings.ToLower(name) {
	case "":
		return sub, bad("An identifier is needed")
	case maildir.ACLAnyone, maildir.ACLAuthenticated:
		sub.identifier = strings.ToLower(name)
		return sub, nil
	case maildir.ACLOwner:
		sub.identifier = maildir.ACLUser(string(p.owner))
		return sub, nil
	}
	if name[0] == '$' || name[0] == '!' || name[0] == '#' { // Dovecot's groups
		return sub, no("CANNOT", "There are no groups here")
	}
	if !strings.Contains(name, "@") {
		name += "@" + s.account.ID.Domain()
	}
	id, err := account.ParseID(name)
	if err == nil {
		if _, ok := s.srv.cfg.Directory.Lookup(id); !ok {
			err = maildir.ErrNotFound
		}
	}
	if err != nil {
		return sub, no("CANNOT", "No such account here")
	}
	sub.identifier = maildir.ACLUser(string(id))
	return sub, nil
}

// identifier is how a client sees one that the store keeps.
func identifier(e maildir.ACLEntry) string {
	name, ok := strings.CutPrefix(e.Identifier, "user=")
	if !ok {
		for dovecot, imap := range map[string]string{"group=": "$", "group-override=": "!$"} {
			if group, ok := strings.CutPrefix(name, dovecot); ok {
				name = imap + group
			}
		}
	}
	if e.Negative {
		return "-" + name
	}
	return name
}

// getACL is GETACL (RFC 4314 3.3). The owner comes first, with the rights that he has.
func (s *session) getACL(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	p, _, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	acl, err := p.user.ACL(s.ctx, p.name)
	if err != nil {
		return err
	}
	s.enc.Raw("* ACL ").Mailbox(p.shown)
	s.writeACLEntry(string(p.owner), acl.Rights(string(p.owner), true))
	for _, e := range acl.Entries {
		if e.Negative || e.Identifier != maildir.ACLUser(string(p.owner)) && e.Identifier != maildir.ACLOwner {
			s.writeACLEntry(identifier(e), e.Rights)
		}
	}
	s.enc.CRLF()
	return nil
}

func (s *session) writeACLEntry(name string, r maildir.Rights) {
	s.enc.SP()
	s.writeAString(name)
	s.enc.SP()
	s.writeAString(showRights(r))
}

// setACL is SETACL (RFC 4314 3.1).
func (s *session) setACL(r *request) error {
	name := r.SP().Mailbox()
	whom := r.SP().AString()
	change := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	letters := strings.TrimLeft(change, "+-")
	rights, ok := maildir.ParseRights(letters)
	if !ok || len(change)-len(letters) > 1 {
		return bad("No such right")
	}
	return s.editACL(r, name, whom, func(a *maildir.ACL, p place, sub aclSubject) {
		had, known := a.Find(sub.identifier, sub.negative)
		if !known && !sub.negative && sub.identifier == maildir.ACLUser(string(p.owner)) {
			had = a.Rights(string(p.owner), true)
		}
		switch change[:len(change)-len(letters)] {
		case "+":
			rights |= had
		case "-":
			rights = had &^ rights
		}
		a.Set(sub.identifier, sub.negative, rights, false)
	})
}

// deleteACL is DELETEACL (RFC 4314 3.2). An identifier without an entry is no error.
func (s *session) deleteACL(r *request) error {
	name := r.SP().Mailbox()
	whom := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	return s.editACL(r, name, whom, func(a *maildir.ACL, _ place, sub aclSubject) {
		a.Set(sub.identifier, sub.negative, 0, true)
	})
}

func (s *session) editACL(r *request, name, whom string, edit func(*maildir.ACL, place, aclSubject)) error {
	p, _, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	sub, err := s.subject(whom, p)
	if err != nil {
		return err
	}
	err = p.user.EditACL(s.ctx, p.name, func(a *maildir.ACL) error {
		edit(a, p, sub)
		return nil
	})
	if err == nil {
		s.srv.sessions.poke(p.owner)
	}
	return err
}

// listRights is LISTRIGHTS (RFC 4314 3.4): what can be given to somebody, each right for itself. The
// owner always has l and a.
func (s *session) listRights(r *request) error {
	name := r.SP().Mailbox()
	whom := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	p, _, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	sub, err := s.subject(whom, p)
	if err != nil {
		return err
	}
	always := ""
	if !sub.negative && sub.identifier == maildir.ACLUser(string(p.owner)) {
		always = "la"
	}
	s.enc.Raw("* LISTRIGHTS ").Mailbox(p.shown).SP()
	s.writeAString(whom)
	s.enc.SP()
	s.writeAString(always)
	for _, letter := range strings.Split(imapRights+"cd", "") {
		if !strings.Contains(always, letter) {
			s.enc.SP().Raw(letter)
		}
	}
	s.enc.CRLF()
	return nil
}

// rightsToAsk are those of which one is needed to ask for one's rights (RFC 4314 4).
const rightsToAsk = maildir.RightLookup | maildir.RightRead | maildir.RightInsert | maildir.RightCreate | maildir.RightDelete | maildir.RightAdmin

// myRights is MYRIGHTS (RFC 4314 3.5).
func (s *session) myRights(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	p, have, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	if have&rightsToAsk == 0 {
		return errNoMailbox
	}
	s.writeMyRights(p, have)
	return nil
}

func (s *session) writeMyRights(p place, have maildir.Rights) {
	s.enc.Raw("* MYRIGHTS ").Mailbox(p.shown).SP()
	s.writeAString(showRights(have))
	s.enc.CRLF()
}

// writeAString writes an atom, or a string where it cannot be one.
func (s *session) writeAString(text string) {
	if slices.Contains([]string{"", "NIL"}, strings.ToUpper(text)) || strings.ContainsAny(text, `(){ %*"\]`) || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		s.enc.String(text)
		return
	}
	s.enc.Raw(text)
}
