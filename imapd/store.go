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
	// The messages are those that the client knows now. Then the news of others, so that what comes
	// back afterwards can be told apart from what we did.
	uids, gone := s.view.uidsOf(ss)
	if err := s.sync(syncOptions{expunge: r.uid, withUID: r.uid}); err != nil {
		return err
	}
	known := len(uids)
	uids = slices.DeleteFunc(uids, func(uid maildir.UID) bool {
		_, ok := s.view.state.Find(uid)
		return !ok
	})
	gone = gone || len(uids) < known && !r.uid
	if len(uids) == 0 {
		if gone {
			return maildir.ErrExpunged
		}
		return nil
	}
	before := s.view.state
	res, err := s.view.box.Store(s.ctx, uids, o.change)
	if err != nil {
		return err
	}
	if err := s.tellStored(r, o, before, uids, res); err != nil {
		return err
	}
	return s.storeOutcome(r, res, gone)
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

// tellStored sends the FETCH responses of STORE: the new flags of every message named, unless they
// are unwanted and as expected. What others changed in the same moment is told like the rest.
func (s *session) tellStored(r *request, o storeOrder, before *maildir.State, uids []maildir.UID, res maildir.StoreResult) error {
	news := syncOptions{expunge: r.uid, withUID: r.uid}
	if o.silent {
		e := newExpectation(o.change, res.State.Keywords())
		expected := make(map[maildir.UID]maildir.ModSeq, len(uids))
		for _, uid := range uids {
			if at, ok := res.State.Find(uid); ok && e.met(before, res.State.Message(at)) {
				expected[uid] = res.State.Message(at).ModSeq
			}
		}
		news.told = func(m maildir.Message) bool { return expected[m.UID] == m.ModSeq }
		return s.sync(news)
	}
	// RFC 9051 6.4.6: the value is sent for each message, changed or not, but not for those that
	// UNCHANGEDSINCE kept from being changed.
	stored := slices.DeleteFunc(slices.Clone(uids), func(uid maildir.UID) bool {
		_, refused := slices.BinarySearch(res.Modified, uid)
		return refused
	})
	news.toldAll = true
	news.told = func(m maildir.Message) bool {
		_, ours := slices.BinarySearch(stored, m.UID)
		return ours
	}
	if err := s.sync(news); err != nil {
		return err
	}
	if s.has(condstore) {
		s.settle()
	}
	for _, uid := range stored {
		at, ok := s.view.state.Find(uid)
		if seq := s.view.seq(uid); ok && seq != 0 {
			s.writeFlagsOf(seq, s.view.state.Message(at), r.uid)
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
		old.Flags, old.Keywords = e.change.Flags, e.keywords
	case maildir.Add:
		old.Flags |= e.change.Flags
		old.Keywords |= e.keywords
	case maildir.Remove:
		old.Flags &^= e.change.Flags
		old.Keywords &^= e.keywords
	}
	return old.Flags == m.Flags && old.Keywords == m.Keywords
}

// storeOutcome makes the tagged answer of STORE.
func (s *session) storeOutcome(r *request, res maildir.StoreResult, gone bool) error {
	if len(res.Modified) > 0 {
		// RFC 7162 3.1.3: the messages that somebody else had changed, in the numbers of the
		// command.
		var rs wire.Ranges
		for _, uid := range res.Modified {
			if r.uid {
				rs.Add(uint32(uid))
			} else if seq := s.view.seq(uid); seq != 0 {
				rs.Add(seq)
			}
		}
		r.code = "MODIFIED " + rs.String()
		r.text = "Conditional STORE failed for some"
		return nil
	}
	if gone || len(res.Gone) > 0 {
		return maildir.ErrExpunged
	}
	return nil
}
