package maildir

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
)

// cleanFile in a user's state directory holds the kernel's boot id when the user
// was closed in good order, and is missing while it is open. It is never synced:
// after a power cut the boot id is another one, whatever is left of it.
const cleanFile = "clean"

// recoverMailboxes clears away what a crash left in the folders, and opens those
// mailboxes that were in the middle of an operation when the program or the power
// failed: the other half of a move may be in a mailbox that is opened before them.
func (u *User) recoverMailboxes(ctx context.Context) error {
	if u.state == nil {
		return nil
	}
	boot, _, err := readSmallFile(u.state, cleanFile, 128)
	_ = u.state.Remove(cleanFile)
	if err == nil && u.store.boot != "" && string(boot) == u.store.boot {
		return nil
	}
	open := map[string]bool{}
	err = u.state.Scan(func(e durable.Entry) error {
		if guid := string(e.Name); validGUID(guid) && u.hasOpenIntent(guid) {
			open[guid] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	folders, err := u.folders()
	if err != nil {
		return err
	}
	for _, f := range append([]folder{{name: inbox}}, folders...) {
		dir, err := u.openFolder(f.dir)
		if errors.Is(err, ErrNoAccess) {
			continue // which keeps nobody from the others
		}
		if err != nil {
			return err
		}
		guid := readGUID(dir)
		u.sweepFolder(ctx, dir)
		if f.dir != "" {
			_ = dir.Close()
		}
		if !open[guid] {
			continue
		}
		m, err := u.Open(ctx, f.name)
		if errors.Is(err, ErrNoAccess) {
			u.store.log.Warn("folder waits for its recovery", "user", u.id, "mailbox", f.name, "err", err)
			continue
		}
		if err != nil {
			return err
		}
		m.Close()
	}
	return nil
}

// sweepWait is how long a sweep waits for another server's lock.
const sweepWait = 100 * time.Millisecond

// sweepFolder removes half-written control files and the lock that a dead process
// left. They would do no harm, but another server waits for such a lock. What is
// written under the lock is nobody's once we hold it.
func (u *User) sweepFolder(ctx context.Context, dir durable.Dir) {
	var litter []string
	locked := false
	_ = dir.Scan(func(e durable.Entry) error {
		name := string(e.Name)
		locked = locked || name == uidlistLock
		if e.Type == 0 && (name == uidlistTemp || name == keywordsTemp || durable.IsTemp(name) || strings.HasPrefix(name, uidlistLock+".")) {
			litter = append(litter, name)
		}
		return nil
	})
	if len(litter) == 0 && !locked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sweepWait)
	defer cancel()
	release, err := u.store.dotLock().take(ctx, dir, u.filePerm)
	if err != nil {
		return
	}
	defer release()
	for _, name := range litter {
		_ = dir.Remove(name)
	}
}

// hasOpenIntent reports that a mailbox's log ends within an operation.
func (u *User) hasOpenIntent(guid string) bool {
	dir, err := u.state.OpenDir(guid)
	if err != nil {
		return false
	}
	defer dir.Close()
	var newest uint64
	_ = dir.Scan(func(e durable.Entry) error {
		if hex, ok := strings.CutPrefix(string(e.Name), snapshotPrefix); ok {
			if gen, err := strconv.ParseUint(hex, 16, 64); err == nil {
				newest = max(newest, gen)
			}
		}
		return nil
	})
	data, err := readLog(dir, newest)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	open := map[uint64]bool{}
	eachRecord(data, func(payload []byte) error {
		d := decoder{data: payload[1:]}
		switch recordKind(payload[0]) {
		case recordIntent:
			open[d.uint()] = true
		case recordDone:
			delete(open, d.uint())
		}
		return nil
	})
	return len(open) > 0
}

// markClean notes that the user was closed in good order.
func (u *User) markClean() {
	if u.state == nil || u.store.boot == "" {
		return
	}
	f, err := u.state.Create(cleanFile, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte(u.store.boot))
	_ = f.Close()
}
