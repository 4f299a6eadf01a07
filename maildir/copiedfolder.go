package maildir

import (
	"context"
	"errors"
)

// errCopiedFolder says that the index belongs to the folder of which this one is a
// copy, as "cp -a .A .B" makes it: both have the same GUID in their uidlist.
var errCopiedFolder = errors.New("the folder is a copy of another one")

// isCopy reports that the folder with the given inode is still in the tree under
// another name.
func (m *Mailbox) isCopy(inode uint64) bool {
	folders, err := m.user.folders()
	if err != nil {
		return false
	}
	if root, err := m.user.root.Self(); err == nil && root.Ino == inode && m.dirName != "" {
		return true
	}
	for _, f := range folders {
		if f.dir == m.dirName {
			continue
		}
		if in, err := m.user.root.Stat(f.dir); err == nil && in.Ino == inode {
			return true
		}
	}
	return false
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
