package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// A dot lock is Dovecot's lock on dovecot-uidlist: the file
// dovecot-uidlist.lock, made exclusively, holding "pid:host". It is held for the
// few system calls of a change to the uidlist or the keywords.

const (
	uidlistLock = uidlistFile + ".lock"
	// dotLockStale is when Dovecot gives up on a lock that nobody touches.
	dotLockStale = 120 * time.Second
	// dotLockPoll is short: Dovecot holds the lock for a millisecond, mostly.
	dotLockPoll = 5 * time.Millisecond
	// dotLockEmpty is how old a lock without its holder's name must be to be what
	// a power cut left: the name is written right after the file is made.
	dotLockEmpty = 2 * time.Second
)

type dotLock struct {
	host string
	now  func() time.Time
}

// take waits for the lock until ctx ends. The lock of a dead process of this
// host is taken over at once, any other after two minutes without a change.
func (l dotLock) take(ctx context.Context, dir durable.Dir, perm fs.FileMode) (release func(), err error) {
	var seen fileStamp
	var since time.Time
	for {
		err := l.create(dir, perm)
		if err == nil {
			return func() { _ = dir.Remove(uidlistLock) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock uidlist: %w", err)
		}
		content, st, err := readSmallFile(dir, uidlistLock, 256)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil && !errors.Is(err, durable.ErrNotRegular):
			return nil, fmt.Errorf("lock uidlist: %w", err)
		}
		if st != seen {
			seen, since = st, l.now()
		}
		if l.holderIsDead(string(content)) || l.isLeftover(st, len(content) == 0) || l.now().Sub(since) > dotLockStale {
			l.override(dir, st)
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock uidlist, held by %.40q: %w", content, ctx.Err())
		case <-time.After(dotLockPoll):
		}
	}
}

func (l dotLock) create(dir durable.Dir, perm fs.FileMode) error {
	f, err := dir.Create(uidlistLock, perm)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d:%s", os.Getpid(), l.host)
	if durable.IsFull(err) {
		err = nil // an empty file locks as well, only nobody can tell who died
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = dir.Remove(uidlistLock)
	}
	return err
}

// isLeftover reports that a lock is from before the host was started, or empty for
// longer than its maker needed to fill it.
func (l dotLock) isLeftover(st fileStamp, empty bool) bool {
	if st.Ctime == 0 {
		return false
	}
	age := l.now().Sub(time.Unix(0, st.Ctime))
	return empty && age > dotLockEmpty || age > l.uptime()
}

// uptime is how long the host runs; a very long time where it cannot be known.
func (l dotLock) uptime() time.Duration {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 62
	}
	return time.Duration(info.Uptime+1) * time.Second
}

// holderIsDead: a process id can only be judged on its own host. Our own id is
// dead, too: this process holds the lock under the folder's mutex only, so what
// lies there was left by an earlier process with the same id, as in a container.
func (l dotLock) holderIsDead(content string) bool {
	num, host, ok := strings.Cut(strings.TrimSpace(content), ":")
	pid, err := strconv.Atoi(num)
	if !ok || err != nil || pid <= 0 || host != l.host {
		return false
	}
	if pid == os.Getpid() {
		return true
	}
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// override removes the lock that st describes, and never one that somebody made
// since: it is taken aside first and looked at.
func (l dotLock) override(dir durable.Dir, st fileStamp) {
	aside := fmt.Sprintf("%s.%d.%d", uidlistLock, os.Getpid(), l.now().UnixNano())
	if dir.Rename(uidlistLock, dir, aside) != nil {
		return
	}
	if in, err := dir.Stat(aside); err == nil && in.Ino != st.Ino {
		_ = dir.Link(aside, dir, uidlistLock)
	}
	_ = dir.Remove(aside)
}
