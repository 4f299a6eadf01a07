package maildir

import (
	"context"
	"errors"
)

// errCopiedFolder says that the index belongs to the folder of which this one is a
// copy, as "cp -a .A .B" makes it: both have the same GUID in their uidlist.
var errCopiedFolder = errors.New("the folder is a copy of another one")

// isCopy reports that the folder with the given inode, which the index was of, is
// still in the tree under another name, with the GUID that this one has, too. The
// inode alone proves nothing: where a tree was removed and put back from a backup,
// another folder may have got the number.
func (m *Mailbox) isCopy(inode uint64) bool {
	folders, err := m.user.folders()
	if err != nil {
		return false
	}
	guid := readGUID(m.dir.folder)
	for _, f := range append([]folder{{name: inbox}}, folders...) {
		if f.dir != m.dirName && m.user.hasIdentity(f.dir, inode, guid) {
			return true
		}
	}
	return false
}

// hasIdentity reports whether the folder in dir has this inode and this GUID.
func (u *User) hasIdentity(dir string, inode uint64, guid string) bool {
	d, err := u.openFolder(dir)
	if err != nil {
		return false
	}
	if dir != "" {
		defer d.Close()
	}
	in, err := d.Self()
	return err == nil && in.Ino == inode && readGUID(d) == guid
}

// openCopy gives a copied folder an identity of its own: a GUID and a UIDVALIDITY.
// Clients must not take its UIDs for the other folder's.
func (m *Mailbox) openCopy() []*intent {
	m.dropIndex()
	m.indexless = false
	if err := m.newIdentity(context.Background()); err != nil {
		m.log("copied folder keeps the identity of the other", "err", err)
		m.indexless = true
	}
	if err := m.fresh(); err != nil {
		m.log("keywords not read", "err", err)
	}
	return nil
}

func (m *Mailbox) newIdentity(ctx context.Context) error {
	v, err := nextUIDValidity(m.user.root, m.user.store.now(), m.user.filePerm)
	if err != nil {
		return err
	}
	m.uids = uidlist{}
	guid := newGUID()
	if err := m.rewriteUIDs(ctx, nil, func(h *uidHeader) { h.validity, h.guid = v, guid }); err != nil {
		return err
	}
	m.guid.Store(&guid)
	return nil
}
