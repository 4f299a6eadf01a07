package imapd

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"buzon/maildir"
)

// A listing is a LIST command: RFC 9051 6.3.9, with LIST-EXTENDED (RFC 5258), SPECIAL-USE (RFC
// 6154) and LIST-STATUS (RFC 5819).
type listing struct {
	extended bool
	patterns []pattern
	empty    bool // the pattern is "": asks for the separator

	// Selection.
	subscribed, recursive, special bool
	// Return.
	showSubscribed bool
	status         []statusItem
	metadata       *metadataQuery // RFC 9590
	rights         bool           // RFC 8440
}

// list is LIST.
func (s *session) list(r *request) error {
	l, err := s.readList(r)
	if err != nil {
		return err
	}
	if l.empty {
		s.enc.Raw("* LIST (\\Noselect) \"/\" \"\"\r\n") // RFC 9051 6.3.9
		return nil
	}
	infos, err := s.mailboxes(slices.ContainsFunc(l.patterns, pattern.reachesOthers))
	if err != nil {
		return err
	}
	if l.subscribed {
		if infos, err = s.withMissing(infos); err != nil {
			return err
		}
	}
	for i := range infos {
		s.listOne(l, infos, i)
	}
	if l.metadata != nil && l.metadata.longest > 0 {
		r.code = "METADATA LONGENTRIES " + strconv.FormatInt(l.metadata.longest, 10)
	}
	return nil
}

func (s *session) readList(r *request) (*listing, error) {
	l := &listing{}
	if r.SP().Peek() == '(' {
		l.extended = true
		l.readSelection(r)
		r.SP()
	}
	reference := r.Mailbox()
	r.SP()
	var names []string
	if r.Peek() == '(' {
		l.extended = true
		r.List(func() { names = append(names, r.ListMailbox()) })
	} else {
		names = append(names, r.ListMailbox())
	}
	if r.Is(' ') {
		l.extended = true
		if r.Word() != "RETURN" {
			r.Fail("expected RETURN")
		}
		r.SP()
		s.readListReturn(r, l)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if name != "" || l.extended {
			l.patterns = append(l.patterns, newPattern(reference, name))
		} else {
			l.empty = true
		}
	}
	if l.recursive && !l.subscribed && !l.special {
		return nil, bad("RECURSIVEMATCH needs another selection option") // RFC 5258 3.1
	}
	return l, nil
}

func (l *listing) readSelection(r *request) {
	r.List(func() {
		switch r.Word() {
		case "SUBSCRIBED":
			l.subscribed, l.showSubscribed = true, true
		case "REMOTE": // there are none
		case "RECURSIVEMATCH":
			l.recursive = true
		case "SPECIAL-USE":
			l.special = true
		default:
			r.Fail("no such selection option")
		}
	})
}

func (s *session) readListReturn(r *request, l *listing) {
	r.List(func() {
		switch r.Word() {
		case "SUBSCRIBED":
			l.showSubscribed = true
		case "CHILDREN", "SPECIAL-USE": // always shown
		case "STATUS":
			r.SP()
			l.status = s.readStatusItems(r)
		case "MYRIGHTS":
			l.rights = true
		case "METADATA":
			r.SP()
			l.metadata = readListMetadata(r)
		default:
			r.Fail("no such return option")
		}
	})
}

// withMissing adds the subscribed names that have no mailbox (RFC 5258 3.1: SUBSCRIBED lists them).
func (s *session) withMissing(infos []maildir.Info) ([]maildir.Info, error) {
	subscriptions, err := s.user.Subscriptions(s.ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(infos))
	for _, info := range infos {
		known[info.Name] = true
	}
	for _, name := range subscriptions {
		if !known[name] {
			infos = append(infos, maildir.Info{Name: name, NoSelect: true, Subscribed: true})
		}
	}
	return infos, nil
}

// listOne lists infos[i] if it is asked for.
func (s *session) listOne(l *listing, infos []maildir.Info, i int) {
	info := infos[i]
	matches := func(name string) bool {
		return slices.ContainsFunc(l.patterns, func(p pattern) bool { return p.match(name) })
	}
	if !matches(info.Name) {
		return
	}
	chosen := l.selects(info)
	// RFC 5258 3.5: a mailbox that is not chosen itself, but has a chosen descendant that the
	// pattern does not show.
	childInfo := l.recursive && slices.ContainsFunc(infos, func(c maildir.Info) bool {
		return strings.HasPrefix(c.Name, info.Name+"/") && !matches(c.Name) && l.selects(c)
	})
	if !chosen && !childInfo {
		return
	}
	s.enc.Raw("* LIST (")
	s.writeAttributes(l, info)
	s.enc.Raw(`) "/" `).Mailbox(info.Name)
	if childInfo {
		s.enc.Raw(` ("CHILDINFO" (`)
		if l.subscribed {
			s.enc.Raw(`"SUBSCRIBED"`)
		}
		if l.special {
			if l.subscribed {
				s.enc.SP()
			}
			s.enc.Raw(`"SPECIAL-USE"`)
		}
		s.enc.Raw("))")
	}
	s.enc.CRLF()
	if !info.NoSelect {
		s.listMore(l, info)
	}
}

// listMore writes what RETURN asks for of a mailbox that is there. What the account has no right to,
// or what has gone in this moment, is left out (RFC 5819 2, RFC 8440 3).
func (s *session) listMore(l *listing, info maildir.Info) {
	failed := func(what string, err error) {
		if err != nil && !errors.Is(err, maildir.ErrNotFound) && !errors.Is(err, errNoPermission) {
			s.log.Warn(what+" for list", "user", string(s.account.ID), "mailbox", info.Name, "err", err)
		}
	}
	if len(l.status) > 0 {
		p, _, err := s.permitted(info.Name, mayRead)
		if err == nil {
			err = s.writeStatus(p, l.status)
		}
		failed("status", err)
	}
	if l.rights {
		p, have, err := s.permitted(info.Name, maildir.RightLookup)
		if err == nil {
			s.writeMyRights(p, have)
		}
		failed("rights", err)
	}
	if l.metadata != nil {
		failed("metadata", s.writeMetadata(info.Name, l.metadata))
	}
}

// selects says whether the selection options take the mailbox.
func (l *listing) selects(info maildir.Info) bool {
	return (!l.subscribed || info.Subscribed) && (!l.special || info.SpecialUse != "")
}

func (s *session) writeAttributes(l *listing, info maildir.Info) {
	if info.HasChildren {
		s.enc.Raw(`\HasChildren`)
	} else {
		s.enc.Raw(`\HasNoChildren`)
	}
	switch {
	case !info.NoSelect:
	case !info.Closed && (l.extended || s.has(rev2)):
		s.enc.Raw(` \NonExistent`)
	default: // RFC 3501 has no better word
		s.enc.Raw(` \Noselect`)
	}
	if l.showSubscribed && info.Subscribed {
		s.enc.Raw(` \Subscribed`)
	}
	if info.SpecialUse != "" {
		s.enc.SP().Raw(info.SpecialUse)
	}
}

// readListMetadata reads the entries of RETURN (METADATA (…)), RFC 9590, with the options of
// GETMETADATA in front if there are any.
func readListMetadata(r *request) *metadataQuery {
	q := newMetadataQuery()
	if r.Peek() == '(' && r.PeekAt(1) != '/' && r.PeekAt(1) != '"' {
		q.readOptions(r)
		r.SP()
	}
	r.List(func() { q.readEntry(r) })
	if len(q.entries) == 0 {
		r.Fail("expected an entry")
	}
	return q
}
