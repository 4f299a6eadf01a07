package lessons

import (
	"context"
	"errors"
	"io"
	"time"

	"buzon/internal/junk"
	"buzon/maildir"
)

// look is one look at an account's mailboxes.
type look struct {
	teacher    *Teacher
	id         string
	pupil      *pupil
	everywhere bool // at all mailboxes, not just at INBOX and the one for junk

	user    *maildir.User
	sizes   map[int64]bool // of what is taken for junk
	lessons int            // learned now
	first   bool           // nothing is known of the account: what lies there is no lesson
}

// do learns what changed since the last look.
func (l *look) do(ctx context.Context) (err error) {
	if l.user, err = l.teacher.cfg.Store.User(ctx, l.id); err != nil {
		return err
	}
	defer l.user.Release()
	list, err := l.user.Mailboxes(ctx)
	if err != nil {
		return err
	}
	box := junkMailbox(list)
	if box != l.pupil.junkMailbox {
		l.pupil.junkMailbox, l.everywhere = box, true
	}
	err = l.with(func(m *junk.Memory) {
		_, known := m.Place(box)
		l.first, l.sizes = !known, m.Sizes()
	})
	if err != nil {
		return err
	}
	// What left the junk mailbox is somewhere else by now: there it is looked for
	// first, before the one for junk says that it is gone.
	names := map[string]bool{}
	for _, info := range list {
		names[info.Name] = true
		if info.Name == box || !teaches(info) || info.Name != "INBOX" && !l.everywhere && !l.first {
			continue
		}
		if err := l.mailbox(ctx, info.Name, false); err != nil {
			return err
		}
	}
	if !names[box] && l.first { // when it is made, all that comes into it is a lesson
		if err := l.with(func(m *junk.Memory) { m.SetPlace(box, junk.Place{}) }); err != nil {
			return err
		}
	}
	if names[box] {
		if err := l.mailbox(ctx, box, true); err != nil {
			return err
		}
	}
	if err := l.with(func(m *junk.Memory) { m.KeepPlaces(func(name string) bool { return names[name] || name == box }) }); err != nil {
		return err
	}
	if err := l.balance(ctx, list); err != nil {
		return err
	}
	if l.lessons > 0 {
		good, bad, err := l.teacher.Known(l.id)
		if err != nil {
			return err
		}
		l.teacher.cfg.Log.Info("learned from the user's junk", "user", l.id, "lessons", l.lessons, "junk", bad, "good", good)
	}
	l.pupil.unsaved = true
	return l.teacher.save(l.id, l.pupil, l.lessons > 0 || l.first)
}

func (l *look) with(f func(*junk.Memory)) error {
	return l.teacher.cfg.Library.With(l.id, func(m *junk.Memory) error { f(m); return nil })
}

// mailbox looks at what came into a mailbox, and at keywords that changed.
func (l *look) mailbox(ctx context.Context, name string, isJunk bool) error {
	m, err := l.user.Open(ctx, name)
	if errors.Is(err, maildir.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	st := m.State()
	var place junk.Place
	known := false
	if err := l.with(func(m *junk.Memory) { place, known = m.Place(name) }); err != nil {
		return err
	}
	next := junk.Place{Validity: st.UIDValidity(), Next: uint32(st.UIDNext()), ModSeq: uint64(st.HighestModSeq())}
	switch {
	case l.first, known && place.Validity != 0 && place.Validity != next.Validity:
		return l.with(func(m *junk.Memory) { m.SetPlace(name, next) })
	case place == next:
		return nil
	}
	junkBit, notJunkBit := keywordBits(st.Keywords())
	for i := st.Len() - 1; i >= 0; i-- { // the newest first, in case there are too many
		row := st.Message(i)
		arrived := uint32(row.UID) >= place.Next
		if row.Flags&maildir.FlagDeleted != 0 || !arrived && uint64(row.ModSeq) <= place.ModSeq {
			continue
		}
		said := opinion(row.Keywords, junkBit, notJunkBit)
		if !arrived && said == junk.Unknown {
			continue
		}
		if err := l.message(ctx, m, st, i, arrived, isJunk, said); err != nil {
			return err
		}
	}
	return l.with(func(m *junk.Memory) { m.SetPlace(name, next) })
}

// message decides what row i of a mailbox teaches.
func (l *look) message(ctx context.Context, m *maildir.Mailbox, st *maildir.State, i int, arrived, isJunk bool, said junk.Class) error {
	if l.lessons >= mostLessons {
		return nil
	}
	if !isJunk && said == junk.Unknown { // is it one of those that were junk?
		if size, err := st.Size(i); err != nil || !l.sizes[size] {
			return nil
		}
	}
	return l.read(ctx, m, st.UIDs()[i], func(f *maildir.File) error {
		id, err := junk.Identify(f, f.Size())
		if err != nil {
			return err
		}
		was := junk.Unknown
		if err := l.with(func(m *junk.Memory) { was = m.Class(id) }); err != nil {
			return err
		}
		class := said
		switch {
		case said != junk.Unknown:
		case !isJunk && (was == junk.Junk || was == junk.Filed): // taken out of it
			class = junk.Good
		case isJunk && was != junk.Filed: // put into it
			class = junk.Junk
		default:
			return nil
		}
		if class == was {
			return nil
		}
		return l.learn(f, class)
	})
}

// read calls f with a message that may be gone, and then rests as long as it took.
func (l *look) read(ctx context.Context, m *maildir.Mailbox, uid maildir.UID, f func(*maildir.File) error) error {
	begun := time.Now()
	file, err := m.OpenMessage(ctx, uid)
	if errors.Is(err, maildir.ErrExpunged) {
		return nil
	}
	if err != nil {
		return describe(l.id, m.Name(), err)
	}
	defer file.Close()
	if err := f(file); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // somebody cuts it just now
		return describe(l.id, m.Name(), err)
	}
	if !sleep(ctx, time.Since(begun)) {
		return ctx.Err()
	}
	return nil
}

func (l *look) learn(f *maildir.File, class junk.Class) error {
	sample, err := junk.Read(f, f.Size())
	if err != nil {
		return err
	}
	return l.with(func(m *junk.Memory) {
		if m.Learn(sample, class) {
			l.lessons++
		}
	})
}

// balance learns mail that the user has read and kept, as long as more junk than
// other mail is known: few people take enough out of their junk mailbox to show
// what they like.
func (l *look) balance(ctx context.Context, list []maildir.Info) error {
	left := mostRead
	for _, info := range list {
		if !teaches(info) || info.Name == l.pupil.junkMailbox {
			continue
		}
		if lacks, err := l.lacksGood(); err != nil || !lacks || left == 0 {
			return err
		}
		if err := l.balanceFrom(ctx, info.Name, &left); err != nil {
			return err
		}
	}
	return nil
}

func (l *look) lacksGood() (lacks bool, err error) {
	good, bad, err := l.teacher.Known(l.id)
	return good < bad && l.lessons < mostLessons, err
}

func (l *look) balanceFrom(ctx context.Context, name string, left *int) error {
	m, err := l.user.Open(ctx, name)
	if errors.Is(err, maildir.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	st := m.State()
	junkBit, _ := keywordBits(st.Keywords())
	// First what came since the last search, then further down.
	bottom, searched := l.pupil.searched[name]
	for i := st.Len() - 1; i >= 0; i-- {
		row := st.Message(i)
		if row.Flags&maildir.FlagSeen == 0 || row.Flags&maildir.FlagDeleted != 0 || row.Keywords&junkBit != 0 ||
			searched && row.UID >= bottom && i < st.Len()-mostRead/2 {
			continue
		}
		if lacks, err := l.lacksGood(); err != nil || !lacks || *left == 0 {
			return err
		}
		*left--
		err := l.read(ctx, m, row.UID, func(f *maildir.File) error {
			id, err := junk.Identify(f, f.Size())
			if err != nil {
				return err
			}
			was := junk.Unknown
			if err := l.with(func(m *junk.Memory) { was = m.Class(id) }); err != nil || was != junk.Unknown {
				return err
			}
			return l.learn(f, junk.Good)
		})
		if err != nil {
			return err
		}
		if !searched || row.UID < bottom {
			bottom, searched = row.UID, true
			l.pupil.searched[name] = bottom
		}
	}
	return nil
}
