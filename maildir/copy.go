package maildir

import (
	"context"
	"errors"
	"io"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// CopyResult tells where messages went: Dst[i] is the new UID of Src[i]
// (RFC 4315, COPYUID).
type CopyResult struct {
	UIDValidity uint32 // of the target
	Src, Dst    []UID
}

// Copy copies messages into dst, which may be m: all of those that are still
// there, or none. Flags, keywords and the internal date go with them. The copy is
// another name of the same file where the file system allows it: nobody ever
// changes the contents of a message.
func (m *Mailbox) Copy(ctx context.Context, uids []UID, dst *Mailbox) (CopyResult, error) {
	return m.CopyUnlocked(ctx, uids, dst, LockedFlags{})
}

// CopyUnlocked is Copy without the flags that are locked. dst may be another user's: then the
// messages are files of their own.
func (m *Mailbox) CopyUnlocked(ctx context.Context, uids []UID, dst *Mailbox, locked LockedFlags) (CopyResult, error) {
	s := m.State()
	rows, _ := s.sortedRows(uids)
	if len(rows) == 0 {
		return CopyResult{UIDValidity: dst.State().validity}, nil
	}
	if err := dst.user.checkQuota(ctx, s.sizeOf(rows), int64(len(rows))); err != nil {
		return CopyResult{}, m.fail("copy from", err)
	}
	// Staged links first: whatever goes wrong with them, nobody sees.
	links, err := m.stageLinks(ctx, s, rows, dst.user)
	defer links.discard()
	if err != nil {
		return CopyResult{}, m.fail("copy from", err)
	}
	if err := dst.lock.lock(ctx); err != nil {
		return CopyResult{}, err
	}
	defer dst.lock.unlock()
	if err := dst.checkFolder(); err != nil {
		return CopyResult{}, dst.fail("copy to", err)
	}
	in := incoming{m: dst, kind: intentCopy}
	res := CopyResult{}
	for k := range links.all {
		l := &links.all[k]
		flags, keywords := locked.Cut(l.flags, l.keywords)
		f, set, err := dst.numberKeywords(ctx, flags, keywords)
		if err != nil {
			return CopyResult{}, dst.fail("copy to", err)
		}
		in.add(dst.user.store.namer.base(l.stored, l.size), l.guid, f, set, l.stat, l.move)
		res.Src = append(res.Src, l.uid)
	}
	if res.Dst, err = in.commit(ctx); err != nil {
		return CopyResult{}, dst.fail("copy to", err)
	}
	res.UIDValidity = dst.State().validity
	return res, nil
}

// traveller is a message on its way to another mailbox.
type traveller struct {
	uid          UID
	guid         string
	flags        Flags
	keywords     []string
	stored, size int64 // for its name; -1 not known
	stat         durable.Info
}

func (s *State) traveller(i int) traveller {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	msg := s.Message(i)
	stored := b.loadStored(r)
	size := b.loadSize(r)
	if stored < 0 {
		size = -1
	}
	return traveller{uid: s.uids[i], guid: s.GUID(i), flags: msg.Flags, keywords: s.keywords.names(msg.Keywords), stored: stored, size: size}
}

// link is a traveller whose file has a second name in tmp/.
type link struct {
	traveller
	user *User
	name string // in tmp/; "" when it is there no more
}

func (l *link) move(dir durable.Dir, name string) error {
	if err := l.user.tmp().Rename(l.name, dir, name); err != nil {
		return err
	}
	l.name = ""
	return nil
}

type linkSet struct{ all []link }

func (ls *linkSet) discard() {
	for i := range ls.all {
		if l := &ls.all[i]; l.name != "" {
			_ = l.user.tmp().Remove(l.name)
		}
	}
}

// stageLinks links the files of rows into the tmp/ of the user whom they are for. Messages that are
// gone by now are left out.
func (m *Mailbox) stageLinks(ctx context.Context, s *State, rows []int, u *User) (*linkSet, error) {
	ls := &linkSet{all: make([]link, 0, len(rows))}
	for _, i := range rows {
		l := link{user: u, name: u.store.namer.unique()}
		err := m.onFile(ctx, s, i, func(dir durable.Dir, name string) (err error) {
			l.stat, err = m.linkOrCopy(dir, name, u, l.name)
			return err
		})
		if errors.Is(err, ErrExpunged) {
			continue
		}
		if err != nil {
			return ls, err
		}
		// The flags of the newest state: the file may have been renamed.
		stat, now := l.stat, m.State()
		if j, ok := now.Find(s.uids[i]); ok {
			l.traveller = now.traveller(j)
		} else {
			l.traveller = s.traveller(i)
		}
		l.stat = stat
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

// linkOrCopy makes to in u's tmp/ the same message: by a link, or with its bytes where links are not
// possible or too many. No file has names in the trees of two users: what one of them does to it is
// not to happen to the other.
func (m *Mailbox) linkOrCopy(dir durable.Dir, name string, u *User, to string) (durable.Info, error) {
	tmp := u.tmp()
	var err error
	if u == m.user {
		err = dir.Link(name, tmp, to)
	}
	if u != m.user || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		err = copyFile(dir, name, tmp, to, u)
	}
	if err != nil {
		return durable.Info{}, err
	}
	in, err := tmp.Stat(to)
	if err == nil && in.Mode.Type() != 0 {
		// A symbolic link that somebody put there must not become a message.
		err = durable.ErrNotRegular
	}
	if err != nil {
		_ = tmp.Remove(to)
	}
	return in, err
}

func copyFile(dir durable.Dir, name string, to durable.Dir, newName string, u *User) error {
	src, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	in, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := to.Create(newName, u.filePerm)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, io.NewSectionReader(src, 0, in.Size))
	if err == nil {
		err = dst.SetTime(timeOf(in.Mtime))
	}
	if err == nil {
		err = dst.Sync()
	}
	if e := dst.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = to.Remove(newName)
	}
	return err
}

// sizeOf is the size on disk of rows.
func (s *State) sizeOf(rows []int) (n int64) {
	for _, i := range rows {
		sl := s.slot(i)
		n += max(0, s.blocks[sl.block()].loadStored(sl.row()))
	}
	return n
}

func timeOf(ns int64) time.Time { return time.Unix(0, ns) }
