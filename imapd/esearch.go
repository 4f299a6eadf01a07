package imapd

import (
	"errors"
	"slices"

	"buzon/maildir"
)

// esearch is ESEARCH (RFC 7377): one search in many mailboxes. The answer names UIDs.
func (s *session) esearch(r *request) error {
	var filters []mailboxFilter
	r.SP()
	if r.HasWord("IN") {
		r.SP().List(func() {
			if r.Peek() == '(' { // scope options; none is known
				r.List(func() { r.Atom() })
				return
			}
			filters = append(filters, readMailboxFilter(r))
		})
		if len(filters) == 0 {
			r.Fail("expected mailboxes")
		}
		r.SP()
	} else {
		filters = []mailboxFilter{{kind: "SELECTED"}}
	}
	r.uid = true
	ret, key, err := s.readSearch(r, true)
	if err != nil {
		return err
	}
	ret.given = true
	if !ret.min && !ret.max && !ret.count && !ret.save && ret.partial == nil {
		ret.all = true
	}
	if (ret.save || ret.update) && (len(filters) > 1 || filters[0].kind != "SELECTED") {
		return bad("SAVE and UPDATE are for the selected mailbox alone") // RFC 7377 2.1
	}
	names, err := s.filtered(filters)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.searchMailbox(r, name, ret, key); err != nil {
			return err
		}
	}
	return nil
}

// filtered lists the mailboxes that the filters take, each once.
func (s *session) filtered(filters []mailboxFilter) ([]string, error) {
	var names []string
	infos, err := s.mailboxes(slices.ContainsFunc(filters, mailboxFilter.reachesOthers))
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		if !info.NoSelect && slices.ContainsFunc(filters, func(f mailboxFilter) bool { return f.match(info) }) {
			names = append(names, info.Name)
		}
	}
	if slices.ContainsFunc(filters, mailboxFilter.selected) {
		if s.view == nil {
			return nil, bad("No mailbox is selected")
		}
		if !slices.Contains(names, s.view.name) {
			names = append(names, s.view.name)
		}
	}
	return names, nil
}

// searchMailbox looks into one mailbox, through a view of its own, and writes what was found there.
func (s *session) searchMailbox(r *request, name string, ret *resultOptions, key searchKey) error {
	if s.view == nil || s.view.name != name {
		box, p, have, err := s.openMailbox(name, mayRead)
		if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, errNoPermission) {
			return nil // deleted meanwhile, or not to be read
		}
		if err != nil {
			return err
		}
		own := s.view
		s.view = newView(box, p, have, true)
		defer func() {
			s.view.close()
			s.view = own
		}()
	}
	found, err := s.matching(r, key)
	if err != nil {
		return s.searchFailed(ret, err)
	}
	if ret.save {
		s.saved = s.savedResult(ret, found)
	}
	if ret.update {
		defer s.keepUpdated(r, ret, key, nil, found)
	}
	if len(found) == 0 || ret.saveOnly() { // RFC 7377 2.1: nothing is said of mailboxes without a match
		return nil
	}
	if ret.modseq {
		if err := s.view.box.Commit(s.ctx, s.view.state); err != nil {
			return err
		}
	}
	s.writeESearchOf(r, ret, found, true)
	return nil
}
