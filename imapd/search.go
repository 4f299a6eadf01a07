package imapd

import (
	"slices"
	"strconv"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// search is SEARCH and UID SEARCH (RFC 9051 6.4.4), with the result options of RFC 4731, RFC 5182
// and RFC 9394.
func (s *session) search(r *request) error {
	r.SP()
	ret, key, err := s.readSearch(r, true)
	if err != nil {
		return s.searchFailed(ret, err)
	}
	found, err := s.matching(r, key)
	if err != nil {
		return s.searchFailed(ret, err)
	}
	if ret.modseq {
		if err := s.view.box.Commit(s.ctx, s.view.state); err != nil {
			return err
		}
	}
	switch {
	case ret.saveOnly(): // RFC 5182 2.1: nothing is returned
	case ret.given || s.has(rev2):
		s.writeESearch(r, ret, found)
	default:
		s.writeSearch(r, "SEARCH", ret, found)
	}
	if ret.save {
		s.saved = s.savedResult(ret, found)
	}
	if ret.update {
		s.keepUpdated(r, ret, key, nil, found)
	}
	return nil
}

// searchFailed: RFC 9051 6.4.4.1: a SEARCH with SAVE that is answered with NO leaves an empty result,
// one that is answered with BAD leaves the result alone.
func (s *session) searchFailed(ret *resultOptions, err error) error {
	if status, _, _, _ := answerTo(err); ret.save && status == "NO" {
		s.saved = nil
	}
	return err
}

// readSearch reads RETURN (…), CHARSET and the keys, to the end of the command.
func (s *session) readSearch(r *request, charsetOptional bool) (*resultOptions, searchKey, error) {
	ret := &resultOptions{}
	p := &searchReader{s: s, r: r, charset: "UTF-8"}
	if r.HasWord("RETURN") {
		r.SP()
		ret.read(r)
		r.SP()
	}
	if charsetOptional && r.HasWord("CHARSET") {
		if s.has(utf8Accept) && !s.has(rev2) { // RFC 6855 3; IMAP4rev2 has both
			return ret, searchKey{}, bad("CHARSET is not to be given after ENABLE UTF8=ACCEPT")
		}
		if err := p.readCharset(); err != nil {
			return ret, searchKey{}, err
		}
		r.SP()
	}
	key := p.keys()
	ret.modseq = p.modseq
	return ret, key, p.end()
}

func (p *searchReader) readCharset() error {
	p.r.SP()
	return p.readCharsetName()
}

// num is what stands for the message with index i in the answer to r.
func (s *session) num(r *request, i int) uint32 {
	if r.uid {
		return uint32(s.view.uids[i])
	}
	return uint32(i) + 1
}

// writeSearch writes the untagged response of RFC 3501 for SEARCH or SORT.
func (s *session) writeSearch(r *request, name string, ret *resultOptions, found []int) {
	s.enc.Raw("* ").Raw(name)
	for _, i := range found {
		b := append(s.enc.Room(24), ' ')
		s.enc.Took(strconv.AppendUint(b, uint64(s.num(r, i)), 10))
	}
	if ret.modseq && len(found) > 0 { // RFC 7162 3.1.5
		s.enc.Raw(" (MODSEQ ").Num(uint64(s.topModSeq(found))).Raw(")")
	}
	s.enc.CRLF()
}

func (s *session) topModSeq(found []int) maildir.ModSeq {
	var top maildir.ModSeq
	for _, i := range found {
		m, _ := s.view.row(i)
		top = max(top, m.ModSeq)
	}
	return top
}

// resultOptions is RETURN (…), RFC 9051 6.4.4.
type resultOptions struct {
	given                      bool
	min, max, all, count, save bool
	partial                    *partialRange
	update                     bool        // RFC 5267 4.3
	fetch                      *fetchOrder // of new messages, with update
	modseq                     bool        // the search is by MODSEQ
}

// saveOnly says whether the result is only wanted for "$".
func (o *resultOptions) saveOnly() bool {
	return o.save && !o.min && !o.max && !o.all && !o.count && !o.update && o.partial == nil
}

func (o *resultOptions) read(r *request) {
	o.given = true
	pages := 0
	r.List(func() {
		switch r.Word() {
		case "MIN":
			o.min = true
		case "MAX":
			o.max = true
		case "ALL":
			o.all = true
			pages++
		case "COUNT":
			o.count = true
		case "SAVE":
			o.save = true
		case "UPDATE":
			o.update = true
			if r.Peek() == ' ' && r.PeekAt(1) == '(' { // RFC 5465 7
				o.fetch = &fetchOrder{}
				r.SP().List(func() { o.fetch.readItem(r, false) })
				o.fetch.add(itemUID)
			}
		case "CONTEXT": // RFC 5267 4.2: a hint
		case "PARTIAL":
			o.partial = readPartialRange(r)
			pages++
		default:
			r.Fail("no such result option")
		}
	})
	if pages > 1 {
		r.Fail("ALL or one PARTIAL") // RFC 5267 4.4, RFC 9394 3.1
	}
	if !o.min && !o.max && !o.count && !o.save && !o.update && o.partial == nil {
		o.all = true // RETURN () is RETURN (ALL)
	}
}

// writeESearch writes the response of RFC 4731. found is in the order of the answer, which MIN and
// MAX are the ends of (RFC 5267 3.1).
func (s *session) writeESearch(r *request, ret *resultOptions, found []int) {
	s.writeESearchOf(r, ret, found, false)
}

// writeESearchOf says with named which mailbox it is about (RFC 7377 2.1).
func (s *session) writeESearchOf(r *request, ret *resultOptions, found []int, named bool) {
	if !ret.given {
		ret.all = true
	}
	s.enc.Raw(`* ESEARCH (TAG `).String(r.tag)
	if named {
		s.enc.Raw(" MAILBOX ").Mailbox(s.view.name).Raw(" UIDVALIDITY ").Num(uint64(s.view.state.UIDValidity()))
	}
	s.enc.Raw(")")
	if r.uid {
		s.enc.Raw(" UID")
	}
	if len(found) > 0 {
		if ret.min {
			s.enc.Raw(" MIN ").Num(uint64(s.num(r, found[0])))
		}
		if ret.max {
			s.enc.Raw(" MAX ").Num(uint64(s.num(r, found[len(found)-1])))
		}
	}
	if ret.count {
		s.enc.Raw(" COUNT ").Num(uint64(len(found)))
	}
	if ret.all && len(found) > 0 {
		s.enc.Raw(" ALL ")
		s.writeNums(r, found)
	}
	if ret.partial != nil {
		lo, hi := ret.partial.of(len(found))
		s.enc.Raw(" PARTIAL (").Raw(ret.partial.text).SP()
		if lo < hi {
			s.writeNums(r, found[lo:hi])
		} else {
			s.enc.Raw("NIL")
		}
		s.enc.Raw(")")
	}
	if ret.modseq && len(found) > 0 {
		s.enc.Raw(" MODSEQ ").Num(uint64(s.topModSeq(ret.told(found))))
	}
	s.enc.CRLF()
}

// told are the messages that the answer names: RFC 7162 3.1.10 wants the MODSEQ of these.
func (o *resultOptions) told(found []int) []int {
	switch {
	case o.all || o.count || o.partial != nil || !o.min && !o.max:
		return found
	case o.min && o.max:
		return []int{found[0], found[len(found)-1]}
	case o.min:
		return []int{found[0]}
	default:
		return []int{found[len(found)-1]}
	}
}

// writeNums writes messages as a set, in their order.
func (s *session) writeNums(r *request, found []int) {
	nums := make([]uint32, len(found))
	for k, i := range found {
		nums[k] = s.num(r, i)
	}
	s.enc.Bytes(wire.AppendList(nil, nums))
}

// savedResult is what "$" stands for after the search (RFC 5182 2.4).
func (s *session) savedResult(ret *resultOptions, found []int) wire.Ranges {
	if len(found) > 0 && !ret.all && !ret.count && ret.partial == nil {
		found = slices.Clone(ret.told(found))
		slices.Sort(found)
	}
	rs := make(wire.Ranges, 0, len(found))
	for _, i := range found {
		uid := uint32(s.view.uids[i])
		rs = append(rs, wire.Range{First: uid, Last: uid})
	}
	return rs.Normal()
}
