package imapd

import (
	"errors"
	"slices"

	"buzon/maildir"
)

// NOTIFY (RFC 5465): a client names mailboxes and events, and is told of them at any time, not only
// between its commands. The mailboxes are watched as a selected one is during IDLE; what is told is
// the difference between what they were and what they are.

// A notifyEvent is what a client wants to hear of.
type notifyEvent uint8

const (
	messageNew notifyEvent = 1 << iota
	messageExpunge
	flagChange
	mailboxName
	subscriptionChange
	mailboxMetadataChange
	serverMetadataChange
)

var notifyEvents = map[string]notifyEvent{
	"MESSAGENEW": messageNew, "MESSAGEEXPUNGE": messageExpunge, "FLAGCHANGE": flagChange, "MAILBOXNAME": mailboxName,
	"SUBSCRIPTIONCHANGE": subscriptionChange, "MAILBOXMETADATACHANGE": mailboxMetadataChange, "SERVERMETADATACHANGE": serverMetadataChange,
}

var errBadEvent = no("BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)", "Some of the events are not known")

// messageEvents are those of messages, which alone SELECTED can ask for (RFC 5465 6.1).
const messageEvents = messageNew | messageExpunge | flagChange

// A notifyRule is one event-group. Several may take one mailbox (RFC 5465 6).
type notifyRule struct {
	filter mailboxFilter
	events notifyEvent
	fetch  *fetchOrder // what to send of a new message in the selected mailbox
}

// A notifier is what NOTIFY SET leaves behind.
type notifier struct {
	rules   []notifyRule
	others  bool            // mailboxes of other accounts are among them
	barred  map[string]bool // of these one may know, and not hear
	known   []maildir.Info
	watched map[string]*watchedMailbox
	view    *view // whose changes ring as well
	viewSub *maildir.Subscription
	renames *renameNews
}

// A watchedMailbox is one that is not selected.
type watchedMailbox struct {
	box   *maildir.Mailbox
	sub   *maildir.Subscription
	state *maildir.State // as the client was told
}

// mostWatched bounds what one session may keep open.
const mostWatched = 1000

// notify is NOTIFY.
func (s *session) notify(r *request) error {
	r.SP()
	if r.HasWord("NONE") {
		if err := r.End(); err != nil {
			return err
		}
		s.stopNotify()
		return nil
	}
	if !r.HasWord("SET") {
		r.Fail("expected SET or NONE")
	}
	r.SP()
	status := r.HasWord("STATUS")
	if status {
		r.SP()
	}
	rules, unknown := s.readNotifyRules(r)
	if err := r.End(); err != nil {
		return err
	}
	if unknown {
		return errBadEvent
	}
	if err := checkNotifyRules(rules); err != nil {
		return err
	}
	return s.startNotify(rules, status)
}

// checkNotifyRules refuses what RFC 5465 5, 6.1 and 8 do.
func checkNotifyRules(rules []notifyRule) error {
	ofSelected := 0
	for _, rule := range rules {
		if m := rule.events & (messageNew | messageExpunge); m != 0 && m != messageNew|messageExpunge || rule.events&flagChange != 0 && m == 0 {
			return bad("MessageNew and MessageExpunge go together, and FlagChange with them")
		}
		if !rule.filter.selected() {
			if rule.fetch != nil {
				return bad("What to FETCH can be said of the selected mailbox alone")
			}
			continue
		}
		if ofSelected++; ofSelected > 1 {
			return bad("SELECTED and SELECTED-DELAYED once, and not both")
		}
		if rule.events&^messageEvents != 0 {
			return bad("Of the selected mailbox there are events of messages alone")
		}
	}
	return nil
}

func (s *session) readNotifyRules(r *request) (rules []notifyRule, unknown bool) {
	for {
		r.Expect('(')
		rule := notifyRule{filter: readMailboxFilter(r)}
		r.SP()
		if !r.HasWord("NONE") {
			bare := !r.Is('(') // as in the examples of RFC 5465 3, against its grammar
			for r.Item() {
				unknown = s.readNotifyEvent(r, &rule) || unknown
				if !r.Is(' ') {
					break
				}
			}
			if !bare {
				r.Expect(')')
			}
		}
		r.Expect(')')
		rules = append(rules, rule)
		if !r.Item() || !r.Is(' ') {
			return rules, unknown
		}
	}
}

func (s *session) readNotifyEvent(r *request, rule *notifyRule) (unknown bool) {
	e, ok := notifyEvents[r.Word()]
	rule.events |= e
	if e == messageNew && r.Peek() == ' ' && r.PeekAt(1) == '(' {
		o := &fetchOrder{}
		r.SP().List(func() { o.readItem(r, false) })
		o.add(itemUID)
		rule.fetch = o
	}
	return !ok
}

// startNotify replaces whatever was asked for before.
func (s *session) startNotify(rules []notifyRule, status bool) error {
	s.stopNotify()
	others := slices.ContainsFunc(rules, func(r notifyRule) bool { return r.filter.reachesOthers() })
	infos, err := s.mailboxes(others)
	if err != nil {
		return err
	}
	n := &notifier{rules: rules, others: others, renames: &renameNews{}, known: infos, watched: make(map[string]*watchedMailbox), barred: make(map[string]bool)}
	s.notifier = n
	s.srv.sessions.setWake(s, n, others)
	if err := s.watchMailboxes(infos, status); err != nil {
		s.stopNotify()
		return err
	}
	n.forward(s.view, s.bell.ring)
	for _, rule := range rules {
		if rule.events&(mailboxMetadataChange|serverMetadataChange) != 0 {
			s.hearAnnotations()
		}
	}
	return nil
}

func (s *session) stopNotify() {
	n := s.notifier
	if n == nil {
		return
	}
	s.notifier = nil
	s.srv.sessions.setWake(s, nil, false)
	n.unforward()
	for _, w := range n.watched {
		w.close()
	}
}

func (w *watchedMailbox) close() {
	w.sub.Close()
	w.box.Close()
}

// eventsOf are the events wanted of a mailbox that is not selected.
func (n *notifier) eventsOf(info maildir.Info) (events notifyEvent) {
	for _, rule := range n.rules {
		if rule.filter.match(info) {
			events |= rule.events
		}
	}
	return events
}

// wantsMetadata says whether changes of a mailbox's annotations are to be told, or of the server's.
func (n *notifier) wantsMetadata(mailbox string) bool {
	if mailbox == serverMailbox {
		return slices.ContainsFunc(n.rules, func(r notifyRule) bool { return r.events&serverMetadataChange != 0 })
	}
	i := slices.IndexFunc(n.known, func(info maildir.Info) bool { return info.Name == mailbox })
	return i >= 0 && n.eventsOf(n.known[i])&mailboxMetadataChange != 0
}

// selected is the rule for the selected mailbox, if there is one.
func (n *notifier) selected() *notifyRule {
	for i := range n.rules {
		if n.rules[i].filter.selected() {
			return &n.rules[i]
		}
	}
	return nil
}

// watchMailboxes opens the mailboxes whose messages matter and closes others; with status, the
// client is told where they stand (RFC 5465 3.1).
func (s *session) watchMailboxes(infos []maildir.Info, status bool) error {
	n := s.notifier
	want := make(map[string]bool)
	for _, info := range infos {
		if !info.NoSelect && n.eventsOf(info)&messageEvents != 0 {
			want[info.Name] = true
		}
	}
	if len(want) > mostWatched {
		return no("NOTIFICATIONOVERFLOW", "Too many mailboxes to watch")
	}
	for name, w := range n.watched {
		if !want[name] {
			w.close()
			delete(n.watched, name)
		}
	}
	for _, info := range infos {
		if !want[info.Name] || n.watched[info.Name] != nil {
			continue
		}
		box, _, _, err := s.openMailbox(info.Name, mayRead)
		if errors.Is(err, errNoPermission) && !n.barred[info.Name] { // RFC 5465 3.1
			n.barred[info.Name] = true
			s.enc.Raw(`* LIST (\NoAccess) "/" `).Mailbox(info.Name).CRLF()
		}
		if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, errNoPermission) {
			continue
		}
		delete(n.barred, info.Name)
		if err != nil {
			return err
		}
		n.watched[info.Name] = &watchedMailbox{box: box, sub: box.Subscribe(s.bell.ring), state: box.State()}
		if status && (s.view == nil || s.view.name != info.Name) {
			if err := s.writeNotifyStatus(n.watched[info.Name], info.Name, n.eventsOf(info), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// forward has the selected mailbox, v, ring as the watched ones do; nil: none is selected.
func (n *notifier) forward(v *view, ring func()) {
	n.unforward()
	n.view = v
	if v != nil {
		n.viewSub = v.box.Subscribe(ring)
	}
}

func (n *notifier) unforward() {
	if n.viewSub != nil {
		n.viewSub.Close()
		n.viewSub = nil
	}
}

// tellNotify tells everything that has happened, between commands or during IDLE.
func (s *session) tellNotify() error {
	n := s.notifier
	if n == nil {
		return nil
	}
	if err := s.tellMailboxNames(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(mapKeys(n.watched)) {
		if err := s.tellWatched(name, n.watched[name]); err != nil {
			return err
		}
	}
	return s.tellSelected()
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// tellSelected tells the news of the selected mailbox, if the client wants them without asking.
func (s *session) tellSelected() error {
	rule := s.notifier.selected()
	if rule == nil || s.view == nil || rule.events == 0 {
		return nil
	}
	if rule.events&flagChange == 0 && s.onlyFlagsChanged() {
		return nil // told with the next command
	}
	top := maildir.UID(s.view.topUID())
	if err := s.sync(syncOptions{expunge: rule.filter.kind == "SELECTED", withUID: true}); err != nil {
		return err
	}
	if err := s.fetchArrived(rule.fetch, top); err != nil {
		return err
	}
	s.correctModSeq()
	return nil
}

// fetchArrived sends what the client wants to know of the messages above top (RFC 5465 5.2).
func (s *session) fetchArrived(o *fetchOrder, top maildir.UID) error {
	lo := s.view.upper(top)
	if o == nil || lo == s.view.len() {
		return nil
	}
	f := newFetcher(s, o)
	defer f.content.close()
	return f.run(spans{{lo, s.view.len()}}, false)
}

// onlyFlagsChanged says whether nothing but flags has changed in the selected mailbox.
func (s *session) onlyFlagsChanged() bool {
	v := s.view
	ch := v.box.Changes(v.state, v.box.State())
	return len(ch.Added) == 0 && len(ch.Vanished) == 0
}

func (s *session) tellWatched(name string, w *watchedMailbox) error {
	next := w.box.State()
	if next == w.state {
		return nil
	}
	if _, _, err := s.permitted(name, mayRead); err != nil {
		return nil // it was the account's to read (RFC 5465 5.9)
	}
	ch := w.box.Changes(w.state, next)
	w.state = next
	if s.view != nil && s.view.name == name {
		return nil // the selected mailbox has its own news
	}
	i := slices.IndexFunc(s.notifier.known, func(info maildir.Info) bool { return info.Name == name })
	if i < 0 {
		return nil
	}
	events := s.notifier.eventsOf(s.notifier.known[i])
	var happened notifyEvent
	if len(ch.Added) > 0 {
		happened |= messageNew
	}
	if len(ch.Vanished) > 0 {
		happened |= messageExpunge
	}
	if len(ch.Changed) > 0 {
		happened |= flagChange
	}
	if happened&events == 0 {
		return nil
	}
	return s.writeNotifyStatus(w, name, events, false)
}

// writeNotifyStatus is how a mailbox that is not selected shows its news (RFC 5465 3.1, 5.1 to 5.3).
func (s *session) writeNotifyStatus(w *watchedMailbox, name string, events notifyEvent, first bool) error {
	st := w.state
	s.enc.Raw("* STATUS ").Mailbox(name).Raw(" (MESSAGES ").Num(uint64(st.Len()))
	s.enc.Raw(" UIDNEXT ").Num(uint64(st.UIDNext())).Raw(" UIDVALIDITY ").Num(uint64(st.UIDValidity()))
	if events&flagChange != 0 && !first {
		s.enc.Raw(" UNSEEN ").Num(uint64(st.Unseen()))
	}
	if s.has(condstore) || first && events&flagChange != 0 {
		if err := w.box.Commit(s.ctx, st); err == nil { // no MODSEQ is told that a crash could take back
			s.enc.Raw(" HIGHESTMODSEQ ").Num(uint64(st.HighestModSeq()))
		}
	}
	s.enc.Raw(")\r\n")
	return nil
}
