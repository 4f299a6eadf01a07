package lessons

import (
	"context"
	"errors"

	"buzon/internal/junk"
	"buzon/maildir"
)

// mostTrained bounds the messages of either kind that Train reads, the newest first.
const mostTrained = 5000

// Progress is told how far the training is. It is not called concurrently.
type Progress func(mailbox string, done, total int)

// Train forgets what was learned of an account and learns it anew from its
// mailboxes: as junk what lies in the one for junk or is marked $Junk, as good what
// was read in the others, without those for trash, drafts and sent mail. The
// account's mail may change meanwhile.
func (t *Teacher) Train(ctx context.Context, id string, tell Progress) (good, bad int, err error) {
	u, err := t.cfg.Store.User(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	defer u.Release()
	list, err := u.Mailboxes(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := t.cfg.Library.With(id, func(m *junk.Memory) error { m.Reset(); return nil }); err != nil {
		return 0, 0, err
	}
	box := junkMailbox(list)
	l := &look{teacher: t, id: id, user: u}
	left := map[junk.Class]int{junk.Good: mostTrained, junk.Junk: mostTrained}
	for _, info := range list {
		if info.Name != box && !teaches(info) || info.NoSelect {
			continue
		}
		if err := l.train(ctx, info.Name, info.Name == box, left, tell); err != nil {
			return 0, 0, err
		}
	}
	if err := t.cfg.Library.Save(id); err != nil {
		return 0, 0, err
	}
	return t.Known(id)
}

// train learns the messages of a mailbox.
func (l *look) train(ctx context.Context, name string, isJunk bool, left map[junk.Class]int, tell Progress) error {
	m, err := l.user.Open(ctx, name)
	if errors.Is(err, maildir.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	st := m.State()
	place := junk.Place{Validity: st.UIDValidity(), Next: uint32(st.UIDNext()), ModSeq: uint64(st.HighestModSeq())}
	if err := l.with(func(m *junk.Memory) { m.SetPlace(name, place) }); err != nil {
		return err
	}
	junkBit, notJunkBit := keywordBits(st.Keywords())
	for i := st.Len() - 1; i >= 0; i-- {
		row := st.Message(i)
		class := opinion(row.Keywords, junkBit, notJunkBit)
		switch {
		case class != junk.Unknown:
		case isJunk:
			class = junk.Junk
		case row.Flags&maildir.FlagSeen != 0:
			class = junk.Good
		}
		if done := st.Len() - i; done%50 == 0 || i == 0 {
			tell(name, done, st.Len())
		}
		if class == junk.Unknown || row.Flags&maildir.FlagDeleted != 0 || left[class] == 0 {
			continue
		}
		left[class]--
		if err := l.read(ctx, m, row.UID, func(f *maildir.File) error { return l.learn(f, class) }); err != nil {
			return err
		}
	}
	return nil
}
