package imapd

import (
	"slices"
	"sort"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// mostContexts is how many searches of one session are kept up to date.
const mostContexts = 16

// A searchContext is a search, or a sorted one, whose result the client is kept up to date of (RFC
// 5267 4.3).
type searchContext struct {
	tag     string
	uid     bool
	key     searchKey
	members []maildir.UID // that match, ascending

	fetch    *fetchOrder     // what the client wants of new messages
	criteria []sortCriterion // of SORT
	order    []maildir.UID   // the members as they were sorted; nil for SEARCH
}

// keepUpdated begins a context, unless there are too many.
func (s *session) keepUpdated(r *request, ret *resultOptions, key searchKey, criteria []sortCriterion, found []int) {
	if len(s.contexts) == mostContexts {
		s.enc.Raw("* NO [NOUPDATE ").String(r.tag).Raw("] Too many searches are kept up to date\r\n")
		return
	}
	c := &searchContext{tag: r.tag, uid: r.uid, key: key, criteria: criteria, fetch: ret.fetch}
	for _, i := range found {
		c.members = append(c.members, s.view.uids[i])
	}
	if criteria != nil {
		c.order = slices.Clone(c.members)
	}
	slices.Sort(c.members)
	s.contexts = append(s.contexts, c)
}

// cancelUpdate is CANCELUPDATE (RFC 5267 4.4).
func (s *session) cancelUpdate(r *request) error {
	var tags []string
	for r.Is(' ') && r.Item() {
		tags = append(tags, r.String())
	}
	if len(tags) == 0 {
		r.Fail("expected a tag")
	}
	if err := r.End(); err != nil {
		return err
	}
	s.contexts = slices.DeleteFunc(s.contexts, func(c *searchContext) bool { return slices.Contains(tags, c.tag) })
	return nil
}

// updateGone tells of members that are about to be announced as expunged, while their numbers still
// stand.
func (s *session) updateGone(before []maildir.UID, gone []maildir.Message) {
	for _, c := range s.contexts {
		var left []maildir.UID
		for _, m := range gone {
			if i, ok := slices.BinarySearch(c.members, m.UID); ok {
				c.members = slices.Delete(c.members, i, i+1)
				left = append(left, m.UID)
			}
		}
		s.writeContext(c, "REMOVEFROM", left, before)
	}
}

// updateContexts looks again at messages that are new or have changed.
func (s *session) updateContexts(changed, added []maildir.UID) error {
	uids := slices.Concat(changed, added)
	if len(uids) == 0 {
		return nil
	}
	cand := &candidate{s: s, content: content{s: s, box: s.view.box}}
	defer cand.content.close()
	for _, c := range s.contexts {
		var in, out []maildir.UID
		for _, uid := range uids {
			ok, err := cand.matchUID(c.key, uid)
			if err != nil {
				return err
			}
			at, member := slices.BinarySearch(c.members, uid)
			switch {
			case ok && !member:
				c.members = slices.Insert(c.members, at, uid)
				in = append(in, uid)
			case !ok && member:
				c.members = slices.Delete(c.members, at, at+1)
				out = append(out, uid)
			}
		}
		s.writeContext(c, "REMOVEFROM", out, s.view.uids)
		if err := s.fetchAdded(c, in, added); err != nil {
			return err
		}
		if c.criteria != nil {
			if err := s.insertSorted(c, in); err != nil {
				return err
			}
			continue
		}
		s.writeContext(c, "ADDTO", in, s.view.uids)
	}
	return nil
}

// fetchAdded sends what the client wants to know of new members that are new messages; it comes in
// front of ADDTO (RFC 5465 7).
func (s *session) fetchAdded(c *searchContext, in, added []maildir.UID) error {
	if c.fetch == nil {
		return nil
	}
	var ss spans
	for _, uid := range in {
		if seq := s.view.seq(uid); seq != 0 && slices.Contains(added, uid) {
			ss = append(ss, span{int(seq) - 1, int(seq)})
		}
	}
	if len(ss) == 0 {
		return nil
	}
	f := newFetcher(s, c.fetch)
	defer f.content.close()
	return f.run(ss, false)
}

// insertSorted finds the places of new members, and tells them one after the other: each position is
// counted when those before it are in place (RFC 5267 4.3.2).
func (s *session) insertSorted(c *searchContext, uids []maildir.UID) error {
	w := s.beginContext(c, "ADDTO")
	for _, uid := range uids {
		own := int(s.view.seq(uid)) - 1
		if own < 0 {
			continue
		}
		var failed error
		at := sort.Search(len(c.order), func(k int) bool {
			other := int(s.view.seq(c.order[k])) - 1
			if other < 0 || failed != nil {
				return false
			}
			pair, err := s.sorted([]int{other, own}, c.criteria)
			if err != nil {
				failed = err
				return false
			}
			return pair[0] == own
		})
		if failed != nil {
			return failed
		}
		c.order = slices.Insert(c.order, at, uid)
		w.pair(at+1, uid, s.view.uids)
	}
	w.end()
	return nil
}

// matchUID says whether the message with the UID matches; one that is gone does not.
func (c *candidate) matchUID(key searchKey, uid maildir.UID) (bool, error) {
	seq := c.s.view.seq(uid)
	if seq == 0 {
		return false, nil
	}
	c.look(int(seq)-1, true)
	ok, err := key.match(c)
	if isGone(err) {
		return false, nil
	}
	return ok, err
}

// A contextWriter writes ADDTO or REMOVEFROM with a position for each message.
type contextWriter struct {
	s    *session
	c    *searchContext
	what string
	open bool
}

func (s *session) beginContext(c *searchContext, what string) *contextWriter {
	return &contextWriter{s: s, c: c, what: what}
}

func (w *contextWriter) pair(position int, uid maildir.UID, view []maildir.UID) {
	num := uint32(uid)
	if !w.c.uid {
		i, ok := slices.BinarySearch(view, uid)
		if !ok {
			return
		}
		num = uint32(i) + 1
	}
	if w.open {
		w.s.enc.SP()
	} else {
		w.s.writeContextHead(w.c, w.what)
		w.open = true
	}
	w.s.enc.Num(uint64(position)).SP().Num(uint64(num))
}

func (w *contextWriter) end() {
	if w.open {
		w.s.enc.Raw(")\r\n")
	}
}

func (s *session) writeContextHead(c *searchContext, what string) {
	s.enc.Raw("* ESEARCH (TAG ").String(c.tag).Raw(")")
	if c.uid {
		s.enc.Raw(" UID")
	}
	s.enc.SP().Raw(what).Raw(" (")
}

// removeSorted takes members out of their places.
func (s *session) removeSorted(c *searchContext, uids []maildir.UID, view []maildir.UID) {
	w := s.beginContext(c, "REMOVEFROM")
	for _, uid := range uids {
		if at := slices.Index(c.order, uid); at >= 0 {
			c.order = slices.Delete(c.order, at, at+1)
			w.pair(at+1, uid, view)
		}
	}
	w.end()
}

// writeContext writes ADDTO or REMOVEFROM. The result of a SEARCH has no order: the position is 0
// (RFC 5267 4.3.1).
func (s *session) writeContext(c *searchContext, what string, uids []maildir.UID, view []maildir.UID) {
	if len(uids) == 0 {
		return
	}
	if c.criteria != nil {
		s.removeSorted(c, uids, view)
		return
	}
	var rs wire.Ranges
	slices.Sort(uids)
	for _, uid := range uids {
		if c.uid {
			rs.Add(uint32(uid))
		} else if i, ok := slices.BinarySearch(view, uid); ok {
			rs.Add(uint32(i) + 1)
		}
	}
	s.writeContextHead(c, what)
	s.enc.Raw("0 ").Ranges(rs).Raw(")\r\n")
}
