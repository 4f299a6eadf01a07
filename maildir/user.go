package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
)

// User is one Maildir++ tree. Its root is INBOX.
type User struct {
	store   *Store
	id      string
	refs    int // guarded by store.mu, as are the next two
	closing bool
	idle    *time.Timer   // closes the user a while after the last Release
	ready   chan struct{} // closed when open has ended
	done    chan struct{} // closed when close has ended
	err     error         // of open; valid when ready is closed

	root     durable.Dir
	tmpDir   atomic.Pointer[durable.Dir] // root/tmp, where every message of the tree is staged
	state    durable.Dir                 // nil: no indexes
	dirPerm  fs.FileMode
	filePerm fs.FileMode
	granule  time.Duration // of directory times; 0: every change has its own
	buffers  bufferPool
	commits  *groupCommit // of deliveries to this disk
	seen     atomic.Int64 // when the tree was last known to be in its place, ns

	mu          sync.Mutex          // guards the folder tree: mailboxes come and go under it
	mailboxes   map[string]*Mailbox // by directory
	inboxNew    heldDir             // root/new, once mail was delivered there
	tree        folderTree
	lost        lostIndexes
	subs        sync.Mutex // guards the subscriptions file and maildirsize
	notes       sync.Mutex // guards the small files of folders: annotations, rights, keys
	maildirSize string     // as it was written last
}

// defaultFolders exist from the start and are subscribed to.
var defaultFolders = []string{"Archive", "Drafts", "Junk", "Sent", "Trash"}

// ID is the account's id.
func (u *User) ID() string { return u.id }

// lingering is how long a user stays open after the last Release: clients come
// back, and deliveries follow each other.
const (
	lingering    = time.Minute
	maxLingering = 128 // users
)

// Release gives the user back.
func (u *User) Release() {
	s := u.store
	s.mu.Lock()
	u.refs--
	if u.refs > 0 || u.closing {
		s.mu.Unlock()
		return
	}
	if u.err == nil && !s.closed && s.lingering < maxLingering {
		s.lingering++
		u.idle = time.AfterFunc(lingering, u.reap)
		s.mu.Unlock()
		return
	}
	u.closing = true
	s.mu.Unlock()
	u.shut()
}

// reap closes a user that nobody came back to.
func (u *User) reap() {
	s := u.store
	s.mu.Lock()
	if u.refs > 0 || u.closing || u.idle == nil {
		s.mu.Unlock()
		return
	}
	u.idle, u.closing = nil, true
	s.lingering--
	s.mu.Unlock()
	u.shut()
}

// shut closes a user that is marked as closing, and lets others open it anew.
func (u *User) shut() {
	u.close()
	u.store.mu.Lock()
	if u.store.users[u.id] == u {
		delete(u.store.users, u.id)
	}
	u.store.mu.Unlock()
	close(u.done)
}

// sightTime is how long a tree that was seen in its place is taken to be there.
const sightTime = time.Second

// stillThere reports that the tree is where it was opened. The store's lock is
// held.
func (u *User) stillThere() bool {
	path, err := userPath(u.id)
	if err != nil || u.err != nil {
		return false
	}
	now := u.store.now().UnixNano()
	if age := now - u.seen.Load(); age >= 0 && age < int64(sightTime) {
		return true
	}
	dir := u.store.mail
	for _, p := range path[:2] {
		next, err := dir.OpenDir(p)
		if dir != u.store.mail {
			_ = dir.Close()
		}
		if err != nil {
			return false
		}
		dir = next
	}
	defer dir.Close()
	in, err := dir.Stat(path[2])
	self, err2 := u.root.Self()
	there := err == nil && err2 == nil && in.Ino == self.Ino && in.Dev == self.Dev
	if there {
		u.seen.Store(now)
	}
	return there
}

func (u *User) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.mailboxes {
		m.end()
	}
	u.mailboxes = nil
	if u.err == nil {
		u.markClean()
	}
	if tmp := u.tmpDir.Load(); tmp != nil {
		_ = (*tmp).Close()
	}
	for _, d := range []durable.Dir{u.root, u.state, u.inboxNew.dir} {
		if d != nil {
			_ = d.Close()
		}
	}
}

func (u *User) open() error {
	path, err := userPath(u.id)
	if err != nil {
		return err
	}
	made, err := u.openRoot(path)
	if err != nil {
		return err
	}
	self, err := u.root.Self()
	if err != nil {
		return err
	}
	if euid := os.Geteuid(); euid != 0 && int(self.UID) != euid {
		return fmt.Errorf("uid %d, this process is uid %d: %w", self.UID, euid, ErrForeignOwner)
	}
	u.dirPerm, u.filePerm = self.Mode.Perm(), filePermOf(self.Mode)
	u.commits = u.store.commitsOn(self.Dev)
	dirs, err := openFolderDirs(u.root, u.dirPerm)
	if err != nil {
		return err
	}
	dirs.close()
	if err := u.openTmp(); err != nil {
		return err
	}
	u.openState(path)
	u.mailboxes = map[string]*Mailbox{}
	u.granule = u.measureGranule()
	if err := u.recoverTree(); err != nil {
		return err
	}
	if err := u.sweepTmp(); err != nil {
		return err
	}
	if !made {
		made, err = u.isFresh()
	}
	if err == nil && made {
		err = u.makeDefaults()
	}
	if err == nil {
		err = u.recoverMailboxes(context.Background())
	}
	if err == nil {
		u.sweepIndexes()
	}
	return err
}

// openRoot opens the tree's root and makes what is missing of the path to it.
func (u *User) openRoot(path []string) (made bool, err error) {
	dir := u.store.mail
	for _, p := range path {
		next, err := dir.OpenDir(p)
		if errors.Is(err, fs.ErrNotExist) {
			made = true
			next, err = openOrMake(dir, p, 0o700)
		}
		if dir != u.store.mail {
			_ = dir.Close()
		}
		if err != nil {
			return false, err
		}
		dir = next
	}
	u.root = dir
	return made, nil
}

func (u *User) tmp() durable.Dir { return *u.tmpDir.Load() }

// openTmp opens tmp/, again when somebody removed it. An old one is left to the
// garbage collector, as others may be using it.
func (u *User) openTmp() error {
	tmp, err := openOrMake(u.root, "tmp", u.dirPerm)
	if err == nil {
		u.tmpDir.Store(&tmp)
	}
	return err
}

// openOrMake opens a subdirectory, made and durable if it was missing.
func openOrMake(dir durable.Dir, name string, perm fs.FileMode) (durable.Dir, error) {
	d, err := dir.OpenDir(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if err := dir.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := dir.Sync(); err != nil {
		return nil, err
	}
	return dir.OpenDir(name)
}

// openFolderDirs opens new/ and cur/ of a folder, and makes whatever of cur, new
// and tmp is missing. The folder itself is not in the result.
func openFolderDirs(folder durable.Dir, perm fs.FileMode) (d folderDirs, err error) {
	if d.cur, err = openOrMake(folder, "cur", perm); err != nil {
		return d, err
	}
	if d.new, err = openOrMake(folder, "new", perm); err != nil {
		d.close()
		return d, err
	}
	if _, err = folder.Stat("tmp"); errors.Is(err, fs.ErrNotExist) {
		var tmp durable.Dir
		if tmp, err = openOrMake(folder, "tmp", perm); err == nil {
			_ = tmp.Close()
		}
	}
	if err != nil {
		d.close()
	}
	return d, err
}

// openState opens the directory of the user's indexes. Without it mailboxes have none.
func (u *User) openState(path []string) {
	state := u.store.stateDir()
	if state == nil {
		return
	}
	dir := state
	for _, p := range path[:2] {
		next, err := openOrMake(dir, p, 0o700)
		if dir != state {
			_ = dir.Close()
		}
		if err != nil {
			u.store.log.Warn("indexes cannot be used", "user", u.id, "err", err)
			return
		}
		dir = next
	}
	u.state = dir
}

// isFresh reports that the tree has never been used: no folder, no subscription,
// no UIDs. A tree that another server made keeps the folders that it has.
func (u *User) isFresh() (bool, error) {
	fresh := true
	err := u.root.Scan(func(e durable.Entry) error {
		switch string(e.Name) {
		case subscriptionsFile, uidlistFile, "courierimapsubscribed", courierUIDFile:
			fresh = false
		default:
			// What a crash interrupted is done again.
			if name, ok := folderName(string(e.Name)); ok && e.Type.IsDir() && !slices.Contains(defaultFolders, name) {
				fresh = false
			}
		}
		return nil
	})
	return fresh, err
}

// makeDefaults makes the folders that every account has. The subscriptions come
// after them: where they are missing after a crash it is done again. INBOX's list
// is written at once so that it can be opened when the disk is full.
func (u *User) makeDefaults() error {
	ctx := context.Background()
	for _, name := range defaultFolders {
		if err := u.Create(ctx, name, ""); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
	}
	err := u.editSubscriptions(ctx, func(names []string) []string {
		return append(slices.DeleteFunc(names, func(n string) bool { return n == inbox }), append([]string{inbox}, defaultFolders...)...)
	})
	if err != nil {
		return err
	}
	m, err := u.Open(ctx, inbox)
	if err == nil {
		m.Close()
	}
	return err
}

// coarseGranule is taken where directory times are not exact: more than a timer
// tick of any kernel. On remote file systems times may be of whole seconds.
const (
	coarseGranule = 20 * time.Millisecond
	remoteGranule = 2 * time.Second
)

// granuleProbes is how many changes must each leave their own time: with a clock
// that ticks every few milliseconds one pair may differ by chance.
const granuleProbes = 6

// measureGranule finds out whether two changes of a directory with a look at it
// in between always show, by making some.
func (u *User) measureGranule() time.Duration {
	if u.root.Remote() {
		return remoteGranule
	}
	tmp := u.tmp()
	name := u.store.namer.unique()
	f, err := tmp.Create(name, 0o600)
	if err != nil {
		return remoteGranule
	}
	_ = f.Close()
	defer func() { _ = tmp.Remove(name) }()
	last, err := tmp.Self()
	for range granuleProbes {
		to := u.store.namer.unique()
		if err == nil {
			err = tmp.Rename(name, tmp, to)
		}
		if err != nil {
			return remoteGranule
		}
		name = to
		var now durable.Info
		if now, err = tmp.Self(); err == nil && now.Ctime == last.Ctime {
			return coarseGranule
		}
		last = now
	}
	return 0
}

// unlinkedTemp makes a file without a name, for a message that is converted.
func (u *User) unlinkedTemp() (durable.File, error) {
	name := u.store.namer.unique()
	f, err := u.tmp().Create(name, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	if err := u.tmp().Remove(name); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openMailboxes returns those that sessions have open.
func (u *User) openMailboxes() []*Mailbox {
	select {
	case <-u.ready:
	default:
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []*Mailbox
	for _, m := range u.mailboxes {
		if m.refs > 0 {
			out = append(out, m)
		}
	}
	return out
}
