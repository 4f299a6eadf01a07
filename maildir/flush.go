package maildir

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// flushDelay is how long flags may be in the kernel's memory only.
const flushDelay = time.Second

// dirty has names that were changed, and the log, synced within flushDelay.
func (m *Mailbox) dirty() {
	if m.flushing.Swap(true) {
		return
	}
	time.AfterFunc(flushDelay, func() {
		if m.user.store.ctx.Err() != nil {
			return // whoever closes the mailbox flushes it
		}
		if m.lock.lock(m.user.store.ctx) != nil {
			return
		}
		if m.deleted.Load() {
			m.lock.unlock()
			return
		}
		m.flushing.Store(false) // what comes from now on waits for the next
		if !m.flushLock.TryLock() {
			m.dirty() // the last one is not through
			m.lock.unlock()
			return
		}
		cur, x := m.dir.cur, m.index.Load()
		m.lock.unlock()
		// Others work on the mailbox meanwhile: after a large STORE this takes long.
		defer m.flushLock.Unlock()
		err := cur.Sync()
		if err == nil {
			err = x.syncLog()
		}
		if err != nil && !errors.Is(err, fs.ErrClosed) { // closed: another directory is in its place
			m.log("flags may not be durable", "err", err)
		}
	})
}

// flush syncs renames and the log. The caller holds the lock.
func (m *Mailbox) flush() error {
	m.flushLock.Lock()
	defer m.flushLock.Unlock()
	if !m.flushing.Swap(false) {
		return nil
	}
	if err := m.dir.cur.Sync(); err != nil {
		return err
	}
	return m.index.Load().commit(m.State().highest)
}

// Commit returns when every modification sequence of s is durable, as it must be
// before a client is told one: otherwise a power cut could give the next change
// one that the client thinks it knows. It is free when nothing is new.
func (m *Mailbox) Commit(_ context.Context, s *State) error {
	if err := m.index.Load().commit(s.highest); err != nil {
		return m.fail("commit", err)
	}
	return nil
}

func (x *index) commit(upTo ModSeq) error {
	if x == nil || x.broken.Load() || x.durable.Load() >= uint64(upTo) {
		return nil
	}
	return x.syncLog()
}

// syncLog makes the log durable as far as it is written. A log that cannot be
// synced is given up, which is no error: what it would have said is then derived
// from the disk and the clock.
func (x *index) syncLog() error {
	if x == nil || x.broken.Load() {
		return nil
	}
	x.sync.Lock()
	defer x.sync.Unlock()
	written := x.written.Load()
	if x.log == nil {
		return nil
	}
	if err := x.log.Sync(); err != nil {
		x.giveUp(err)
		return nil
	}
	x.durable.Store(max(x.durable.Load(), written))
	return nil
}
