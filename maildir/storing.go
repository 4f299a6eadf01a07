package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"buzon/internal/durable"
)

// storing is a STORE under way. What it needs for each message is kept for the next:
// of a large one nearly all the time should be the kernel's, which renames.
type storing struct {
	m      *Mailbox
	change Change
	res    *StoreResult

	set   KeywordSet // the change's keywords, as this chunk numbers them
	infos map[infoKeywords]nextInfo
	done  []renamed // not in the state yet
	row   renamed   // the one that is being renamed
	moved bool      // it has another name, or other keywords
	alone error     // what went wrong with one message alone

	pilot  *pilot // of a large STORE, else nil
	flight flight
}

// infoKeywords is what a change looks at: messages that agree in it end up alike.
type infoKeywords struct {
	raw      string
	keywords KeywordSet
}

// nextInfo is what becomes of them.
type nextInfo struct {
	raw      string
	overflow KeywordSet
	same     bool // flags and keywords are as they were
}

// renamed is a message whose file got another name in cur/, or other keywords.
type renamed struct {
	uid      UID
	was      fileInfo // in the state when it was renamed
	claimed  bool     // a session took it as \Recent
	raw      string   // its info now
	overflow KeywordSet
}

// some changes the first of the messages, which ascend, and returns how many. It holds
// the lock until others had to wait long enough for it.
func (st *storing) some(ctx context.Context, uids []UID) (n int, err error) {
	m := st.m
	if err := m.lock.lock(ctx); err != nil {
		return 0, err
	}
	defer m.lock.unlock()
	if err := m.checkFolder(); err != nil {
		return 0, err
	}
	if err := st.number(ctx); err != nil {
		return 0, err
	}
	defer func() { st.res.State = m.State() }()
	if st.pilot != nil {
		return st.fly(ctx, uids)
	}
	err = st.renameAll(ctx, uids)
	return len(uids), cmp.Or(err, st.settle())
}

// settle makes what was renamed the state.
func (st *storing) settle() (err error) {
	if st.m.hasOverflow(st.done) {
		err = st.m.storeOverflow(st.done)
	}
	st.m.publishRenamed(st.done)
	st.done = st.done[:0]
	return err
}

// number gives the keywords of the change their numbers, which may have become others
// since the last chunk.
func (st *storing) number(ctx context.Context) (err error) {
	c := &st.change
	if c.Op == Remove {
		c.Flags, c.Keywords = takeForwarded(c.Flags, c.Keywords)
		st.set = st.m.knownKeywords(c.Flags, c.Keywords)
	} else {
		c.Flags, st.set, err = st.m.numberKeywords(ctx, c.Flags, c.Keywords)
	}
	st.infos = map[infoKeywords]nextInfo{}
	return err
}

// find returns the row of a message that is to be changed in the newest state.
func (st *storing) find(uid UID) (s *State, i int, ok bool) {
	s = st.m.State()
	i, ok = s.Find(uid)
	switch since := st.change.UnchangedSince; {
	case !ok:
		st.res.Gone = append(st.res.Gone, uid)
	case since != nil && s.modseqAt(i) > *since:
		st.res.Modified = append(st.res.Modified, uid)
		ok = false
	}
	return s, i, ok
}

// renameAll renames what is to be renamed one after the other, until an error that is
// not of one message alone.
func (st *storing) renameAll(ctx context.Context, uids []UID) error {
	m := st.m
	rename := st.rename
	for _, uid := range uids {
		s, i, ok := st.find(uid)
		if !ok {
			continue
		}
		st.row, st.moved = renamed{uid: uid}, false
		e := m.onFileLocked(ctx, s, i, rename)
		switch {
		case errors.Is(e, ErrExpunged):
			st.res.Gone = append(st.res.Gone, uid)
		case isTooLong(e):
			st.alone = fmt.Errorf("%w: %w", ErrLongInfo, e)
		case errors.Is(e, errUnsteady):
			st.alone = e
		case e != nil:
			return e
		case st.moved:
			st.done = append(st.done, st.row)
		}
	}
	return nil
}

// rename renames one file. When somebody else renames it at the same time, the same
// change is made to the flags that it has then.
func (st *storing) rename(dir durable.Dir, name string) error {
	m, r := st.m, &st.row
	base, raw := splitName(name)
	now := m.State()
	j, ok := now.Find(r.uid)
	if !ok {
		return ErrExpunged
	}
	sl := now.slot(j)
	b := now.blocks[sl.block()]
	r.was = b.where[sl.row()]
	old := b.keywords[sl.row()] &^ letterMask
	to := st.next(raw, old, now.keywords)
	isNew := r.was.isNew()
	// Whoever stores flags has seen the message: it leaves new/, unless nothing is to
	// be changed, and it stays recent.
	r.raw, r.overflow = to.raw, to.overflow
	st.moved = !to.same
	if isNew && to.same {
		return nil
	}
	if !isNew && to.raw == raw {
		return nil // at most a keyword without a letter
	}
	st.moved = true
	buf := make([]byte, 0, maxFileName)
	err := m.renameFile(dir, name, string(append(append(buf, base...), to.raw...)))
	if isExist(err) {
		return m.adoptLink(dir, name, base+to.raw)
	}
	return err
}

// next is what a message gets that has this info and these keywords without a letter.
func (st *storing) next(raw string, overflow KeywordSet, t keywordTable) nextInfo {
	key := infoKeywords{raw, overflow}
	n, ok := st.infos[key]
	if !ok {
		in := parseInfo(raw)
		had := in.letters | overflow
		flags, keywords := st.change.apply(in.flags, had, st.set, t)
		n = nextInfo{raw: in.with(flags, keywords), overflow: keywords &^ letterMask, same: flags == in.flags && keywords == had}
		key.raw = strings.Clone(raw)
		st.infos[key] = n
	}
	return n
}

// publishRenamed makes the new names the state.
func (m *Mailbox) publishRenamed(all []renamed) {
	if len(all) == 0 {
		return
	}
	d := m.draft()
	modseq := m.nextModSeq()
	for _, r := range all {
		i, ok := d.Find(r.uid)
		if !ok {
			continue
		}
		w := d.info(r.raw)
		old := d.blocks[d.slot(i).block()].where[d.slot(i).row()]
		if old != r.was && !old.isNew() {
			// A look at the disk came in between: it has seen our rename, and perhaps
			// another program's after it.
			w = old &^ unclaimed
		}
		if (old.isRecent() || r.was.isRecent()) && !r.claimed {
			w |= unclaimed // it left new/, but not for a session that takes it
		}
		d.set(i, w, r.overflow, modseq)
	}
	m.publish(d)
	m.dirty()
}

func (m *Mailbox) hasOverflow(all []renamed) bool {
	s := m.State()
	for _, r := range all {
		i, ok := s.Find(r.uid)
		if !ok {
			continue
		}
		sl := s.slot(i)
		if s.blocks[sl.block()].keywords[sl.row()]&^letterMask != r.overflow {
			return true
		}
	}
	return false
}

// storeOverflow writes down the keywords without a letter. Where that fails the
// messages keep those that they had.
func (m *Mailbox) storeOverflow(all []renamed) error {
	s := m.State()
	var lines []byte
	for _, r := range all {
		if i, ok := s.Find(r.uid); ok {
			base, _, _ := s.file(i)
			lines = appendOverflow(lines, base, s.keywords.names(r.overflow))
		}
	}
	_, err := appendLines(m.dir.folder, overflowFile, lines, m.user.filePerm)
	for k := range all {
		r := &all[k]
		i, ok := s.Find(r.uid)
		switch {
		case !ok:
		case err != nil:
			sl := s.slot(i)
			r.overflow = s.blocks[sl.block()].keywords[sl.row()] &^ letterMask
		default:
			base, _, _ := s.file(i)
			m.setOverflow(base, s.keywords.names(r.overflow))
		}
	}
	return err
}
