package imapd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buzon/imapd/wire"
	"buzon/internal/account"
	"buzon/maildir"
)

// Every mailbox name that a client says goes through here: it is found in the account's own tree or,
// below "Other Users/", in that of another account of this host (RFC 2342 5), and nobody gets
// further than his rights on it (RFC 4314). The names below the prefix are the account and what the
// mailbox is called there: "Other Users/ana@example.org/INBOX".
const (
	othersName   = "Other Users"
	othersPrefix = othersName + "/"
)

// A place is where a mailbox name leads. The mailbox need not be there.
type place struct {
	user  *maildir.User
	owner account.ID
	name  string // in the owner's tree
	shown string // as the client knows it
	guest bool   // it is not the account's own
}

// errNoMailbox is what is said of a mailbox that is not there, and of one that the account must not
// know of (RFC 4314 6).
var errNoMailbox = fmt.Errorf("not for this account: %w", maildir.ErrNotFound)

// A viewer is the account whose names and rights count: the session's own, or that of somebody who
// has signed a URL.
type viewer struct {
	id   account.ID
	user *maildir.User
}

func (s *session) self() viewer { return viewer{s.account.ID, s.user} }

// locate finds out where a name leads. An account that lets this one see nothing is not told apart
// from one that does not exist.
func (s *session) locate(name string) (place, error) { return s.locateAs(s.self(), name) }

func (s *session) locateAs(v viewer, name string) (place, error) {
	rest, ok := strings.CutPrefix(name, othersPrefix)
	owner, inner, deep := strings.Cut(rest, "/")
	if !ok || !strings.Contains(owner, "@") {
		return place{user: v.user, owner: v.id, name: name, shown: name}, nil
	}
	if !deep || inner == "" || account.ID(owner) == v.id {
		return place{}, errNoMailbox
	}
	user, err := s.host(v.id, account.ID(owner), true)
	if err != nil {
		return place{}, err
	}
	return place{user: user, owner: account.ID(owner), name: wire.FoldInbox(inner), shown: name, guest: true}, nil
}

// host opens the tree of another account, if it lets the guest in. It is kept open for the session.
func (s *session) host(guest, owner account.ID, asked bool) (*maildir.User, error) {
	if _, ok := s.srv.cfg.Directory.Lookup(owner); !ok {
		return nil, errNoMailbox
	}
	ok, err := s.srv.cfg.Store.Shares(string(owner), string(guest), asked)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoMailbox
	}
	return s.openTree(owner)
}

// openTree opens the tree of another account, for as long as the session lasts.
func (s *session) openTree(owner account.ID) (*maildir.User, error) {
	if u := s.hosts[owner]; u != nil {
		return u, nil
	}
	u, err := s.srv.cfg.Store.User(s.ctx, string(owner))
	if err != nil {
		return nil, err
	}
	if s.hosts == nil {
		s.hosts = make(map[account.ID]*maildir.User)
	}
	s.hosts[owner] = u
	return u, nil
}

// leaveHosts gives the trees of others back.
func (s *session) leaveHosts() {
	for _, u := range s.hosts {
		u.Release()
	}
	s.hosts = nil
}

// rights returns what the account may do there. maildir.ErrNotFound.
func (s *session) rights(p place) (maildir.Rights, error) { return s.rightsOf(s.account.ID, p) }

func (s *session) rightsOf(id account.ID, p place) (maildir.Rights, error) {
	acl, err := p.user.ACL(s.ctx, p.name)
	if err != nil {
		return 0, err
	}
	return acl.Rights(string(id), !p.guest), nil
}

// permit says NO unless the account has all of need. Without any right, or without l and what it
// takes, the mailbox does not exist for it.
func permit(have, need maildir.Rights) error {
	switch {
	case have.Has(need) && have != 0:
		return nil
	case have.Has(maildir.RightLookup):
		return errNoPermission
	}
	return errNoMailbox
}

var errNoPermission = no("NOPERM", "You do not have the right to do this")

// permitted locates a mailbox and checks that the account has the rights on it.
func (s *session) permitted(name string, need maildir.Rights) (place, maildir.Rights, error) {
	p, err := s.locate(name)
	if err != nil {
		return p, 0, err
	}
	have, err := s.rights(p)
	if err == nil {
		err = permit(have, need)
	}
	return p, have, err
}

// openMailbox opens a mailbox on which the account has the rights that the command needs; the caller
// closes it.
func (s *session) openMailbox(name string, need maildir.Rights) (*maildir.Mailbox, place, maildir.Rights, error) {
	return s.openMailboxAs(s.self(), name, need)
}

func (s *session) openMailboxAs(v viewer, name string, need maildir.Rights) (*maildir.Mailbox, place, maildir.Rights, error) {
	p, err := s.locateAs(v, name)
	if err != nil {
		return nil, p, 0, err
	}
	if p.guest { // nothing of others is opened before the right to do so is certain
		have, err := s.rightsOf(v.id, p)
		if err == nil {
			err = permit(have, need)
		}
		if err != nil {
			return nil, p, 0, err
		}
	}
	box, err := p.user.Open(s.ctx, p.name)
	if err != nil {
		return nil, p, 0, err
	}
	acl, err := box.ACL()
	have := acl.Rights(string(v.id), !p.guest)
	if err == nil {
		err = permit(have, need)
	}
	if err != nil {
		box.Close()
		return nil, p, 0, err
	}
	return box, p, have, nil
}

// permitBelow checks the right to make the mailbox p: k on the nearest mailbox above it. The top of
// one's own tree is free, that of others is not (RFC 4314 4).
func (s *session) permitBelow(p place, need maildir.Rights) error {
	for name := p.name; ; {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
		have, err := s.rights(place{user: p.user, owner: p.owner, name: name, guest: p.guest})
		if errors.Is(err, maildir.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if !have.Has(need) {
			return errNoPermission
		}
		return nil
	}
	if p.guest {
		return errNoPermission
	}
	return nil
}

// mailboxes lists what the account may see: its own mailboxes, and with others those of other
// accounts, below the names that lead to them.
func (s *session) mailboxes(others bool) ([]maildir.Info, error) {
	infos, err := s.user.Mailboxes(s.ctx)
	if err != nil || !others {
		return infos, err
	}
	shared, err := s.sharedMailboxes()
	if err != nil || len(shared) == 0 {
		return infos, err
	}
	infos = slices.DeleteFunc(infos, func(own maildir.Info) bool {
		return slices.ContainsFunc(shared, func(i maildir.Info) bool { return i.Name == own.Name })
	})
	return append(infos, shared...), nil
}

// sharedMailboxes lists the mailboxes of others on which the account has the right l.
func (s *session) sharedMailboxes() ([]maildir.Info, error) {
	subscribed, err := s.user.Subscriptions(s.ctx)
	if err != nil {
		return nil, err
	}
	var all []maildir.Info
	for _, a := range s.srv.cfg.Directory.List() {
		if a.ID == s.account.ID {
			continue
		}
		user, err := s.host(s.account.ID, a.ID, false)
		if errors.Is(err, maildir.ErrNotFound) {
			continue
		}
		if err == nil {
			all, err = s.visible(all, user, a.ID)
		}
		if err != nil { // one broken tree must not hide all others
			s.log.Warn("shared mailboxes", "user", string(a.ID), "err", err)
		}
	}
	return withParents(all, subscribed), nil
}

// visible appends the mailboxes of one owner that the account may see.
func (s *session) visible(all []maildir.Info, user *maildir.User, owner account.ID) ([]maildir.Info, error) {
	infos, err := user.Mailboxes(s.ctx)
	if err != nil {
		return all, err
	}
	for _, info := range infos {
		if info.NoSelect {
			continue
		}
		have, err := s.rights(place{user: user, owner: owner, name: info.Name, guest: true})
		if err == nil && have.Has(maildir.RightLookup) {
			all = append(all, maildir.Info{Name: othersPrefix + string(owner) + "/" + info.Name})
		}
	}
	return all, nil
}

// withParents adds the names above mailboxes of others, and says which have children and which are
// subscribed.
func withParents(all []maildir.Info, subscribed []string) []maildir.Info {
	at := make(map[string]int, len(all))
	for i, info := range all {
		at[info.Name] = i
	}
	for i := range len(all) {
		for name := all[i].Name; ; {
			cut := strings.LastIndexByte(name, '/')
			if cut < 0 {
				break
			}
			name = name[:cut]
			k, ok := at[name]
			if !ok {
				k = len(all)
				at[name] = k
				all = append(all, maildir.Info{Name: name, NoSelect: true})
			}
			all[k].HasChildren = true
		}
	}
	for i := range all {
		_, all[i].Subscribed = slices.BinarySearch(subscribed, all[i].Name)
	}
	slices.SortFunc(all, func(a, b maildir.Info) int {
		return strings.Compare(strings.ReplaceAll(a.Name, "/", "\x00"), strings.ReplaceAll(b.Name, "/", "\x00"))
	})
	return all
}
