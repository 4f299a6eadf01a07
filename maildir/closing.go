package maildir

import "context"

// closeIndex notes how the directories are, so that the next open needs no scan
// when nobody changes them meanwhile. The caller holds the lock.
func (m *Mailbox) closeIndex() {
	x := m.index.Load()
	if x == nil {
		return
	}
	if err := m.flush(); err != nil {
		m.log("flags may not be durable", "err", err)
	}
	if s, ok := m.closingStamps(); ok && !x.broken.Load() {
		words := closingStamps{m.user.store.boot, s.newStamp, s.curStamp, x.checked}
		x.write(appendRecord(nil, words.encode()))
	}
	x.close()
	x.cache.unmapAll()
	m.index.Store(nil)
}

// closingStamps returns the directories' stamps when they are those of the state.
func (m *Mailbox) closingStamps() (diskView, bool) {
	if !m.folderIsThere() {
		return diskView{}, false
	}
	// Changes that nobody asked about are taken in now.
	if err := m.lookAndMerge(context.Background()); err != nil || !m.disk.scanned || len(m.absent) > 0 || len(m.doubles) > 0 {
		return diskView{}, false
	}
	m.young.adult(m.user.store.diskTime)
	v, err := m.stamps()
	if err != nil || m.racy(v.newStamp) || m.racy(v.curStamp) {
		return v, false
	}
	if m.disk.live {
		// What happened before the stamps were taken is in the queue.
		q := m.user.store.watch.drain(m)
		f := m.newFindings()
		f.apply(q.all())
		return v, !q.lost && f.nothing()
	}
	return v, m.exactBetween(m.disk, v)
}

func (m *Mailbox) folderIsThere() bool {
	if m.dirName == "" {
		return true
	}
	in, err := m.user.root.Stat(m.dirName)
	return err == nil && in.Ino == m.folderIno
}
