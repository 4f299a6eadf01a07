package imapd

import (
	"slices"
	"strings"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// A storeOrder is what STORE is asked to do.
type storeOrder struct {
	set    wire.Set
	change maildir.Change
	silent bool
}

// store is STORE and UID STORE (RFC 9051 6.4.6, RFC 7162 3.1.3).
func (s *session) store(r *request) error {
	o, err := s.readStore(r)
	if err != nil {
		return err
	}
	ss, err := s.find(o.set, r.uid)
	if err != nil {
		return err
	}
	if s.view.readOnly {
		return errReadOnly
	}
	if err := o.limit(s.view.rights.LockedFlags()); err != nil {
		return err
	}
	// The messages are those that the client knows now. Then the news of others, so that what comes
	// back afterwards can be told apart from what we did. What others did to these very messages is
	// told with the outcome: before it, the client could not tell which came first.
	uids, gone := s.view.uidsOf(ss)
	fresh := make(map[maildir.UID]bool)
	put := func(m maildir.Message) bool {
		_, ours := slices.BinarySearch(uids, m.UID)
		fresh[m.UID] = ours
		return ours
	}
	if err := s.sync(syncOptions{expunge: r.uid, withUID: r.uid, told: put, toldAll: true}); err != nil {
		return err
	}
	known := len(uids)
	uids = slices.DeleteFunc(uids, func(uid maildir.UID) bool {
		_, ok := s.view.state.Find(uid)
		return !ok
	})
	gone = gone || len(uids) < known
	if len(uids) == 0 {
		return storeOutcome(r, o, nil, gone)
	}
	before := s.view.state
	res, err := s.view.box.Store(s.ctx, uids, o.change)
	if err != nil {
		return err
	}
	if err := s.tellStored(r, o, before, uids, fresh, res); err != nil {
		return err
	}
	var modified wire.Ranges // in the numbers of the command
	for _, uid := range res.Modified {
		if r.uid {
			modified.Add(uint32(uid))
		} else if seq := s.view.seq(uid); seq != 0 {
			modified.Add(seq)
		}
	}
	return storeOutcome(r, o, modified, gone || len(res.Gone) > 0)
}

func (s *session) readStore(r *request) (o storeOrder, err error) {
	o.set = r.SP().Set()
	r.SP()
	if r.Peek() == '(' {
		r.List(func() {
			if r.Word() != "UNCHANGEDSINCE" {
				r.Fail("expected UNCHANGEDSINCE")
			}
			since := maildir.ModSeq(r.SP().Number64())
			o.change.UnchangedSince = &since
		})
		if o.change.UnchangedSince == nil {
			r.Fail("expected UNCHANGEDSINCE")
		}
		r.SP()
	}
	switch {
	case r.Is('+'):
		o.change.Op = maildir.Add
	case r.Is('-'):
		o.change.Op = maildir.Remove
	default:
		o.change.Op = maildir.Replace
	}
	switch r.Name() {
	case "FLAGS":
	case "FLAGS.SILENT":
		o.silent = true
	default:
		r.Fail("expected FLAGS")
	}
	r.SP()
	var names []string
	if r.Peek() == '(' {
		names = r.Flags()
	} else {
		names = append(names, r.Flag())
		for r.Is(' ') && r.Item() {
			names = append(names, r.Flag())
		}
	}
	if err := r.End(); err != nil {
		return o, err
	}
	fs, err := parseFlags(names)
	o.change.Flags, o.change.Keywords = fs.flags, fs.keywords
	if o.change.UnchangedSince != nil {
		s.enableCondstore() // RFC 7162 3.1
	}
	return o, err
}

// limit keeps the order from flags that are not the account's to change. It fails when nothing is
// left to do (RFC 4314 4).
func (o *storeOrder) limit(locked maildir.LockedFlags) error {
	if locked == (maildir.LockedFlags{}) {
		return nil
	}
	c := &o.change
	asked := c.Flags != 0 || len(c.Keywords) > 0
	c.Flags, c.Keywords = locked.Cut(c.Flags, c.Keywords)
	c.Locked = locked
	if asked && c.Flags == 0 && len(c.Keywords) == 0 || locked == maildir.NoRights.LockedFlags() {
		return errNoPermission
	}
	return nil
}

// tellStored sends the FETCH responses of STORE: the new flags of every message named, unless they
// are unwanted and as expected. What others changed in the same moment is told like the rest; fresh
// are the messages of which the client has not been told yet what others did before.
func (s *session) tellStored(r *request, o storeOrder, before *maildir.State, uids []maildir.UID, fresh map[maildir.UID]bool, res maildir.StoreResult) error {
	e := newExpectation(o.change, res.State.Keywords())
	without := func(uid maildir.UID, list []maildir.UID) bool {
		_, listed := slices.BinarySearch(list, uid)
		return !listed
	}
	expected := make(map[maildir.UID]maildir.ModSeq, len(uids))
	var tell []maildir.UID // whatever happened to them
	for _, uid := range uids {
		stored := without(uid, res.Modified) && without(uid, res.Gone)
		at, ok := res.State.Find(uid)
		if o.silent && stored && !fresh[uid] && ok && e.met(before, res.State.Message(at)) {
			expected[uid] = res.State.Message(at).ModSeq
		}
		// RFC 9051 6.4.6: the value is sent for each message, changed or not, but not for those that
		// UNCHANGEDSINCE kept from being changed.
		if !o.silent && stored || fresh[uid] {
			tell = append(tell, uid)
		}
	}
	err := s.sync(syncOptions{
		expunge: r.uid, withUID: r.uid, toldAll: !o.silent,
		told: func(m maildir.Message) bool { return expected[m.UID] == m.ModSeq || !without(m.UID, tell) },
	})
	if err != nil {
		return err
	}
	for k := range s.view.held { // expunged by others since: what we did is the last of them
		if m := &s.view.held[k]; !without(m.UID, uids) {
			if at, ok := res.State.Find(m.UID); ok {
				*m = res.State.Message(at)
			}
		}
	}
	if len(tell) > 0 && s.has(condstore) {
		s.settle()
	}
	for _, uid := range tell {
		if seq := s.view.seq(uid); seq != 0 {
			m, _ := s.view.row(int(seq) - 1)
			s.writeFlagsOf(seq, m, r.uid)
		}
	}
	return nil
}

// An expectation is what a client believes after STORE with .SILENT: what it knew, changed as it
// said.
type expectation struct {
	change   maildir.Change
	keywords maildir.KeywordSet
}

func newExpectation(c maildir.Change, names []string) expectation {
	e := expectation{change: c}
	for i, name := range names {
		if slices.ContainsFunc(c.Keywords, func(k string) bool { return strings.EqualFold(k, name) }) {
			e.keywords |= 1 << i
		}
	}
	return e
}

// met says whether the message is as a client that knew the state before must expect it.
func (e expectation) met(before *maildir.State, m maildir.Message) bool {
	at, ok := before.Find(m.UID)
	if !ok {
		return false
	}
	old := before.Message(at)
	switch e.change.Op {
	case maildir.Replace:
		old.Flags = e.change.Flags&^e.change.Locked.Flags | old.Flags&e.change.Locked.Flags
		if !e.change.Locked.Keywords {
			old.Keywords = e.keywords
		}
	case maildir.Add:
		old.Flags |= e.change.Flags
		old.Keywords |= e.keywords
	case maildir.Remove:
		old.Flags &^= e.change.Flags
		old.Keywords &^= e.keywords
	}
	return old.Flags == m.Flags && old.Keywords == m.Keywords
}

// storeOutcome makes the tagged answer of STORE: which messages somebody else had changed (RFC 7162
// 3.1.3), and whether some are gone (RFC 2180 4.2.1 to 4.2.3). UIDs that no message has are passed over
// (RFC 9051 6.4.9).
func storeOutcome(r *request, o storeOrder, modified wire.Ranges, gone bool) error {
	switch {
	case len(modified) > 0 && gone && !r.uid: // RFC 7162 3.1.3, the example with NO
		return no("MODIFIED "+modified.String(), expungedText)
	case len(modified) > 0:
		r.code = "MODIFIED " + modified.String()
		r.text = "Conditional STORE failed for some"
	case gone && !r.uid && (!o.silent || o.change.UnchangedSince != nil):
		return maildir.ErrExpunged
	}
	return nil
}
