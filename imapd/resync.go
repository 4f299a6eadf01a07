package imapd

import (
	"buzon/imapd/wire"
	"buzon/maildir"
)

// resync sends what has changed since the client was here (RFC 7162 3.2.5): messages that have
// gone, then the flags of those that changed.
func (s *session) resync(p *resyncParams) {
	v := s.view
	if p.uidValidity != v.state.UIDValidity() {
		return // RFC 7162 3.2.5.1: nothing that it remembers is of use
	}
	known := wire.Ranges{{First: 1, Last: max(1, uint32(v.state.UIDNext())-1)}}
	if p.hasKnown {
		known = p.known.Resolve(uint32(v.state.UIDNext()) - 1)
	}
	vanished := s.vanishedSince(p.modseq, known, s.remembered(p))
	if len(vanished) > 0 {
		s.enc.Raw("* VANISHED (EARLIER) ").Ranges(vanished).CRLF()
	}
	for _, span := range v.byUID(known) {
		for i := span.lo; i < span.hi; i++ {
			if m, _ := v.row(i); m.ModSeq > p.modseq {
				s.writeFlagsOf(uint32(i+1), m, true)
			}
		}
	}
}

// vanishedSince lists the UIDs of within that are gone since modseq. Where the mailbox's history
// does not reach back so far, it lists all that are gone now, above floor: RFC 7162 3.2.5.2 allows
// telling what the client knows.
func (s *session) vanishedSince(modseq maildir.ModSeq, within wire.Ranges, floor maildir.UID) wire.Ranges {
	v := s.view
	ranges, complete := v.box.VanishedSince(modseq)
	if complete {
		gone := make(wire.Ranges, len(ranges))
		for i, r := range ranges {
			gone[i] = wire.Range{First: uint32(r.First), Last: uint32(r.Last)}
		}
		// What the client will be told, or has been, of messages that it still counts is not here.
		return wire.Without(gone.Normal().Intersect(within), v.uids)
	}
	if floor > 0 {
		within = within.Intersect(wire.Ranges{{First: uint32(floor) + 1, Last: 1<<32 - 1}})
	}
	// No UID from UIDNEXT on can have vanished.
	within = within.Intersect(wire.Ranges{{First: 1, Last: max(1, uint32(v.state.UIDNext())-1)}})
	return wire.Without(within, v.uids)
}

// remembered finds how far the client's sample of sequence numbers and UIDs still agrees with the
// mailbox: up to that UID it has missed no expunge (RFC 7162 3.2.5.2).
func (s *session) remembered(p *resyncParams) maildir.UID {
	const most = 10_000 // pairs; clients send a few dozen
	seqs, ok1 := p.seqs.List(most)
	uids, ok2 := p.uids.List(most)
	if !ok1 || !ok2 || len(seqs) != len(uids) {
		return 0
	}
	var floor maildir.UID
	for i, seq := range seqs {
		if int64(seq) > int64(s.view.len()) || s.view.uids[seq-1] != maildir.UID(uids[i]) {
			break
		}
		floor = maildir.UID(uids[i])
	}
	return floor
}
