package imapd

import (
	"buzon/imapd/wire"
	"buzon/maildir"
)

// selectMailbox is SELECT (RFC 9051 6.3.2).
func (s *session) selectMailbox(r *request) error { return s.open(r, false) }

// examine is EXAMINE (RFC 9051 6.3.3).
func (s *session) examine(r *request) error { return s.open(r, true) }

func (s *session) open(r *request, readOnly bool) error {
	name := r.SP().Mailbox()
	var params selectParams
	if r.Is(' ') {
		params.read(s, r)
	}
	if err := r.End(); err != nil {
		return err
	}
	if params.unknown || params.resync != nil && !s.has(qresync) {
		return bad("Parameters of SELECT that are not known or not enabled")
	}
	if params.resync != nil && params.resync.numbered && s.has(uidOnly) {
		return errUIDRequired
	}
	// RFC 9051 6.3.2: the old mailbox is closed even when the new one cannot be opened.
	if s.view != nil {
		s.closeView()
		s.enc.Raw("* OK [CLOSED] Previous mailbox closed\r\n")
	}
	box, p, have, err := s.openNamed(r, name)
	if err != nil {
		return err
	}
	if _, err := box.Sync(s.ctx); err != nil {
		box.Close()
		return err
	}
	if params.condstore || params.resync != nil {
		s.enabled |= condstore
	}
	readOnly = readOnly || have&rightsToChange == 0 // RFC 4314 5.2
	s.view = newView(box, p, have, readOnly)
	s.state = selected
	if err := s.claimRecent(); err != nil {
		return err
	}
	s.view.advance(box.State())
	s.writeSelected()
	if params.resync != nil && !s.view.unsettled {
		s.resync(params.resync)
	}
	r.code = "READ-WRITE"
	if readOnly {
		r.code = "READ-ONLY"
	}
	return nil
}

// writeSelected sends the data that SELECT owes (RFC 9051 6.3.2, RFC 3501 6.3.1, RFC 7162 3.1.2.1,
// RFC 8474 4.2).
func (s *session) writeSelected() {
	v, st := s.view, s.view.state
	s.writeFlags()
	s.writeExists()
	if i := st.FirstUnseen(); i >= 0 && !s.has(rev2) && !s.has(uidOnly) {
		s.enc.Raw("* OK [UNSEEN ").Num(uint64(i + 1)).Raw("] First unseen\r\n")
	}
	s.enc.Raw("* OK [UIDVALIDITY ").Num(uint64(st.UIDValidity())).Raw("] UIDs valid\r\n")
	s.enc.Raw("* OK [UIDNEXT ").Num(uint64(st.UIDNext())).Raw("] Predicted next UID\r\n")
	if s.settle() {
		s.enc.Raw("* OK [HIGHESTMODSEQ ").Num(uint64(st.HighestModSeq())).Raw("] Highest\r\n")
	} else {
		s.enc.Raw("* OK [NOMODSEQ] No modification sequences now\r\n") // RFC 7162 3.1.2.2
	}
	s.enc.Raw("* OK [MAILBOXID (").Raw(v.box.ID()).Raw(")] Mailbox\r\n")
	if s.has(rev2) {
		s.enc.Raw(`* LIST () "/" `).Mailbox(v.name).CRLF()
	}
}

// selectParams are the parameters of SELECT: (CONDSTORE) and (QRESYNC (…)), RFC 7162 3.1.8 and
// 3.2.5.
type selectParams struct {
	condstore bool
	unknown   bool
	resync    *resyncParams
}

type resyncParams struct {
	uidValidity uint32
	modseq      maildir.ModSeq
	known       wire.Set
	hasKnown    bool
	seqs, uids  wire.Set // a sample of what the client remembers
	numbered    bool     // there is one
}

func (p *selectParams) read(s *session, r *request) {
	r.List(func() {
		switch r.Word() {
		case "CONDSTORE":
			p.condstore = true
		case "QRESYNC":
			p.resync = readResync(r)
		default:
			p.unknown = true
		}
	})
}

func readResync(r *request) *resyncParams {
	p := &resyncParams{}
	r.SP().Expect('(')
	p.uidValidity = r.NZNumber()
	p.modseq = maildir.ModSeq(r.SP().Number64())
	if r.Is(' ') && r.Peek() != '(' {
		p.known = r.Set()
		p.hasKnown = true
		if !r.Is(' ') {
			r.Expect(')')
			return p
		}
	}
	if r.Is('(') {
		p.numbered = true
		p.seqs = r.Set()
		p.uids = r.SP().Set()
		r.Expect(')')
	}
	r.Expect(')')
	return p
}
