package imapd

import (
	"slices"
	"sync"

	"buzon/maildir"
)

// annotationNews is what other sessions have changed of annotations, for a session that wants to
// hear of it: after ENABLE METADATA (RFC 5464 4.4.2) or NOTIFY with MailboxMetadataChange (RFC 5465
// 5.6). Unlike news of messages it has to be queued: nothing else remembers what was annotated.
type annotationNews struct {
	wake func()

	mu      sync.Mutex
	pending []annotationChange
}

type annotationChange struct{ mailbox, entry string }

// mostPending bounds what is kept for a session that does not listen. A client that misses some has
// a cache that is as old as before.
const mostPending = 1000

// add notes a change, once.
func (n *annotationNews) add(c annotationChange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) < mostPending && !slices.Contains(n.pending, c) {
		n.pending = append(n.pending, c)
		n.wake()
	}
}

func (n *annotationNews) take() []annotationChange {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.pending
	n.pending = nil
	return all
}

// hearAnnotations has a session told of annotations from now on.
func (s *session) hearAnnotations() {
	if s.annotations == nil {
		s.srv.sessions.hear(s, &annotationNews{wake: s.bell.ring})
	}
}

// hear gives c its queue; nil takes it away.
func (r *registry) hear(c *session, n *annotationNews) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.annotations = n
}

// annotated tells other sessions that notes of a mailbox have changed. Whether an account may know of
// the mailbox at all is looked up when its client is told.
func (r *registry) annotated(by *session, p place, notes []maildir.Annotation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, of := range r.users {
		mailbox := p.name
		if id != p.owner {
			mailbox = othersPrefix + string(p.owner) + "/" + p.name
		}
		for c := range of {
			if c == by || c.annotations == nil {
				continue
			}
			for _, n := range notes {
				switch n.Owner {
				case "":
					c.annotations.add(annotationChange{mailbox, sharedScope + n.Name})
				case string(id):
					c.annotations.add(annotationChange{mailbox, privateScope + n.Name})
				}
			}
		}
	}
}

// tellAnnotations says which entries have changed, without their values (RFC 5464 4.4.2).
func (s *session) tellAnnotations() {
	if s.annotations == nil {
		return
	}
	pending := s.annotations.take()
	slices.SortStableFunc(pending, func(a, b annotationChange) int {
		if a.mailbox == b.mailbox {
			return 0
		}
		return slices.IndexFunc(pending, func(c annotationChange) bool { return c.mailbox == a.mailbox }) -
			slices.IndexFunc(pending, func(c annotationChange) bool { return c.mailbox == b.mailbox })
	})
	open := false
	for i, c := range pending {
		if !s.wantsAnnotation(c.mailbox) {
			continue
		}
		if !open {
			s.enc.Raw("* METADATA ").Mailbox(c.mailbox)
			open = true
		}
		s.enc.SP()
		s.writeEntry(c.entry)
		if i+1 == len(pending) || pending[i+1].mailbox != c.mailbox {
			s.enc.CRLF()
			open = false
		}
	}
}

// wantsAnnotation says whether the client wants to hear of the mailbox's annotations. NOTIFY, while
// it is in effect, says all there is to say (RFC 5465 3.1).
func (s *session) wantsAnnotation(mailbox string) bool {
	if s.notifier != nil {
		return s.notifier.wantsMetadata(mailbox)
	}
	if mailbox == serverMailbox {
		return s.has(metadataServer)
	}
	if !s.has(metadata) {
		return false
	}
	_, _, err := s.permittedMetadata(mailbox)
	return err == nil
}
