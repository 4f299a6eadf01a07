// Package maildir is the mail store: Maildir++ trees, in which flags are in the
// file names and which other programs may change at any time, served with the
// UIDs, sequence of changes and speed that IMAP wants.
//
// The files are the truth. UIDs are in dovecot-uidlist, keywords in
// dovecot-keywords, both in Dovecot's format; all else that we write is an index
// outside the tree that may be lost at any time. docs/maildir.md describes the
// files, their legal states, and what other programs may do.
//
// The package knows nothing of protocols. A Store has Users, a User has
// Mailboxes, a Mailbox has a State: an immutable picture that any number of
// sessions read while the next one is made.
package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// Config says where the mail is and what the store may do.
type Config struct {
	Mail         string           // directory of all trees: <Mail>/<domain>/<user>/Maildir
	State        string           // directory of the indexes; "": none are kept
	Host         string           // in file names and locks; default the host's name
	Now          func() time.Time // default time.Now
	Log          *slog.Logger     // default slog.Default()
	PollInterval time.Duration    // how often mailboxes are looked at that cannot be watched; default 5 s

	// FlagsDurable makes Store sync before it returns. Otherwise a power cut may
	// undo the flag changes of the last second; a crash of the program never does.
	FlagsDurable bool
	// QuotaLimit returns a user's limits; 0 is none. Nil: nobody has any.
	QuotaLimit func(id string) (bytes, messages int64)
	// UndeleteDays keeps expunged files that long; 0: they are removed at once.
	UndeleteDays int

	// MailDir and StateDir stand for the directories Mail and State in tests.
	MailDir, StateDir durable.Dir
}

// Store is all the mail of a host. It is safe for concurrent use.
type Store struct {
	cfg   Config
	mail  durable.Dir
	state durable.Dir // nil: no indexes; use stateDir
	now   func() time.Time
	log   *slog.Logger
	namer *namer
	boot  string // the kernel's run

	ctx        context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup
	watch      *watcher // nil where inotify cannot be had
	watching   sync.Once
	mapper     *durable.Mapper
	serial     atomic.Uint64

	stateLock sync.Mutex // guards state, which others may remove

	mu     sync.Mutex
	users  map[string]*User
	closed bool
	// commits are the group commits of the disks that there are trees on, by device.
	commits map[uint64]*groupCommit

	lingering int // users that nobody holds

	gatherers chan struct{} // has one for each search that indexes what it reads
	texts     textQueue
	shares    shares
}

// Open opens the store. The directories are made where they are missing.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, now: cfg.Now, log: cfg.Log, users: map[string]*User{}, commits: map[uint64]*groupCommit{}, mail: cfg.MailDir, state: cfg.StateDir}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.cfg.Host == "" {
		s.cfg.Host, _ = os.Hostname()
	}
	if s.cfg.PollInterval <= 0 {
		s.cfg.PollInterval = 5 * time.Second
	}
	var err error
	if s.mail == nil {
		if s.mail, err = makeAndOpen(cfg.Mail); err != nil {
			return nil, fmt.Errorf("open mail directory: %w", err)
		}
	}
	if s.state == nil && cfg.State != "" {
		if s.state, err = makeAndOpen(cfg.State); err != nil {
			s.mail.Close()
			return nil, fmt.Errorf("open state directory: %w", err)
		}
	}
	s.boot = durable.BootID()
	s.mapper = durable.NewMapper()
	s.namer = newNamer(s.now, s.cfg.Host)
	s.gatherers = make(chan struct{}, textGatherers)
	s.ctx, s.stop = context.WithCancel(context.Background())
	if s.watch, err = newWatcher(); err != nil {
		s.log.Warn("changes of other programs are looked for at intervals", "err", err, "dur", s.cfg.PollInterval)
	}
	s.background.Go(func() { s.mapper.Run(s.ctx) })
	return s, nil
}

// commitsOn is how deliveries to trees on a disk become durable.
func (s *Store) commitsOn(device uint64) *groupCommit {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.commits[device]
	if g == nil {
		g = newGroupCommit()
		s.commits[device] = g
	}
	return g
}

// stateDir is the directory of the indexes; nil when none are kept. It is made again
// when somebody removed it. The one that is gone may be in use and is left alone.
func (s *Store) stateDir() durable.Dir {
	s.stateLock.Lock()
	defer s.stateLock.Unlock()
	if s.state == nil || s.cfg.State == "" {
		return s.state
	}
	if in, err := s.state.Self(); err == nil && in.Nlink == 0 {
		again, err := makeAndOpen(s.cfg.State)
		if err != nil {
			s.log.Error("state directory cannot be made again", "err", err)
			return s.state
		}
		s.log.Warn("state directory was removed, and is made again")
		s.state = again
	}
	return s.state
}

func makeAndOpen(path string) (durable.Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	return durable.OpenDir(path)
}

// Close ends all background work and closes every mailbox. Sessions must have
// ended before.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	var users []*User
	for _, u := range s.users {
		if u.idle != nil {
			u.idle.Stop()
			u.idle = nil
		}
		if !u.closing {
			u.closing = true
			users = append(users, u)
		}
	}
	s.mu.Unlock()
	s.stop()
	if s.watch != nil {
		s.watch.shut()
	}
	s.background.Wait()
	for _, u := range users {
		u.shut()
	}
	if s.watch != nil {
		s.watch.close()
	}
	err := s.mail.Close()
	if s.state != nil {
		err = errors.Join(err, s.state.Close())
	}
	return err
}

// User opens a user's tree by the account's id, "ana@example.org", and makes it
// with its folders at the first use. Whoever asks twice gets the same User; each
// must Release it.
func (s *Store) User(ctx context.Context, id string) (*User, error) {
	s.mu.Lock()
	u := s.users[id]
	for ; u != nil && (u.closing || u.idle != nil); u = s.users[id] {
		if !u.closing {
			u.idle.Stop()
			u.idle = nil
			s.lingering--
			if u.stillThere() {
				break
			}
			u.closing = true
			s.mu.Unlock()
			u.shut()
			s.mu.Lock()
			continue
		}
		// Two of it must not be open.
		s.mu.Unlock()
		<-u.done
		s.mu.Lock()
	}
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if u == nil {
		u = &User{store: s, id: id, refs: 1, ready: make(chan struct{}), done: make(chan struct{})}
		s.users[id] = u
		s.mu.Unlock()
		u.err = u.open()
		close(u.ready)
	} else {
		u.refs++
		s.mu.Unlock()
		<-u.ready
	}
	if u.err != nil {
		err := u.err
		u.Release()
		return nil, fmt.Errorf("open mail of %s: %w", id, diskError(err))
	}
	return u, ctx.Err()
}

// userPath cuts an id into the directories of its tree.
func userPath(id string) ([]string, error) {
	at := strings.LastIndexByte(id, '@')
	if at < 1 {
		return nil, fmt.Errorf("user %q: %w", id, ErrBadName)
	}
	parts := []string{id[at+1:], id[:at], "Maildir"}
	for _, p := range parts {
		if !durable.ValidName(p) || p[0] == '.' || len(p) > 200 {
			return nil, fmt.Errorf("user %q: %w", id, ErrBadName)
		}
	}
	return parts, nil
}

func (s *Store) dotLock() dotLock { return dotLock{s.cfg.Host, s.now} }

// startWatching begins to hand out events and to poll what has none.
func (s *Store) startWatching() {
	s.watching.Do(func() {
		if s.watch != nil {
			s.background.Go(s.watch.run)
		}
		s.background.Go(s.poll)
	})
}

// mapFile maps a file of an index, which others may truncate meanwhile.
func (s *Store) mapFile(f durable.File, size int) (data []byte, release func(), err error) {
	return s.mapper.Map(f, size)
}

// poll looks at the mailboxes with listeners that have no working watch, and at
// those where something is pending.
func (s *Store) poll() {
	tick := time.NewTicker(s.cfg.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var open []*Mailbox
		for _, u := range s.users {
			open = append(open, u.openMailboxes()...)
		}
		s.mu.Unlock()
		for _, m := range open {
			if !m.settled.Load() {
				m.kick()
			}
		}
	}
}

// diskError gives errors of the file system the names that callers branch on.
func diskError(err error) error {
	switch {
	case err == nil:
		return nil
	case durable.IsFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, unix.ENAMETOOLONG):
		return fmt.Errorf("%w: %w", ErrBadName, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	return err
}

// isFileMode is the mode of new files in a directory of mode dir: as Dovecot,
// whoever may enter the folder may read the mail.
func filePermOf(dir fs.FileMode) fs.FileMode { return dir.Perm() & 0o666 }
