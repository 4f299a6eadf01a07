package maildir

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
)

// Mailbox is one folder, shared by all its sessions. Its State is read without a
// lock; whoever changes the mailbox holds lock, from the look at the disk to the
// next State.
type Mailbox struct {
	user   *User
	serial uint64 // the order in which two mailboxes are locked
	guid   atomic.Pointer[string]
	name   atomic.Pointer[string]
	refs   int // guarded by user.mu

	state    atomic.Pointer[State]
	history  changeHistory
	vanished vanished
	subs     subscribers
	readers  readers
	parsed   parseCache
	orders   sortOrders

	loaded   atomic.Bool
	deleted  atomic.Bool // the folder is gone, or the mailbox closed
	settled  atomic.Bool // nothing to do but wait for events
	syncing  atomic.Bool // a look at the disk is on its way
	flushing atomic.Bool // renames or the log wait to be synced
	storing  atomic.Bool // a large STORE is on its way, which looks at the disk itself

	flushLock sync.Mutex // held while they are

	queue eventQueue // guarded by watcher.mu

	lock *contextLock
	// All below is guarded by lock, but for the pointer to the index.
	dir       folderDirs
	dirName   string // "" is INBOX, the root itself
	folderIno uint64
	controlFiles
	lookout
	infos      []info // numbered by fileInfo
	infoIDs    map[string]fileInfo
	infosNamed int // infos whose letters were looked up in dovecot-keywords
	names      nameTable

	index       atomic.Pointer[index] // nil: the mailbox has none, and loses only time
	retired     *index                // of a folder that is gone, as long as sessions may read its memory
	openIntents int
	indexless   bool // an index was tried for and cannot be had
}

// controlFiles is what we know of the files beside the messages.
type controlFiles struct {
	uids     uidlist
	lines    newLines            // of the uidlist
	overflow map[string][]string // keywords without a letter, by base; none: the file says so
}

// lookout is what looks at the disk have found, and what they wait for.
type lookout struct {
	disk          diskView
	lastConfirmed int64 // disk.confirmed of the look before, ns
	young         youngFiles
	doubles       map[string]time.Time // bases with two names, since when
	absent        map[UID]absence      // missed by scans that were not exact
	held          []event              // files that could not get UIDs
	replaced      bool                 // cur/ or new/ is another directory, and may not be complete
	missingSince  time.Time            // cur/ or new/ is not there
}

// folderDirs are the directories of a folder, held open.
type folderDirs struct {
	folder, cur, new durable.Dir
}

func (d folderDirs) of(isNew bool) durable.Dir {
	if isNew {
		return d.new
	}
	return d.cur
}

func (d folderDirs) close() {
	for _, x := range []durable.Dir{d.folder, d.cur, d.new} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// Name is the mailbox's name at this moment.
func (m *Mailbox) Name() string { return *m.name.Load() }

// ID is the mailbox's GUID, 32 hex digits: MAILBOXID (RFC 8474). It survives a
// rename.
func (m *Mailbox) ID() string { return *m.guid.Load() }

// User returns the tree that the mailbox is in.
func (m *Mailbox) User() *User { return m.user }

// State returns the newest picture, without a look at the disk.
func (m *Mailbox) State() *State { return m.state.Load() }

// Close gives the mailbox back.
func (m *Mailbox) Close() { m.user.closeMailbox(m) }

// publish makes a draft the newest state, writes it to the index's log, and tells
// the sessions. The caller holds the lock.
func (m *Mailbox) publish(d *draft) *State {
	m.moveOverflow(d)
	m.index.Load().record(d)
	// What was done is remembered before it can be seen: a session that finds the new
	// state asks at once what led to it.
	m.history.add(d)
	m.vanished.add(d.gone, d.goneModSeq)
	// Slots added to the table must be visible in the state it is asked about.
	m.state.Store(d.State)
	if len(d.added) > d.before.Len() {
		m.names = nameTable{} // built anew when it is needed
	}
	for _, uid := range slices.Concat(d.added, d.rebased) {
		if i, ok := d.Find(uid); ok {
			sl := d.slot(i)
			base, _ := d.blocks[sl.block()].name(sl.row())
			m.names.add(d.State, sl, string(base))
		}
	}
	if !d.empty() || d.recent != d.before.recent {
		m.subs.notify()
	}
	m.afterPublish(len(d.added))
	return m.State()
}

// nextModSeq is above every one that was given, and the clock where that is ahead.
func (m *Mailbox) nextModSeq() ModSeq {
	return max(m.State().highest+1, ModSeq(m.user.store.now().UnixMicro()))
}

func (m *Mailbox) log(msg string, args ...any) {
	m.user.store.log.Warn(msg, append([]any{"user", m.user.id, "mailbox", m.Name()}, args...)...)
}

func (m *Mailbox) fail(op string, err error) error {
	return fmt.Errorf("%s %s: %w", op, m.Name(), diskError(err))
}

// Subscription is a session's wish to hear of changes.
type Subscription struct {
	changed func()
	subs    *subscribers
}

// Subscribe begins to watch for changes, by sessions, deliveries and other
// programs alike. changed is called when State() is newer than it was, or Recent()
// changed, by any goroutine; it must not block, nor ask anything of the mailbox.
func (m *Mailbox) Subscribe(changed func()) *Subscription {
	s := &Subscription{changed: changed, subs: &m.subs}
	m.subs.mu.Lock()
	m.subs.all = append(m.subs.all, s)
	m.subs.mu.Unlock()
	m.user.store.startWatching()
	// What happened since the last look is told at once.
	m.kick()
	return s
}

// Close ends the subscription. A call that was begun may still come to its end.
func (s *Subscription) Close() {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.subs.all = slices.DeleteFunc(s.subs.all, func(x *Subscription) bool { return x == s })
}

type subscribers struct {
	mu  sync.Mutex
	all []*Subscription
}

func (s *subscribers) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		x.changed()
	}
}

func (s *subscribers) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all) > 0
}

// kick has the mailbox looked at, soon, when a session listens. It does not wait.
func (m *Mailbox) kick() {
	if m.storing.Load() || !m.subs.any() || !m.syncing.CompareAndSwap(false, true) {
		return
	}
	m.user.store.background.Go(func() {
		// What comes from now on needs another look.
		m.syncing.Store(false)
		ctx, cancel := context.WithTimeout(m.user.store.ctx, backgroundSync)
		defer cancel()
		if _, err := m.Sync(ctx); err != nil && ctx.Err() == nil && !m.deleted.Load() {
			m.log("sync failed", "err", err)
		}
	})
}

// backgroundSync bounds a sync that no client waits for.
const backgroundSync = 5 * time.Minute

// contextLock is a mutex that a context can end the wait for. Waiters are served
// in turn.
type contextLock struct {
	held    chan struct{}
	waiting atomic.Int32
}

func newContextLock() *contextLock { return &contextLock{held: make(chan struct{}, 1)} }

func (l *contextLock) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.tryLock() {
		return nil
	}
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	select {
	case l.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *contextLock) tryLock() bool {
	select {
	case l.held <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *contextLock) unlock() { <-l.held }

// wanted reports that somebody waits for the lock.
func (l *contextLock) wanted() bool { return l.waiting.Load() > 0 }
