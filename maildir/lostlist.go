package maildir

import (
	"errors"
	"io/fs"
	"sync"

	"buzon/internal/durable"
)

// An index is found by the GUID in its folder's uidlist. Where somebody removed the
// list while the mailbox was closed, the index is the one of a snapshot that was made
// in this directory: it gives the list back, and clients keep all that they have.

// lostIndexes are the indexes that no folder has, by the inode of the folder that they
// were of. They are looked for once while a tree is open: what is lost later, a
// Mailbox remembers.
type lostIndexes struct {
	once     sync.Once
	byFolder map[uint64]lostIndex
}

type lostIndex struct {
	guid string
	made int64 // when its newest snapshot was, ns
}

// lostIdentity returns the GUID that the folder had before its uidlist was removed;
// "" when that is not known.
func (m *Mailbox) lostIdentity() string {
	if _, err := m.dir.folder.Stat(uidlistFile); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	self, err := m.dir.folder.Self()
	if err != nil {
		return ""
	}
	lost := &m.user.lost
	lost.once.Do(func() { lost.byFolder = m.user.findLostIndexes() })
	// An inode number is used again: a snapshot that is older than the directory is
	// of another one.
	if x := lost.byFolder[m.folderIno]; self.Btime != 0 && x.made > self.Btime {
		return x.guid
	}
	return ""
}

func (u *User) findLostIndexes() map[uint64]lostIndex {
	orphans, err := u.orphans()
	if err != nil {
		return nil
	}
	found := map[uint64]lostIndex{}
	for _, guid := range orphans {
		if made, folder := u.lastSnapshot(guid); made > found[folder].made {
			found[folder] = lostIndex{guid, made}
		}
	}
	return found
}

// lastSnapshot returns when an index's newest snapshot was made, ns, and the inode of
// its folder; zeros where there is none that is sound.
func (u *User) lastSnapshot(guid string) (made int64, folder uint64) {
	dir, err := u.state.OpenDir(guid)
	if err != nil {
		return 0, 0
	}
	defer dir.Close()
	gens := (&index{dir: dir}).generations()
	if len(gens) == 0 {
		return 0, 0
	}
	f, err := dir.Open(snapshotName(gens[0]))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return 0, 0
	}
	head, err := readSnapshotHead(f, in.Size)
	if err != nil {
		return 0, 0
	}
	return in.Mtime, head.folder
}

// readSnapshotHead reads the head alone.
func readSnapshotHead(f durable.File, size int64) (*snapshotHead, error) {
	end := size - snapshotFixed
	if end < 0 {
		return nil, errIndex
	}
	var fixed [snapshotFixed]byte
	if _, err := f.ReadAt(fixed[:], end); err != nil {
		return nil, err
	}
	n, err := snapshotHeadSize(fixed[:], end)
	if err != nil {
		return nil, err
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, end-int64(n)); err != nil {
		return nil, err
	}
	return soundSnapshotHead(head, fixed[:])
}
