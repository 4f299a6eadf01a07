package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

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

// storeChunk is how many messages are renamed before others who wait get their turn,
// and about how many are published at a time.
const storeChunk = 500

// Store changes flags and keywords of messages. It is done when it returns; it is
// durable then with Config.FlagsDurable, otherwise within a second, or after
// Commit. A large change is published in parts, between which other sessions
// work. ErrLimit: no number is left for a keyword; nothing was changed then.
// ErrLongInfo: what other programs wrote into the name of a file leaves no room for
// flags; all other messages were changed.
func (m *Mailbox) Store(ctx context.Context, uids []UID, c Change) (StoreResult, error) {
	var res StoreResult
	uids = slices.Clone(uids)
	slices.Sort(uids)
	uids = slices.Compact(uids)
	st := &storing{m: m, change: c, res: &res}
	if len(uids) >= flyLeast {
		st.pilot = newPilot()
		defer st.pilot.close()
		go st.pilot.run()
	}
	for len(uids) > 0 {
		n, err := st.some(ctx, uids)
		if err != nil {
			return res, m.fail("store in", err)
		}
		uids = uids[n:]
	}
	slices.Sort(res.Gone)
	slices.Sort(res.Modified)
	if res.State == nil {
		res.State = m.State()
	}
	if st.alone != nil {
		return res, fmt.Errorf("store in %s: %w", m.Name(), st.alone)
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
			_, in, _ := s.file(i)
			r.raw = in.raw
			done, uids = append(done, r), append(uids, uid)
			continue
		}
		claimed := false
		err := m.onFileLocked(ctx, s, i, func(dir durable.Dir, name string) error {
			if _, r.raw = splitName(name); r.raw == "" {
				r.raw = ":2,"
			}
			if r.was = m.where(uid); !r.was.isNew() {
				return nil // another reader was faster
			}
			claimed = true
			base, _ := splitName(name)
			return m.renameFile(dir, name, base+r.raw)
		})
		switch {
		case errors.Is(err, ErrExpunged) || isExist(err) || isTooLong(err):
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
