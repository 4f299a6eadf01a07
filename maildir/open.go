package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Status is what STATUS tells of a mailbox.
type Status struct {
	Messages, Recent, Unseen, Deleted int
	UIDNext                           UID
	UIDValidity                       uint32
	HighestModSeq                     ModSeq
	Size                              int64  // bytes of all files
	MailboxID                         string // RFC 8474
}

// Open opens a mailbox. All who have it open share one Mailbox; each must Close it.
// Its State is up to date with the disk.
func (u *User) Open(ctx context.Context, name string) (*Mailbox, error) {
	for {
		m, err := u.take(ctx, name)
		if err != nil {
			return nil, err
		}
		if err = m.load(ctx); err == nil {
			if m.listChanged() {
				m.settled.Store(false)
			}
			_, err = m.Sync(ctx)
		}
		if err == nil {
			return m, nil
		}
		m.Close()
		if errors.Is(err, ErrNotFound) && m.deleted.Load() {
			// Another folder may have the name by now.
			if u.dropDeleted(m) {
				continue
			}
		}
		return nil, fmt.Errorf("open %.80q: %w", name, diskError(err))
	}
}

// take finds or makes the Mailbox of a name and counts its holder.
func (u *User) take(ctx context.Context, name string) (*Mailbox, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := u.findLocked(name)
	if err != nil {
		return nil, err
	}
	if m := u.mailboxes[f.dir]; m != nil {
		m.refs++
		return m, nil
	}
	dir, err := u.openFolder(f.dir)
	if err != nil {
		return nil, fmt.Errorf("open %.80q: %w", name, err)
	}
	in, err := dir.Self()
	if err != nil {
		return nil, err
	}
	if m, err := u.adoptRenamed(ctx, f, in.Ino); m != nil || err != nil {
		_ = dir.Close()
		return m, err
	}
	m := &Mailbox{
		user: u, refs: 1, lock: newContextLock(), dirName: f.dir, folderIno: in.Ino,
		infoIDs: map[string]fileInfo{},
		lookout: lookout{doubles: map[string]time.Time{}, absent: map[UID]absence{}},
	}
	m.dir.folder = dir
	m.serial = u.store.serial.Add(1)
	m.guid.Store(new(string))
	m.name.Store(&f.name)
	m.state.Store(&State{mailbox: m})
	u.mailboxes[f.dir] = m
	return m, nil
}

// adoptRenamed finds the open mailbox of a folder that another program renamed to
// f: two of one folder must not write its index. The caller holds u.mu.
func (u *User) adoptRenamed(ctx context.Context, f folder, inode uint64) (*Mailbox, error) {
	for old, m := range u.mailboxes {
		if m.folderIno != inode || old == "" || f.dir == "" {
			continue
		}
		if m.deleted.Load() {
			return nil, u.endMailboxLocked(ctx, old)
		}
		if err := m.lock.lock(ctx); err != nil {
			return nil, err
		}
		delete(u.mailboxes, old)
		u.mailboxes[f.dir] = m
		m.renamed(f.dir, f.name)
		m.lock.unlock()
		m.refs++
		return m, nil
	}
	return nil, nil
}

// dropDeleted forgets a mailbox whose folder is gone; false: it was forgotten
// already and there is no other.
func (u *User) dropDeleted(m *Mailbox) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forgetTree()
	if u.mailboxes[m.dirName] != m {
		return false
	}
	delete(u.mailboxes, m.dirName)
	if m.refs == 0 {
		m.end()
	}
	return true
}

// load reads what is needed to serve the mailbox, once.
func (m *Mailbox) load(ctx context.Context) error {
	if m.loaded.Load() {
		return nil
	}
	if err := m.lock.lock(ctx); err != nil {
		return err
	}
	defer m.lock.unlock()
	if m.loaded.Load() {
		return nil
	}
	dirs, err := openFolderDirs(m.dir.folder, m.user.dirPerm)
	if err != nil {
		return err
	}
	m.dir.cur, m.dir.new = dirs.cur, dirs.new
	if err := m.start(ctx); err != nil {
		if x := m.index.Load(); x != nil {
			x.close()
			x.cache.unmapAll()
			m.index.Store(nil)
		}
		m.unwatch()
		_ = m.dir.cur.Close()
		_ = m.dir.new.Close()
		return err
	}
	m.loaded.Store(true)
	return nil
}

func (m *Mailbox) start(ctx context.Context) error {
	var err error
	var lines int
	if m.overflow, lines, err = readOverflow(m.dir.folder); err != nil {
		return fmt.Errorf("read %s: %w", overflowFile, err)
	}
	m.watch()
	if err := m.fresh(); err != nil {
		return err
	}
	if err := m.recover(ctx, m.openIndex()); err != nil {
		return err
	}
	unclean := !m.disk.scanned
	if _, err := m.syncLocked(ctx); err != nil {
		return err
	}
	if unclean && len(m.overflow) > 0 {
		m.believeOverflow()
	}
	m.compactOverflow(lines)
	if _, err := m.dir.folder.Stat(uidlistFile); m.uids.header.validity == 0 || errors.Is(err, fs.ErrNotExist) {
		d := m.draft()
		if err := m.admit(ctx, d, nil); err != nil {
			return err
		}
		m.publish(d)
	}
	m.settled.Store(m.disk.live && len(m.doubles) == 0 && len(m.absent) == 0 && len(m.held) == 0)
	return nil
}

// fresh begins with nothing known but the clock and the keywords.
func (m *Mailbox) fresh() error {
	t, _, err := readKeywords(m.dir.folder)
	if err != nil {
		return fmt.Errorf("read %s: %w", keywordsFile, err)
	}
	s := &State{mailbox: m, generation: m.State().generation + 1, next: 1, highest: ModSeq(m.user.store.now().UnixMicro())}
	d := &draft{State: s}
	d.setKeywords(t)
	m.infos, m.infoIDs, m.infosNamed = nil, map[string]fileInfo{}, 0
	m.names = nameTable{}
	m.disk.scanned, m.disk.live = false, false
	m.uids = uidlist{}
	m.vanished.reset(s.highest)
	m.lines.clear()
	m.young = nil
	clear(m.absent)
	m.history.clear()
	m.state.Store(s)
	return nil
}

// closeMailbox gives one hold back. The Mailbox stays for the next until the user
// is released.
func (u *User) closeMailbox(m *Mailbox) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m.refs--
	if m.refs == 0 && u.mailboxes[m.dirName] != m {
		m.end()
	}
}

// endMailboxLocked takes the mailbox of a folder that is about to be removed from
// its holders.
func (u *User) endMailboxLocked(ctx context.Context, dir string) error {
	m := u.mailboxes[dir]
	if m == nil {
		return nil
	}
	if err := m.lock.lock(ctx); err != nil {
		return err
	}
	m.deleted.Store(true)
	m.settled.Store(false)
	if x := m.index.Load(); x != nil {
		// Its sessions may hold it for long, and another folder may have its GUID.
		x.close()
		m.retired = x
		m.index.Store(nil)
	}
	m.lock.unlock()
	delete(u.mailboxes, dir)
	m.subs.notify()
	if m.refs == 0 {
		m.end()
	}
	return nil
}

// end closes what the mailbox holds. Nobody has it open, but a look at the disk
// that was begun for somebody may still be under way.
func (m *Mailbox) end() {
	_ = m.lock.lock(context.Background())
	defer m.lock.unlock()
	m.deleted.Store(true)
	m.settled.Store(false)
	if m.loaded.Load() {
		m.closeIndex()
		if m.retired != nil {
			m.retired.cache.unmapAll()
		}
		m.unwatch()
		_ = m.dir.cur.Close()
		_ = m.dir.new.Close()
	}
	if m.dirName != "" {
		_ = m.dir.folder.Close()
	}
}

// renamed tells the mailbox that its folder has another name. The caller holds
// user.mu.
func (m *Mailbox) renamed(dir, name string) {
	m.dirName = dir
	m.name.Store(&name)
	m.subs.notify()
}

// Status returns the numbers of a mailbox, up to date. It opens the mailbox when
// nobody has it open, which costs no scan unless the folder changed.
func (u *User) Status(ctx context.Context, name string) (Status, error) {
	m, err := u.Open(ctx, name)
	if err != nil {
		return Status{}, err
	}
	defer m.Close()
	s := m.State()
	return Status{
		Messages: s.Len(), Recent: s.Recent(), Unseen: s.Unseen(), Deleted: s.Deleted(),
		UIDNext: s.UIDNext(), UIDValidity: s.UIDValidity(), HighestModSeq: s.HighestModSeq(),
		Size: s.Bytes(), MailboxID: m.ID(),
	}, nil
}
