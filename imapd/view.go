package imapd

import (
	"iter"
	"slices"
	"sort"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// A view is what one session knows of its selected mailbox: which message has which sequence
// number, and up to which state of the mailbox the client has been told.
//
// The store's states are immutable pictures, so a view is cheap: while everything has been told,
// uids is the state's own slice. Messages that others have expunged while this session may not be
// told (RFC 9051 7.5.1) are kept in held: they hold their sequence numbers, and what was last known
// of them, until the next chance to say so. Then uids is a slice of the view's own.
type view struct {
	box      *maildir.Mailbox
	reader   *maildir.Reader
	name     string
	readOnly bool
	guest    bool           // it belongs to another account
	rights   maildir.Rights // as they were last looked up

	state    *maildir.State // the client knows everything up to this
	uids     []maildir.UID  // by sequence number
	held     []maildir.Message
	recent   []maildir.UID // \Recent in this session alone, ascending
	keywords int           // how many of the state's keywords were announced
	recents  int           // how many \Recent messages were announced

	// synced is the HIGHESTMODSEQ of the last state that the client knows whole, shown the highest
	// MODSEQ that it may take for one. See correctModSeq.
	synced, shown maildir.ModSeq
	corrected     bool

	// unsettled: the store could not make the state durable, for want of space. Mail is still read
	// and deleted then, but no MODSEQ is shown that a crash could take back.
	unsettled bool
}

// newView begins a view of an open mailbox, which is closed with it.
func newView(box *maildir.Mailbox, p place, have maildir.Rights, readOnly bool) *view {
	st := box.State()
	return &view{
		box: box, reader: box.Reader(), name: p.shown, guest: p.guest, rights: have, readOnly: readOnly,
		state: st, uids: st.UIDs(), keywords: len(st.Keywords()), synced: st.HighestModSeq(),
	}
}

// len is the number of messages as the client counts them.
func (v *view) len() int { return len(v.uids) }

func (v *view) close() {
	v.reader.Close()
	v.box.Close()
}

// row returns what is known of the message with index i (sequence number − 1), and its index in the
// state, −1 if it was expunged.
func (v *view) row(i int) (maildir.Message, int) {
	if len(v.held) == 0 {
		return v.state.Message(i), i
	}
	uid := v.uids[i]
	if at, ok := v.state.Find(uid); ok {
		return v.state.Message(at), at
	}
	k, _ := slices.BinarySearchFunc(v.held, uid, func(m maildir.Message, uid maildir.UID) int { return int(int64(m.UID) - int64(uid)) })
	return v.held[k], -1
}

// seq returns the sequence number of uid; 0 if the client knows no such message.
func (v *view) seq(uid maildir.UID) uint32 {
	i, ok := slices.BinarySearch(v.uids, uid)
	if !ok {
		return 0
	}
	return uint32(i) + 1
}

func (v *view) isRecent(uid maildir.UID) bool {
	if len(v.recent) == 0 {
		return false
	}
	_, ok := slices.BinarySearch(v.recent, uid)
	return ok
}

// A span is a range of indices into a view, [lo, hi).
type span struct{ lo, hi int }

// spans is a set of messages of a view, in ascending order.
type spans []span

func (ss spans) len() int {
	n := 0
	for _, s := range ss {
		n += s.hi - s.lo
	}
	return n
}

// all yields the indices.
func (ss spans) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, s := range ss {
			for i := s.lo; i < s.hi; i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// bySeq finds messages by sequence numbers. A number that no message has is an error (RFC 9051
// section 9, seq-number).
func (v *view) bySeq(set wire.Set) (spans, error) {
	rs := set.Resolve(uint32(v.len()))
	if v.len() == 0 || int64(rs.Max()) > int64(v.len()) {
		return nil, bad("No such message number")
	}
	ss := make(spans, len(rs))
	for i, r := range rs {
		ss[i] = span{int(r.First) - 1, int(r.Last)}
	}
	return ss, nil
}

// byUID finds messages by UIDs. UIDs that no message has are passed over (RFC 9051 6.4.9).
func (v *view) byUID(rs wire.Ranges) spans {
	ss := make(spans, 0, len(rs))
	for _, r := range rs {
		lo := v.lower(maildir.UID(r.First))
		hi := lo
		if r.First == r.Last {
			if lo < len(v.uids) && v.uids[lo] == maildir.UID(r.First) {
				hi++
			}
		} else {
			hi = v.upper(maildir.UID(r.Last))
		}
		if lo < hi {
			ss = append(ss, span{lo, hi})
		}
	}
	return ss
}

func (v *view) lower(uid maildir.UID) int {
	return sort.Search(len(v.uids), func(i int) bool { return v.uids[i] >= uid })
}

func (v *view) upper(uid maildir.UID) int {
	return sort.Search(len(v.uids), func(i int) bool { return v.uids[i] > uid })
}

// find resolves a set of the request's kind, with "$" for the saved search result.
func (s *session) find(set wire.Set, uid bool) (spans, error) {
	switch v := s.view; {
	case set.Saved:
		return v.byUID(s.saved), nil
	case uid:
		return v.byUID(set.Resolve(v.topUID())), nil
	default:
		return v.bySeq(set)
	}
}

// any is find for SEARCH, where a number that no message has just matches none.
func (v *view) any(set wire.Set, uid bool, saved wire.Ranges) spans {
	switch top := uint32(v.len()); {
	case set.Saved:
		return v.byUID(saved)
	case uid:
		return v.byUID(set.Resolve(v.topUID()))
	case top == 0:
		return nil
	default:
		rs := set.Resolve(top).Intersect(wire.Ranges{{First: 1, Last: top}})
		ss := make(spans, len(rs))
		for i, r := range rs {
			ss[i] = span{int(r.First) - 1, int(r.Last)}
		}
		return ss
	}
}

func (v *view) topUID() uint32 {
	if v.len() == 0 {
		return 0
	}
	return uint32(v.uids[v.len()-1])
}

// uidsOf lists the UIDs of messages that still exist; gone says that some do not.
func (v *view) uidsOf(ss spans) (uids []maildir.UID, gone bool) {
	uids = make([]maildir.UID, 0, ss.len())
	for _, s := range ss {
		if len(v.held) == 0 {
			uids = append(uids, v.uids[s.lo:s.hi]...)
			continue
		}
		for i := s.lo; i < s.hi; i++ {
			if _, at := v.row(i); at < 0 {
				gone = true
			} else {
				uids = append(uids, v.uids[i])
			}
		}
	}
	return uids, gone
}

// hold keeps messages that were just expunged, so that they can be told later.
func (v *view) hold(vanished []maildir.UID) {
	for _, uid := range vanished {
		if i, ok := v.state.Find(uid); ok {
			v.held = append(v.held, v.state.Message(i))
		}
	}
	slices.SortFunc(v.held, func(a, b maildir.Message) int { return int(int64(a.UID) - int64(b.UID)) })
}

// advance moves on to next. Messages of held keep their places.
func (v *view) advance(next *maildir.State) {
	v.state = next
	if len(v.held) == 0 {
		v.uids = next.UIDs()
		v.synced = next.HighestModSeq()
		return
	}
	fresh := next.UIDs()
	uids := make([]maildir.UID, 0, len(fresh)+len(v.held))
	i := 0
	for _, m := range v.held {
		for i < len(fresh) && fresh[i] < m.UID {
			uids = append(uids, fresh[i])
			i++
		}
		uids = append(uids, m.UID)
	}
	v.uids = append(uids, fresh[i:]...)
}
