package imapd

import (
	"errors"
	"slices"
	"strconv"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// What happens in the selected mailbox, whoever does it, reaches the client here: EXPUNGE or
// VANISHED, EXISTS, RECENT, FLAGS, FETCH (RFC 9051 7.4 and 7.5). The mailbox's states say what
// differs; nothing is queued for a session, so a sleeping client costs nothing.

// update tells the news after a command.
func (s *session) update(r *request, cmd command) error {
	if cmd.looks {
		if _, err := s.view.box.Sync(s.ctx); err != nil {
			return s.mailboxLost(err)
		}
	}
	if err := s.sync(syncOptions{expunge: !cmd.holdsSeqs, withUID: r.uid}); err != nil {
		return err
	}
	s.correctModSeq()
	return nil
}

// mailboxLost ends the session when its mailbox has gone: no answer in terms of messages would be
// true any more.
func (s *session) mailboxLost(err error) error {
	if errors.Is(err, maildir.ErrNotFound) {
		return s.dismiss("The selected mailbox was deleted or renamed")
	}
	if s.ctx.Err() == nil {
		s.log.Error("mailbox sync", "user", string(s.account.ID), "mailbox", s.view.name, "err", err)
	}
	return nil // the client goes on with what it knows
}

func (s *session) dismiss(why string) error {
	s.enc.Raw("* BYE ").Text(why).CRLF()
	return errors.Join(errBye, errors.New(why))
}

type syncOptions struct {
	expunge bool
	withUID bool
	// told, if set, says that the client knows the flags that the message has now.
	told    func(maildir.Message) bool
	toldAll bool // and its MODSEQ as well
}

// sync brings the client up to the mailbox's newest state, as far as it may be told.
func (s *session) sync(o syncOptions) error {
	v := s.view
	if !s.mayHear() {
		return nil
	}
	if err := s.claimRecent(); err != nil {
		return err
	}
	next := v.box.State()
	if next == v.state && (len(v.held) == 0 || !o.expunge) {
		return nil
	}
	if next.UIDValidity() != v.state.UIDValidity() {
		return s.dismiss("The selected mailbox has a new UIDVALIDITY")
	}
	ch := v.box.Changes(v.state, next)
	before := v.uids
	v.hold(ch.Vanished)
	gone := v.held
	if o.expunge {
		v.held = nil
	}
	v.advance(next)
	if len(v.held) == 0 {
		v.reader.Told(next)
	}
	if o.expunge && len(gone) > 0 {
		s.updateGone(before, gone)
		s.writeExpunged(before, gone)
	}
	if len(ch.Added) > 0 {
		s.writeExists()
	} else if o.expunge && len(gone) > 0 {
		s.writeFewerRecent()
	}
	s.writeNewKeywords()
	if err := s.writeChanged(ch.Changed, o); err != nil {
		return err
	}
	if len(s.contexts) == 0 {
		return nil
	}
	return s.updateContexts(ch.Changed, ch.Added)
}

// claimRecent makes messages in new/ this session's \Recent ones. They are the owner's to claim.
func (s *session) claimRecent() error {
	v := s.view
	if v.readOnly || v.guest || v.box.State().Recent() == 0 {
		return nil
	}
	uids, err := v.box.ClaimRecent(s.ctx)
	if err != nil {
		return s.mailboxLost(err)
	}
	v.recent = append(v.recent, uids...)
	slices.Sort(v.recent)
	return nil
}

// writeExpunged announces messages that are gone; before is the view as the client still knows it.
func (s *session) writeExpunged(before []maildir.UID, gone []maildir.Message) {
	if s.has(qresync) || s.has(uidOnly) { // RFC 7162 3.2.10, RFC 9586 3.3
		var rs wire.Ranges
		for _, m := range gone {
			rs.Add(uint32(m.UID))
		}
		s.enc.Raw("* VANISHED ").Ranges(rs).CRLF()
		return
	}
	told := 0
	for _, m := range gone {
		i, ok := slices.BinarySearch(before, m.UID)
		if !ok {
			continue // came and went unseen
		}
		s.enc.Raw("* ").Num(uint64(i + 1 - told)).Raw(" EXPUNGE\r\n")
		told++
	}
}

func (s *session) writeExists() {
	s.enc.Raw("* ").Num(uint64(s.view.len())).Raw(" EXISTS\r\n")
	s.writeRecent(s.recentCount())
}

// writeFewerRecent tells that recent messages are among those that have gone (RFC 3501 7.3.2): no
// EXISTS comes with that.
func (s *session) writeFewerRecent() {
	if n := s.recentCount(); n != s.view.recents {
		s.writeRecent(n)
	}
}

func (s *session) writeRecent(n int) {
	s.view.recents = n
	if !s.has(rev2) {
		s.enc.Raw("* ").Num(uint64(n)).Raw(" RECENT\r\n")
	}
}

// recentCount counts the \Recent messages: this session's own; for one that may not claim any,
// those that nobody has claimed.
func (s *session) recentCount() int {
	if s.view.readOnly || s.view.guest {
		return s.view.state.Recent()
	}
	n := 0
	for _, uid := range s.view.recent {
		if s.view.seq(uid) != 0 {
			n++
		}
	}
	return n
}

// writeNewKeywords announces keywords before their first use in a FETCH (RFC 9051 7.3.5).
func (s *session) writeNewKeywords() {
	v := s.view
	if n := len(v.state.Keywords()); n != v.keywords {
		v.keywords = n
		s.writeFlags()
	}
}

// writeChanged sends the flags of messages that changed.
func (s *session) writeChanged(changed []maildir.UID, o syncOptions) error {
	v := s.view
	if len(changed) > 0 && s.has(condstore) {
		s.settle()
	}
	for _, uid := range changed {
		at, ok := v.state.Find(uid)
		seq := v.seq(uid)
		if !ok || seq == 0 {
			continue
		}
		m := v.state.Message(at)
		if o.told == nil || !o.told(m) {
			s.writeFlagsOf(seq, m, o.withUID)
		} else if s.has(condstore) && !o.toldAll && !v.unsettled { // RFC 7162 3.1.3
			s.writeMessage(seq, m, o.withUID, false)
		}
	}
	return nil
}

// writeFlagsOf writes an unsolicited FETCH.
func (s *session) writeFlagsOf(seq uint32, m maildir.Message, withUID bool) {
	s.writeMessage(seq, m, withUID, true)
}

func (s *session) writeMessage(seq uint32, m maildir.Message, withUID, withFlags bool) {
	b := s.enc.Room(512)
	b = append(b, "* "...)
	if s.has(uidOnly) {
		b = strconv.AppendUint(b, uint64(m.UID), 10)
		b = append(b, " UIDFETCH ("...)
	} else {
		b = strconv.AppendUint(b, uint64(seq), 10)
		b = append(b, " FETCH ("...)
		if withUID || s.has(qresync) { // RFC 7162 3.2.4
			b = append(b, "UID "...)
			b = strconv.AppendUint(b, uint64(m.UID), 10)
			b = append(b, ' ')
		}
	}
	if s.has(condstore) && !s.view.unsettled {
		b = s.view.appendModSeq(b, m)
		if withFlags {
			b = append(b, ' ')
		}
	}
	if withFlags {
		b = append(b, "FLAGS ("...)
		b = s.appendFlags(b, m)
		b = append(b, ')')
	}
	s.enc.Took(append(b, ")\r\n"...))
}

// appendModSeq appends the MODSEQ of a message that the client counts.
func (v *view) appendModSeq(b []byte, m maildir.Message) []byte {
	v.shown = max(v.shown, m.ModSeq)
	b = append(b, "MODSEQ ("...)
	b = strconv.AppendUint(b, uint64(m.ModSeq), 10)
	return append(b, ')')
}

// correctModSeq tells a client that may have got ahead of itself where it is. Clients take the
// highest MODSEQ that an answer shows for the one to resynchronise from, and after a lost connection
// they would never hear of an expunge before it which was held back until then (RFC 7162 3.2.5).
func (s *session) correctModSeq() {
	v := s.view
	if !s.has(qresync) || v.unsettled {
		return
	}
	switch {
	case len(v.held) > 0 && v.shown > v.synced:
		v.shown, v.corrected = v.synced, true
		s.enc.Raw("* OK [HIGHESTMODSEQ ").Num(uint64(v.synced)).Raw("] Before messages that are gone\r\n")
	case len(v.held) == 0 && v.corrected:
		v.corrected = false
		s.writeHighestModSeq()
	}
}

// highestModSeqCode is the response code HIGHESTMODSEQ for clients that know of it; "" for others.
// It is that of the last state which the client was told whole: what others have done since then it
// must still hear of when it comes back with this number.
func (s *session) highestModSeqCode() string {
	if !s.has(condstore) || !s.settle() {
		return "" // without space for it: what was asked for is done all the same
	}
	return "HIGHESTMODSEQ " + strconv.FormatUint(uint64(s.view.synced), 10)
}

// writeHighestModSeq sends it untagged.
func (s *session) writeHighestModSeq() {
	if code := s.highestModSeqCode(); code != "" {
		s.enc.Raw("* OK [").Raw(code).Raw("] Highest\r\n")
	}
}

// settle makes the view's state durable, before a MODSEQ of it is shown.
func (s *session) settle() bool {
	v := s.view
	err := v.box.Commit(s.ctx, v.state)
	v.unsettled = err != nil
	if err != nil && s.ctx.Err() == nil {
		s.log.Error("commit of mailbox", "user", string(s.account.ID), "mailbox", v.name, "err", err)
	}
	return err == nil
}

// enableCondstore is done by whatever needs MODSEQs (RFC 7162 3.1). A client that has a mailbox
// open learns its HIGHESTMODSEQ.
func (s *session) enableCondstore() {
	if s.has(condstore) {
		return
	}
	s.enabled |= condstore
	if s.view != nil {
		s.writeHighestModSeq()
	}
}

// closeView leaves the selected mailbox without a word.
func (s *session) closeView() {
	if s.view == nil {
		return
	}
	s.view.close()
	s.view = nil
	s.saved = nil
	s.contexts = nil
	if s.state == selected {
		s.state = authenticated
	}
}
