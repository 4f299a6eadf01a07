package imapd

import (
	"slices"
	"strings"
	"sync"

	"buzon/maildir"
)

// renameNews is what other sessions have renamed, for one that NOTIFY tells of names: the list of
// mailboxes alone would show a mailbox that is gone and another that is new (RFC 5465 5.4).
type renameNews struct {
	mu      sync.Mutex
	pending []renamedMailbox
}

type renamedMailbox struct{ from, to string }

func (n *renameNews) add(c renamedMailbox) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) < mostPending {
		n.pending = append(n.pending, c)
	}
}

func (n *renameNews) take() []renamedMailbox {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.pending
	n.pending = nil
	return all
}

// renamed tells the sessions that look at the owner's mailboxes of a new name.
func (r *registry) renamed(by *session, p, to place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, of := range r.users {
		prefix := ""
		if id != p.owner {
			prefix = othersPrefix + string(p.owner) + "/"
		}
		for c := range of {
			if c != by && c.renames != nil {
				c.renames.add(renamedMailbox{prefix + p.name, prefix + to.name})
			}
		}
	}
}

// tellMailboxNames compares the mailboxes with those that the client knows of, and tells what is
// different (RFC 5465 5.4, 5.5).
func (s *session) tellMailboxNames() error {
	n := s.notifier
	infos, err := s.mailboxes(n.others)
	if err != nil {
		return err
	}
	renames := n.renames.take()
	if !slices.Equal(infos, n.known) {
		d := &nameNews{s: s, infos: infos, renames: renames, told: make(map[string]bool)}
		d.tell()
		n.known = infos
	} else if !n.others { // where rights may have changed
		return nil
	}
	if err := s.watchMailboxes(infos, false); err != nil {
		s.enc.Raw("* OK [NOTIFICATIONOVERFLOW] Too many mailboxes to watch\r\n") // RFC 5465 5.8
		s.stopNotify()
		return nil
	}
	n.forward(s.view, s.bell.ring)
	return nil
}

// nameNews is what has become of the list of mailboxes.
type nameNews struct {
	s       *session
	infos   []maildir.Info
	renames []renamedMailbox
	told    map[string]bool
}

func (d *nameNews) tell() {
	n := d.s.notifier
	old := make(map[string]maildir.Info, len(n.known))
	for _, info := range n.known {
		old[info.Name] = info
	}
	var affected []string // the parents of what came and went
	for _, info := range d.infos {
		was, known := old[info.Name]
		delete(old, info.Name)
		events := n.eventsOf(info)
		switch {
		case !known || was.NoSelect != info.NoSelect:
			if events&mailboxName != 0 && !d.below(info.Name) {
				d.list(info, d.oldName(info.Name))
			}
			affected = append(affected, parentOf(info.Name))
		case was.Subscribed != info.Subscribed:
			if events&subscriptionChange != 0 {
				d.list(info, "")
			}
		}
	}
	for _, info := range n.known {
		if _, gone := old[info.Name]; !gone {
			continue
		}
		affected = append(affected, parentOf(info.Name))
		if n.eventsOf(info)&mailboxName != 0 && !d.moved(info.Name) {
			info.NoSelect, info.HasChildren = true, false
			d.list(info, "")
		}
	}
	for _, info := range d.infos {
		if slices.Contains(affected, info.Name) && n.eventsOf(info)&mailboxName != 0 && !d.told[info.Name] && !d.below(info.Name) {
			d.list(info, "")
		}
	}
}

func parentOf(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }

// list writes the LIST response of a name.
func (d *nameNews) list(info maildir.Info, oldName string) {
	s := d.s
	d.told[info.Name] = true
	s.enc.Raw("* LIST (")
	s.writeAttributes(&listing{extended: true, showSubscribed: true}, info)
	s.enc.Raw(`) "/" `).Mailbox(info.Name)
	if oldName != "" {
		s.enc.Raw(` ("OLDNAME" (`).Mailbox(oldName).Raw("))")
	}
	s.enc.CRLF()
}

// oldName is the name that a mailbox had; "" if it is new.
func (d *nameNews) oldName(name string) string {
	for _, r := range d.renames {
		if r.to == name {
			return r.from
		}
	}
	return ""
}

// below says whether the name is new only because one above it is: nothing is said of children.
func (d *nameNews) below(name string) bool {
	return slices.ContainsFunc(d.renames, func(r renamedMailbox) bool { return strings.HasPrefix(name, r.to+"/") })
}

// moved says whether the name is gone because it, or one above it, has another name now.
func (d *nameNews) moved(name string) bool {
	return slices.ContainsFunc(d.renames, func(r renamedMailbox) bool { return name == r.from || strings.HasPrefix(name, r.from+"/") })
}
