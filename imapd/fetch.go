package imapd

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"buzon/imapd/wire"
	"buzon/internal/durable"
	"buzon/maildir"
)

// fetch is FETCH and UID FETCH (RFC 9051 6.4.5, RFC 7162 3.1.4). One message's data is complete
// before its response begins, so that a message which is gone meanwhile leaves no half of one.
func (s *session) fetch(r *request) error {
	o, err := s.readFetch(r)
	if err != nil {
		return err
	}
	ss, err := s.find(o.set, r.uid)
	if err != nil {
		return err
	}
	if o.partial != nil {
		ss = ss.page(o.partial)
	}
	if o.changedOnly { // RFC 7162 3.1.4.1: what has changed by now, not what the client was told
		if err := s.sync(syncOptions{withUID: r.uid}); err != nil {
			return err
		}
	}
	if o.has(itemModSeq) || o.changedOnly {
		if err := s.view.box.Commit(s.ctx, s.view.state); err != nil {
			return err
		}
	}
	if o.vanished {
		gone := s.vanishedSince(o.changedSince, o.set.Resolve(uint32(s.view.state.UIDNext())-1), 0)
		if len(gone) > 0 {
			s.enc.Raw("* VANISHED (EARLIER) ").Ranges(gone).CRLF()
		}
	}
	f := newFetcher(s, o)
	defer f.content.close()
	if err := f.run(ss, o.marksSeen() && !s.view.readOnly && s.view.rights.Has(maildir.RightSeen)); err != nil {
		return err
	}
	switch {
	case f.failed != nil:
		return f.failed
	case f.gone:
		return maildir.ErrExpunged // RFC 2180 4.1.2, RFC 5530
	}
	return nil
}

// A fetcher writes the responses of one FETCH.
type fetcher struct {
	s       *session
	o       *fetchOrder
	content content
	pieces  []piece
	seen    map[maildir.UID]maildir.ModSeq // messages that this FETCH has marked as read
	gone    bool                           // some messages do not exist any more
	failed  error                          // of one message; the others are sent
	facts   facts                          // of the message at hand; only what was asked for is of it
	light   bool                           // nothing is asked for that could fail
}

func newFetcher(s *session, o *fetchOrder) *fetcher {
	light := len(o.sections) == 0
	for _, item := range o.items {
		light = light && (item == itemFlags || item == itemUID || item == itemModSeq)
	}
	return &fetcher{s: s, o: o, content: content{s: s, box: s.view.box}, light: light}
}

// run sends the messages in batches: one is marked as read, and parsed, before it is sent. The next
// one is parsed meanwhile.
func (f *fetcher) run(ss spans, mark bool) error {
	n := 0
	var breath durable.Breath
	var ahead parsing
	defer ahead.wait()
	for _, sp := range ss {
		for lo := sp.lo; lo < sp.hi; {
			hi := min(lo+fetchBatch, sp.hi)
			if mark {
				if err := f.markSeen(lo, hi); err != nil {
					return err
				}
			}
			if depth, ok := f.o.parsed(); ok {
				ahead.wait()
				if lo == sp.lo {
					ahead.begin(f.s, lo, hi, depth)
					ahead.wait()
				}
				ahead.begin(f.s, hi, min(hi+fetchBatch, sp.hi), depth)
			}
			for i := lo; i < hi; i++ {
				breath.Take()
				if err := f.message(i); err != nil {
					return err
				}
				// A client that has gone, or a server that stops, ends a long FETCH.
				if n++; n%fetchBatch == 0 && (f.s.enc.Err() != nil || f.s.ctx.Err() != nil) {
					return f.s.ctx.Err()
				}
			}
			lo = hi
		}
	}
	return f.s.enc.Err()
}

// A parsing is a batch that the store parses while the session does something else.
type parsing struct{ done sync.WaitGroup }

func (p *parsing) begin(s *session, lo, hi int, depth maildir.Depth) {
	if lo < hi {
		ctx, box, uids := s.ctx, s.view.box, slices.Clone(s.view.uids[lo:hi])
		p.done.Go(func() {
			defer func() { _ = recover() }() // the session meets it again, and tells
			box.ParseAhead(ctx, uids, depth)
		})
	}
}

func (p *parsing) wait() { p.done.Wait() }

// markSeen sets \Seen before the content is sent; FLAGS then come with it (RFC 9051 6.4.5).
func (f *fetcher) markSeen(lo, hi int) error {
	v := f.s.view
	var unseen []maildir.UID
	newest := v.box.State() // others may have made it unread since the client was told
	for i := lo; i < hi; i++ {
		m, _ := v.row(i)
		at, ok := newest.Find(m.UID)
		if ok && newest.Message(at).Flags&maildir.FlagSeen == 0 && (!f.o.changedOnly || m.ModSeq > f.o.changedSince) {
			unseen = append(unseen, m.UID)
		}
	}
	f.seen = nil
	if len(unseen) == 0 {
		return nil
	}
	res, err := v.box.Store(f.s.ctx, unseen, maildir.Change{Op: maildir.Add, Flags: maildir.FlagSeen})
	if err != nil {
		return err
	}
	f.seen = make(map[maildir.UID]maildir.ModSeq, len(unseen))
	for _, uid := range unseen {
		if at, ok := res.State.Find(uid); ok {
			f.seen[uid] = res.State.Message(at).ModSeq
		}
	}
	// The numbers stand still until the end of the command: expunges are held.
	told := func(m maildir.Message) bool { return f.seen[m.UID] == m.ModSeq }
	return f.s.sync(syncOptions{told: told, toldAll: true})
}

// message sends one response.
func (f *fetcher) message(i int) error {
	m, at := f.s.view.row(i)
	if f.o.changedOnly && m.ModSeq <= f.o.changedSince {
		return nil
	}
	if !f.light {
		if err := f.prepare(m, at); err != nil {
			return f.skip(err)
		}
	}
	f.write(uint32(i+1), m)
	return nil
}

// skip notes why a message is left out. Only what concerns everything ends the command.
func (f *fetcher) skip(err error) error {
	var n *noError
	switch {
	case errors.Is(err, maildir.ErrExpunged):
		f.gone = true
	case errors.As(err, &n), errors.Is(err, maildir.ErrUnreadable):
		f.failed = err
	default:
		return err
	}
	return nil
}

// facts are what must be known of a message before its response begins.
type facts struct {
	size       int64
	date, save time.Time
	saved      bool
	guid       string
	thread     string
	parsed     *maildir.Parsed
}

// prepare finds everything that can fail.
func (f *fetcher) prepare(m maildir.Message, at int) (err error) {
	st, facts := f.s.view.state, &f.facts
	if at < 0 { // another session has expunged it: RFC 2180 4.1.1, as long as it can be read
		if old, row, ok := f.s.view.box.Kept(m.UID); ok {
			st, at = old, row
		}
	}
	f.content.at(m.UID)
	if depth, ok := f.o.rendered(); at >= 0 && ok { // first: who parses a message knows its size
		if facts.parsed, err = f.content.parsedTo(depth); err != nil {
			return err
		}
	}
	for _, item := range f.o.items {
		if at < 0 && item >= itemInternalDate && item != itemModSeq {
			return maildir.ErrExpunged
		}
		switch item {
		case itemSize:
			facts.size, err = st.Size(at)
		case itemInternalDate:
			facts.date, err = st.InternalDate(at)
		case itemSaveDate:
			facts.save, err = st.SaveDate(at)
			facts.saved = err == nil
		case itemEmailID:
			facts.guid = st.GUID(at)
		case itemThreadID:
			facts.thread, err = f.content.threadID()
		}
		if err != nil {
			return err
		}
	}
	f.pieces = f.pieces[:0]
	for k := range f.o.sections {
		p, err := f.content.resolve(&f.o.sections[k])
		if err != nil {
			return err
		}
		f.pieces = append(f.pieces, p)
	}
	return nil
}

// write sends the response.
func (f *fetcher) write(seq uint32, m maildir.Message) {
	s, facts := f.s, &f.facts
	b := append(s.enc.Room(1024), "* "...)
	if s.has(uidOnly) {
		b = strconv.AppendUint(b, uint64(m.UID), 10)
		b = append(b, " UIDFETCH ("...)
	} else {
		b = strconv.AppendUint(b, uint64(seq), 10)
		b = append(b, " FETCH ("...)
	}
	start := len(b)
	section := 0
	for _, item := range f.o.items {
		if s.has(uidOnly) && item == itemUID {
			continue // RFC 9586 3.3: the UID stands in front
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		switch item {
		case itemFlags:
			b = append(b, "FLAGS ("...)
			b = append(s.appendFlags(b, m), ')')
		case itemUID:
			b = append(b, "UID "...)
			b = strconv.AppendUint(b, uint64(m.UID), 10)
		case itemInternalDate:
			b = append(b, "INTERNALDATE "...)
			b = wire.AppendDateTime(b, facts.date)
		case itemSize:
			b = append(b, "RFC822.SIZE "...)
			b = strconv.AppendInt(b, facts.size, 10)
		case itemModSeq:
			b = s.view.appendModSeq(b, m)
		case itemEmailID:
			b = append(b, "EMAILID ("...)
			b = append(appendObjectID(b, 'M', facts.guid), ')')
		case itemThreadID:
			if facts.thread == "" {
				b = append(b, "THREADID NIL"...)
				break
			}
			b = append(b, "THREADID ("...)
			b = append(appendObjectID(b, 'T', facts.thread), ')')
		case itemSaveDate:
			b = append(b, "SAVEDATE "...)
			b = wire.AppendDateTime(b, facts.save)
		default:
			s.enc.Took(b)
			f.writeLarge(item, &section, facts)
			b = s.enc.Room(512)
			start = -1
		}
	}
	if _, marked := f.seen[m.UID]; marked {
		if !f.o.has(itemFlags) {
			b = append(b, " FLAGS ("...)
			b = append(s.appendFlags(b, m), ')')
		}
		if s.has(condstore) && !f.o.has(itemModSeq) { // RFC 7162 3.1: it is news
			b = s.view.appendModSeq(append(b, ' '), m)
		}
	}
	s.enc.Took(append(b, ")\r\n"...))
}

// writeLarge writes the items that do not fit a buffer for sure.
func (f *fetcher) writeLarge(item fetchItem, section *int, facts *facts) {
	enc := f.s.enc
	switch item {
	case itemEnvelope:
		enc.Raw("ENVELOPE ").Bytes(facts.parsed.Envelope)
	case itemBody:
		enc.Raw("BODY ").Bytes(facts.parsed.Body)
	case itemBodyStructure:
		enc.Raw("BODYSTRUCTURE ").Bytes(facts.parsed.BodyStructure)
	case itemPreview:
		enc.Raw("PREVIEW ").String(string(facts.parsed.Preview))
	case itemSection:
		f.s.writePiece(&f.content, &f.o.sections[*section], f.pieces[*section])
		*section++
	}
}

// page cuts a set of messages to a page of it (RFC 9394 3.2).
func (ss spans) page(p *partialRange) spans {
	lo, hi := p.of(ss.len())
	var out spans
	at := 0
	for _, sp := range ss {
		n := sp.hi - sp.lo
		from, to := max(lo-at, 0), min(hi-at, n)
		if from < to {
			out = append(out, span{sp.lo + from, sp.lo + to})
		}
		at += n
	}
	return out
}
