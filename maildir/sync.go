package maildir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// How a mailbox learns what is on disk.
//
// A name that a scan of a directory did not return may be there all the same: a
// file that is renamed while the directory is read is missed, or seen twice, on
// every file system. So a message is gone only if that is certain, by one of
//
//   - events: the directory was watched before it was scanned, and what was
//     queued meanwhile is applied to the scan's result;
//   - stamps: the directory's times, fine-grained ones, are the same before and
//     after the scan;
//   - patience: several scans over some time missed it, and its last known name
//     cannot be opened either.
//
// Until then its removal is withheld, which IMAP allows; additions and flags are
// taken from any scan. Once a scan was exact and the directories are watched,
// events alone say what happened, and nothing is scanned any more.

// diskView is what we know of the directories themselves.
type diskView struct {
	newWatch, curWatch *watch
	newStamp, curStamp dirStamp
	scanned            bool  // the stamps are those of the state
	live               bool  // watched since before the stamps were compared: events tell the rest
	confirmed          int64 // when the state was last known to be on disk, ns
}

func (v *diskView) watched() bool { return v.newWatch != nil && v.curWatch != nil }

// dirStamp tells whether a directory changed. Its ctime cannot be set back, as
// rsync does with mtime.
type dirStamp struct {
	dev, ino     uint64
	mtime, ctime int64
	taken        int64 // when it was read, by the clock of the caller; ns
}

func (s dirStamp) same(o dirStamp) bool {
	return s.dev == o.dev && s.ino == o.ino && s.mtime == o.mtime && s.ctime == o.ctime
}

const (
	scanTries = 4
	// syncPatience is how long a command waits for somebody else's work on the
	// mailbox before it goes on with the picture that there is.
	syncPatience = 150 * time.Millisecond
	// absentScans and absentTime: the third rule above.
	absentScans = 3
	absentTime  = 2 * time.Second
)

// absence is what scans that were not exact say of a message.
type absence struct {
	since  time.Time
	misses int
}

// Sync returns a state that holds what was on disk when it was called: changes of
// other programs are seen. It costs nothing that grows with the mailbox unless
// something changed. While another call works on the mailbox for long it returns
// the newest state instead of waiting; subscribers hear of the rest. ErrNotFound:
// the folder was removed or renamed by somebody else.
func (m *Mailbox) Sync(ctx context.Context) (*State, error) {
	if m.quiet() {
		return m.State(), nil
	}
	wait, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	if err := m.lock.lock(wait); err != nil {
		return m.State(), ctx.Err()
	}
	defer m.lock.unlock()
	s, err := m.syncLocked(ctx)
	if err != nil {
		return s, m.fail("sync", err)
	}
	return s, nil
}

// quiet reports that nothing happened since the last sync, without the lock.
func (m *Mailbox) quiet() bool {
	return m.settled.Load() && m.user.store.watch.silent(m)
}

func (m *Mailbox) syncLocked(ctx context.Context) (*State, error) {
	if err := m.checkFolder(); err != nil {
		return m.State(), err
	}
	m.settled.Store(false)
	err := m.lookAndMerge(ctx)
	if err == nil {
		err = m.readNews(ctx)
	}
	if errors.Is(err, errNewValidity) {
		// Another server began the folder anew: nothing known is true any more.
		if err = m.fresh(); err == nil {
			err = m.lookAndMerge(ctx)
		}
	}
	if err != nil {
		// What the events said is lost with them: look at everything again.
		m.disk.scanned, m.disk.live = false, false
		if errors.Is(err, errDirMissing) {
			err = nil // what is known is served meanwhile
		}
		return m.State(), err
	}
	if m.replaced = m.replaced && len(m.absent) > 0; m.replaced {
		m.disk.scanned, m.disk.live = false, false
	}
	m.settled.Store(m.disk.live && len(m.doubles) == 0 && len(m.absent) == 0 && len(m.held) == 0)
	return m.State(), nil
}

func (m *Mailbox) lookAndMerge(ctx context.Context) error {
	m.lastConfirmed = m.disk.confirmed
	m.young.grow(m.lastConfirmed)
	found, exact, err := m.look()
	if errors.Is(err, fs.ErrNotExist) {
		if err = m.reopen(); err == nil {
			found, exact, err = m.look()
		}
	}
	if err != nil {
		return err
	}
	return m.merge(ctx, found, exact)
}

// checkFolder makes sure that the directory under our name is the one we hold.
func (m *Mailbox) checkFolder() error {
	if m.deleted.Load() {
		return ErrNotFound
	}
	if m.dirName == "" {
		return nil
	}
	in, err := m.user.root.Stat(m.dirName)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && (in.Ino != m.folderIno || !in.Mode.IsDir()):
		m.deleted.Store(true)
		m.subs.notify()
		return ErrNotFound
	}
	return err
}

// look returns what differs on disk from the state, and whether it is exact.
func (m *Mailbox) look() (found *findings, exact bool, err error) {
	if m.disk.live {
		taken := m.user.store.diskTime() // before what the events tell
		q := m.user.store.watch.drain(m)
		if !q.lost {
			found = m.newFindings()
			found.apply(slices.Values(m.held))
			found.apply(q.all())
			m.held = nil
			m.user.store.watch.give(q)
			if !found.ofDouble() {
				m.disk.confirmed = taken
				return found, true, nil
			}
			m.disk.scanned, m.disk.live = false, false // what other names it has the directories know
		} else if err := m.reopen(); err != nil {
			// Events are missing, or new/ or cur/ is another directory now.
			return nil, false, err
		}
	}
	if !m.sameDirs() {
		if err := m.reopen(); err != nil {
			return nil, false, err
		}
	}
	if m.disk.watched() {
		_ = m.user.store.watch.drain(m) // the scan sees what these tell
	}
	found, exact, err = m.scan()
	return found, exact && !m.replaced, err
}

// sameDirs reports that new/ and cur/ are the directories that we hold.
func (m *Mailbox) sameDirs() bool {
	for _, isNew := range []bool{true, false} {
		name := "cur"
		if isNew {
			name = "new"
		}
		in, err := m.dir.folder.Stat(name)
		self, err2 := m.dir.of(isNew).Self()
		if err != nil || err2 != nil || in.Ino != self.Ino || in.Dev != self.Dev {
			return false
		}
	}
	return true
}

// scan reads the directories that changed.
func (m *Mailbox) scan() (found *findings, exact bool, err error) {
	before, err := m.stamps()
	if err != nil {
		return nil, false, err
	}
	if was := m.disk.curStamp; was.ino != 0 && (was.ino != before.curStamp.ino || was.dev != before.curStamp.dev) {
		m.lastConfirmed = 0 // the files of another directory are younger, whatever they are
	}
	newOnly := false
	if m.disk.scanned && m.trusted(before.curStamp, m.disk.curStamp) {
		if m.trusted(before.newStamp, m.disk.newStamp) && len(m.absent) == 0 {
			m.disk.live = m.disk.watched()
			m.disk.confirmed = before.curStamp.taken
			return m.newFindings(), true, nil
		}
		newOnly = len(m.absent) == 0
	}
	for range scanTries {
		found.discard()
		found = m.newFindings()
		if err := found.scanDir(true); err != nil {
			return nil, false, err
		}
		if !newOnly {
			if err := found.scanDir(false); err != nil {
				return nil, false, err
			}
		}
		after, err := m.stamps()
		if err != nil {
			return nil, false, err
		}
		found.finish(newOnly)
		if m.disk.watched() {
			q := m.user.store.watch.drain(m)
			found.apply(q.all())
			exact = !q.lost
		} else {
			exact = m.exactBetween(before, after)
		}
		if exact {
			m.disk.newStamp, m.disk.curStamp, m.disk.scanned = before.newStamp, before.curStamp, true
			m.disk.live = m.disk.watched()
			m.disk.confirmed = before.newStamp.taken
			return found, true, nil
		}
		newOnly, before = false, after
	}
	m.disk.scanned, m.disk.live = false, false
	return found, false, nil
}

// diskTime is now by the clock that the kernel stamps files with, ns: a file that is
// made from here on is not older.
func (s *Store) diskTime() int64 {
	var ts unix.Timespec
	if s.cfg.MailDir != nil || unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts) != nil {
		return s.now().UnixNano()
	}
	return ts.Nano()
}

func (m *Mailbox) stamps() (v diskView, err error) {
	if v.newStamp, err = m.stamp(m.dir.new); err != nil {
		return v, err
	}
	v.curStamp, err = m.stamp(m.dir.cur)
	return v, err
}

func (m *Mailbox) stamp(d durable.Dir) (dirStamp, error) {
	taken := m.user.store.diskTime()
	in, err := d.Self()
	if err == nil && in.Nlink == 0 {
		err = fs.ErrNotExist // removed while we hold it
	}
	return dirStamp{in.Dev, in.Ino, in.Mtime, in.Ctime, taken}, err
}

// trusted reports that a directory is as it was when old was taken: a stamp that
// was younger than the clock's granule then may hide a later change.
func (m *Mailbox) trusted(now, old dirStamp) bool {
	return now.same(old) && !m.racy(old)
}

func (m *Mailbox) racy(s dirStamp) bool {
	granule := m.user.granule
	return granule > 0 && max(s.mtime, s.ctime) > s.taken-int64(granule)
}

func (m *Mailbox) exactBetween(a, b diskView) bool {
	return m.trusted(b.newStamp, a.newStamp) && m.trusted(b.curStamp, a.curStamp)
}

// missingPatience is how long a missing new/ or cur/ is left to whoever moved it
// away, to put back what he has; then it is made.
const missingPatience = 10 * time.Second

// errDirMissing says that new/ or cur/ is not there, for now.
var errDirMissing = errors.New("new/ or cur/ is missing")

// reopen opens new/ and cur/ again, after somebody put others in their place. He
// may still be filling them: for a while nothing that is missing there is gone.
func (m *Mailbox) reopen() error {
	m.unwatch()
	m.disk = diskView{}
	if m.dirMissing() {
		now := m.user.store.now()
		if m.missingSince.IsZero() {
			m.missingSince = now
		}
		if now.Sub(m.missingSince) < missingPatience {
			return errDirMissing
		}
	}
	m.missingSince = time.Time{}
	m.replaced = m.replaced || !m.sameDirs()
	dirs, err := openFolderDirs(m.dir.folder, m.user.dirPerm)
	if err != nil {
		return err
	}
	old := m.dir
	m.dir.cur, m.dir.new = dirs.cur, dirs.new
	_ = old.cur.Close()
	_ = old.new.Close()
	m.watch()
	return nil
}

func (m *Mailbox) dirMissing() bool {
	for _, name := range []string{"cur", "new"} {
		if _, err := m.dir.folder.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

func (m *Mailbox) watch() {
	w := m.user.store.watch
	m.disk.newWatch = w.add(m, m.dir.new, true)
	m.disk.curWatch = w.add(m, m.dir.cur, false)
}

func (m *Mailbox) unwatch() {
	w := m.user.store.watch
	w.remove(m.disk.newWatch)
	w.remove(m.disk.curWatch)
	m.disk.newWatch, m.disk.curWatch = nil, nil
}
