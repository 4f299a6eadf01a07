package maildir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// Op says what STORE does with the flags it names (RFC 9051 6.4.6).
type Op int

// FLAGS, +FLAGS and -FLAGS.
const (
	Replace Op = iota
	Add
	Remove
)

// Change is what Store does to each message.
type Change struct {
	Op       Op
	Flags    Flags
	Keywords []string
	// UnchangedSince, where not nil, excludes messages with a higher ModSeq
	// (RFC 7162 3.1.3).
	UnchangedSince *ModSeq
	// Locked flags stay as they are, whatever Replace says.
	Locked LockedFlags
}

// StoreResult says what Store could not do.
type StoreResult struct {
	State    *State // with the change in it, whoever came next
	Modified []UID  // excluded by UnchangedSince, ascending
	Gone     []UID  // expunged by others meanwhile, ascending
}

// storeChunk is how many messages are renamed before others get their turn.
const storeChunk = 500

// Store changes flags and keywords of messages. It is done when it returns; it is
// durable then with Config.FlagsDurable, otherwise within a second, or after
// Commit. A large change is published in parts, between which other sessions
// work. ErrLimit: no number is left for a keyword; nothing was changed then.
func (m *Mailbox) Store(ctx context.Context, uids []UID, c Change) (StoreResult, error) {
	var res StoreResult
	uids = slices.Clone(uids)
	slices.Sort(uids)
	uids = slices.Compact(uids)
	for len(uids) > 0 {
		n := min(len(uids), storeChunk)
		if err := m.storeSome(ctx, uids[:n], c, &res); err != nil {
			return res, m.fail("store in", err)
		}
		uids = uids[n:]
	}
	if res.State == nil {
		res.State = m.State()
	}
	if m.user.store.cfg.FlagsDurable {
		if err := m.lock.lock(ctx); err != nil {
			return res, err
		}
		defer m.lock.unlock()
		if err := m.flush(); err != nil {
			return res, m.fail("store in", err)
		}
	}
	return res, nil
}

// renamed is a message whose file got another name.
type renamed struct {
	uid      UID
	was      fileInfo // in the state when it was renamed
	to       sighting
	overflow KeywordSet
	claimed  bool // a session took it as \Recent
}

func (m *Mailbox) storeSome(ctx context.Context, uids []UID, c Change, res *StoreResult) error {
	if err := m.lock.lock(ctx); err != nil {
		return err
	}
	defer m.lock.unlock()
	if err := m.checkFolder(); err != nil {
		return err
	}
	var set KeywordSet
	var err error
	if c.Op == Remove {
		c.Flags, c.Keywords = takeForwarded(c.Flags, c.Keywords)
		set = m.knownKeywords(c.Flags, c.Keywords)
	} else if c.Flags, set, err = m.numberKeywords(ctx, c.Flags, c.Keywords); err != nil {
		return err
	}
	defer m.user.store.watch.burst(2 * len(uids))()
	var done []renamed
	var lines []byte
	for _, uid := range uids {
		s := m.State()
		i, ok := s.Find(uid)
		switch {
		case !ok:
			res.Gone = append(res.Gone, uid)
			continue
		case c.UnchangedSince != nil && s.modseqAt(i) > *c.UnchangedSince:
			res.Modified = append(res.Modified, uid)
			continue
		}
		r, changed, e := m.storeOne(ctx, s, i, c, set)
		if errors.Is(e, ErrExpunged) {
			res.Gone = append(res.Gone, uid)
			continue
		}
		if errors.Is(e, errUnsteady) {
			err = e // of this message alone
			continue
		}
		if e != nil {
			err = e
			break
		}
		if changed {
			done = append(done, r)
		}
	}
	if m.hasOverflow(done) {
		lines = m.overflowLines(done)
		if _, e := appendLines(m.dir.folder, overflowFile, lines, m.user.filePerm); err == nil {
			err = e
		}
	}
	m.publishRenamed(done)
	res.State = m.State()
	if err == nil && len(uids) == storeChunk && m.disk.live {
		// The events of our own renames, before the kernel's queue is full.
		_, err = m.syncLocked(ctx)
	}
	return err
}

// storeOne renames one file. When somebody else renames it at the same time, the
// same change is made to the flags that it has then.
func (m *Mailbox) storeOne(ctx context.Context, s *State, i int, c Change, set KeywordSet) (r renamed, changed bool, err error) {
	r.uid = s.uids[i]
	err = m.onFileLocked(ctx, s, i, func(dir durable.Dir, name string) error {
		base, raw := splitName(name)
		now := m.State()
		j, ok := now.Find(r.uid)
		if !ok {
			return ErrExpunged
		}
		in := parseInfo(raw)
		sl := now.slot(j)
		r.was = now.blocks[sl.block()].where[sl.row()]
		old := now.blocks[sl.block()].keywords[sl.row()]
		flags, keywords := c.apply(in.flags, in.letters|old&^letterMask, set, now.keywords)
		r.overflow = keywords &^ letterMask
		// Whoever stores flags has seen the message: it leaves new/.
		r.to = sighting{isNew: false, name: base + in.with(flags, keywords)}
		_, _, isNew := now.file(j)
		if !isNew && r.to.name == name && keywords == in.letters|old&^letterMask {
			return nil
		}
		if isNew && flags == in.flags && keywords == in.letters|old&^letterMask {
			r.to = sighting{isNew: true, name: name}
			return nil // nothing to change: it stays recent
		}
		changed = true
		if !isNew && r.to.name == name {
			return nil // a keyword without a letter alone
		}
		err := dir.Rename(name, m.dir.cur, r.to.name)
		if isExist(err) {
			return m.adoptLink(dir, name, r.to.name)
		}
		return err
	})
	return r, changed, err
}

// adoptLink is for a message whose new name is taken. A second link to its file is
// the message's name from now on, the old name waits to be removed; another
// message's file gets a base of its own first.
func (m *Mailbox) adoptLink(dir durable.Dir, name, taken string) error {
	have, err := dir.Stat(name)
	if err != nil {
		return err
	}
	other, err := m.dir.cur.Stat(taken)
	if err != nil {
		return err
	}
	if have.Ino != other.Ino {
		return fs.ErrNotExist // look at the directory again
	}
	base, _ := splitName(name)
	if m.doubles[base].IsZero() {
		m.doubles[base] = m.user.store.now()
	}
	m.settled.Store(false)
	return nil
}

// apply returns the flags after the change. Letters without a name are nobody's
// to change.
func (c Change) apply(f Flags, k KeywordSet, set KeywordSet, t keywordTable) (Flags, KeywordSet) {
	switch c.Op {
	case Add:
		return f | c.Flags, k | set
	case Remove:
		return f &^ c.Flags, k &^ set
	}
	f = c.Flags&^c.Locked.Flags | f&c.Locked.Flags
	if c.Locked.Keywords {
		return f, k
	}
	return f, set | k&^t.named()
}

// knownKeywords numbers the keywords that the mailbox has.
func (m *Mailbox) knownKeywords(f Flags, names []string) (set KeywordSet) {
	t := m.State().keywords
	for _, name := range names {
		if n := t.find(name); n >= 0 {
			set |= 1 << n
		}
	}
	return set | forwardedLetter(t, f)
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
		_, raw := splitName(r.to.name)
		w := d.info(raw)
		old := d.blocks[d.slot(i).block()].where[d.slot(i).row()]
		if old != r.was && old.isNew() == r.to.isNew {
			// A look at the disk came in between: it has seen our rename, and perhaps
			// another program's after it.
			w = old &^ unclaimed
		}
		switch {
		case r.to.isNew:
			w |= inNew
		case (old.isRecent() || r.was.isRecent()) && !r.claimed:
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

func (m *Mailbox) overflowLines(all []renamed) []byte {
	t := m.State().keywords
	var lines []byte
	for _, r := range all {
		base, _ := splitName(r.to.name)
		names := t.names(r.overflow)
		lines = appendOverflow(lines, base, names)
		m.setOverflow(base, names)
	}
	return lines
}

// ClaimRecent moves all files from new/ to cur/, as a reader that selects the
// mailbox must, and returns the UIDs of those messages: they are \Recent for the
// caller's session and for no other. EXAMINE must not call it.
func (m *Mailbox) ClaimRecent(ctx context.Context) ([]UID, error) {
	if m.quiet() && m.State().recent == 0 {
		return nil, nil
	}
	if err := m.lock.lock(ctx); err != nil {
		return nil, err
	}
	defer m.lock.unlock()
	s, err := m.syncLocked(ctx)
	if err != nil {
		return nil, m.fail("claim recent in", err)
	}
	if s.recent == 0 {
		return nil, nil
	}
	var done []renamed
	var uids []UID
	for i, uid := range s.uids {
		sl := s.slot(i)
		where := s.blocks[sl.block()].where[sl.row()]
		if !where.isRecent() {
			continue
		}
		r := renamed{uid: uid, was: where, overflow: s.blocks[sl.block()].keywords[sl.row()], claimed: true}
		if !where.isNew() {
			base, in, _ := s.file(i)
			r.to = sighting{isNew: false, name: base + in.raw}
			done, uids = append(done, r), append(uids, uid)
			continue
		}
		claimed := false
		err := m.onFileLocked(ctx, s, i, func(dir durable.Dir, name string) error {
			r.to = sighting{isNew: false, name: name}
			if !strings.Contains(name, ":") {
				r.to.name += ":2,"
			}
			if r.was = m.where(uid); !r.was.isNew() {
				return nil // another reader was faster
			}
			claimed = true
			return dir.Rename(name, m.dir.cur, r.to.name)
		})
		switch {
		case errors.Is(err, ErrExpunged) || isExist(err):
		case err != nil:
			m.publishRenamed(done)
			return uids, m.fail("claim recent in", err)
		case claimed:
			done, uids = append(done, r), append(uids, uid)
		}
	}
	m.publishRenamed(done)
	return uids, nil
}

// where is where the newest state has a message; 0 when it has none.
func (m *Mailbox) where(uid UID) fileInfo {
	s := m.State()
	if i, ok := s.Find(uid); ok {
		return s.blocks[s.slot(i).block()].where[s.slot(i).row()]
	}
	return 0
}
