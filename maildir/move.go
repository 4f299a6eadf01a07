package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"buzon/internal/durable"
)

// Move moves messages into dst, another mailbox of the same user: each is at every
// moment in exactly one of the two (RFC 6851). Messages that are gone by now are
// left out. An error leaves all of them where they were.
func (m *Mailbox) Move(ctx context.Context, uids []UID, dst *Mailbox) (CopyResult, error) {
	if m == dst {
		return m.moveWithin(ctx, uids)
	}
	for try := 1; ; try++ {
		res, err := m.moveTo(ctx, uids, dst)
		// A file that was renamed under our hands: everything is back where it
		// was, and the names are known better now.
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == findTries {
			return res, err
		}
	}
}

func (m *Mailbox) moveTo(ctx context.Context, uids []UID, dst *Mailbox) (CopyResult, error) {
	unlock, err := lockBoth(ctx, m, dst)
	if err != nil {
		return CopyResult{}, err
	}
	defer unlock()
	for _, x := range []*Mailbox{m, dst} {
		if err := x.checkFolder(); err != nil {
			return CopyResult{}, x.fail("move", err)
		}
	}
	s := m.State()
	rows, _ := s.sortedRows(uids)
	res := CopyResult{UIDValidity: dst.State().validity}
	if len(rows) == 0 {
		return res, nil
	}
	mv := &mover{src: m, dst: dst, in: incoming{m: dst, kind: intentMove}}
	if err := mv.prepare(ctx, s, rows); err != nil {
		return CopyResult{}, m.fail("move from", err)
	}
	if res.Dst, err = mv.commit(ctx); err != nil {
		return CopyResult{}, m.fail("move from", err)
	}
	for _, it := range mv.items {
		res.Src = append(res.Src, it.uid)
	}
	res.UIDValidity = dst.State().validity
	return res, nil
}

// MoveUnlocked is Move without the flags that are locked. dst may be another user's; then, and where
// flags are locked, a crash may leave messages in both.
func (m *Mailbox) MoveUnlocked(ctx context.Context, uids []UID, dst *Mailbox, locked LockedFlags) (CopyResult, error) {
	if m.user == dst.user && locked == (LockedFlags{}) {
		return m.Move(ctx, uids, dst)
	}
	return m.copyAway(ctx, uids, dst, locked)
}

// moveWithin gives messages of a mailbox new UIDs in it, as MOVE to itself must.
func (m *Mailbox) moveWithin(ctx context.Context, uids []UID) (CopyResult, error) {
	return m.copyAway(ctx, uids, m, LockedFlags{})
}

func (m *Mailbox) copyAway(ctx context.Context, uids []UID, dst *Mailbox, locked LockedFlags) (CopyResult, error) {
	res, err := m.CopyUnlocked(ctx, uids, dst, locked)
	if err != nil {
		return res, err
	}
	if _, err := m.Expunge(ctx, res.Src); err != nil {
		return res, err
	}
	return res, nil
}

// lockBoth takes two locks in the one order that everybody keeps.
func lockBoth(ctx context.Context, a, b *Mailbox) (unlock func(), err error) {
	if a.serial > b.serial {
		a, b = b, a
	}
	if err := a.lock.lock(ctx); err != nil {
		return nil, err
	}
	if err := b.lock.lock(ctx); err != nil {
		a.lock.unlock()
		return nil, err
	}
	return func() { b.lock.unlock(); a.lock.unlock() }, nil
}

// mover renames files from one mailbox to another. Both are locked.
type mover struct {
	src, dst *Mailbox
	in       incoming
	items    []moving
}

type moving struct {
	traveller
	from  sighting // where it was; what to rename back
	moved bool
}

func (mv *mover) prepare(ctx context.Context, s *State, rows []int) error {
	for _, i := range rows {
		base, in, isNew := s.file(i)
		it := moving{traveller: s.traveller(i), from: sighting{isNew: isNew, name: base + in.raw}}
		st, err := mv.src.dir.of(isNew).Stat(it.from.name)
		if err != nil {
			// Renamed by somebody: the newest state knows, or it is gone.
			err = mv.src.onFileLocked(ctx, s, i, func(dir durable.Dir, name string) (err error) {
				it.from = sighting{isNew: dir == mv.src.dir.new, name: name}
				st, err = dir.Stat(name)
				return err
			})
			if errors.Is(err, ErrExpunged) {
				continue
			}
			if err != nil {
				return err
			}
			if j, ok := mv.src.State().Find(it.uid); ok {
				it.traveller = mv.src.State().traveller(j)
			}
		}
		if st.Mode.Type() != 0 {
			return fmt.Errorf("message %d: %w", it.uid, durable.ErrNotRegular)
		}
		it.stat = st
		mv.items = append(mv.items, it)
	}
	for k := range mv.items {
		it := &mv.items[k]
		f, set, err := mv.dst.numberKeywords(ctx, it.flags, it.keywords)
		if err != nil {
			return err
		}
		mv.in.add(mv.dst.user.store.namer.base(it.stored, it.size), it.guid, f, set, it.stat, func(dir durable.Dir, name string) error {
			err := mv.src.dir.of(it.from.isNew).Rename(it.from.name, dir, name)
			it.moved = err == nil
			return err
		})
	}
	return nil
}

func (mv *mover) commit(ctx context.Context) ([]UID, error) {
	uids, err := mv.in.commitMove(ctx, mv)
	if err != nil {
		return nil, err
	}
	return uids, nil
}

// back renames everything back to where it was.
func (mv *mover) back() {
	for i := range mv.items {
		it := &mv.items[i]
		if !it.moved {
			continue
		}
		file := mv.in.items[i].file
		if err := mv.dst.dir.of(file.isNew).Rename(file.name, mv.src.dir.of(it.from.isNew), it.from.name); err != nil {
			mv.src.log("message stays where it was moved to", "uid", it.uid, "err", err)
		}
	}
}

// commitMove is commit for files that leave another mailbox.
func (in *incoming) commitMove(ctx context.Context, mv *mover) ([]UID, error) {
	done, err := mv.intend()
	if err != nil {
		return nil, err
	}
	var d *draft
	if err = mv.placeAll(); err == nil {
		d, err = in.admit(ctx, nil)
	}
	if err != nil {
		mv.back()
		done()
		return nil, err
	}
	in.m.publish(d)
	var inNew, inCur bool
	var gone []UID
	uids := make([]UID, len(in.items))
	for i, it := range mv.items {
		uids[i] = in.items[i].arrival.uid
		gone = append(gone, it.uid)
		inNew, inCur = inNew || it.from.isNew, inCur || !it.from.isNew
	}
	// The target is durable; until the source is as well, the intent stands.
	err = mv.src.syncDirs(inNew, inCur)
	last := mv.src.State()
	for i, it := range mv.items {
		if row, ok := last.Find(it.uid); ok {
			file := mv.in.items[i].file
			mv.src.keep(last, row, mv.dst.dir.of(file.isNew), file.name)
		}
	}
	mv.src.publishGone(gone)
	mv.src.keepUntil(mv.src.State())
	if err != nil {
		return uids, err
	}
	done()
	return uids, nil
}

func (mv *mover) placeAll() error {
	var inNew, inCur bool
	for _, it := range mv.in.items {
		if err := it.place(mv.dst.dir.of(it.file.isNew), it.file.name); err != nil {
			return err
		}
		inNew, inCur = inNew || it.file.isNew, inCur || !it.file.isNew
	}
	return mv.dst.syncDirs(inNew, inCur)
}
