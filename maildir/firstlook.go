package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"buzon/internal/durable"
)

// The first look at a folder finds all of its messages at once. They go from the
// directories to the uidlist and into the snapshot without becoming a state in
// memory on the way: a crowd is scanned, sorted as UIDs are given, numbered,
// written a block at a time, and then served from the snapshot like any other.

// crowdLeast is how many files make a crowd; fewer are arrivals as on any day.
const crowdLeast = 1000

// isFirstLook reports that nothing is known of the folder.
func (m *Mailbox) isFirstLook() bool {
	s := m.State()
	return s.Len() == 0 && s.validity == 0
}

// finishCrowd makes what a scan found ready for events, and gives single files back
// where they are few, or where one base has several.
func (f *findings) finishCrowd() {
	c := f.crowd
	if len(c.all()) < crowdLeast {
		f.disband()
		return
	}
	c.sort()
	for _, base := range c.twins() {
		f.fromCrowd(base)
	}
}

// disband makes a crowd the files that it is.
func (f *findings) disband() {
	c := f.crowd
	f.crowd = nil
	all := c.all()
	for i := range all {
		f.sight(durable.Entry{Name: c.name(&all[i]), Ino: all[i].ino}, all[i].isNew)
	}
	c.free()
}

// fromCrowd makes the files of a base a finding, as there is more to be said of
// them; nil: it has none.
func (f *findings) fromCrowd(base string) *finding {
	files := f.crowd.takeOut(base)
	if len(files) == 0 {
		return nil
	}
	x := &finding{base: base, names: files}
	f.bases[base] = x
	return x
}

// discard gives the memory of findings back that nobody will look at.
func (f *findings) discard() {
	if f != nil && f.crowd != nil {
		f.crowd.free()
	}
}

// admitCrowd makes a crowd, and the arrivals that findings spoke for, the first
// state of the mailbox.
func (m *Mailbox) admitCrowd(ctx context.Context, c *crowd, more []*arrival) error {
	defer c.free()
	c.leave()
	for _, a := range more {
		if err := c.add([]byte(a.file.name), a.file.isNew, a.file.ino); err != nil {
			return err
		}
	}
	c.sort()
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return err
	}
	defer release()
	guid, list, err := m.numberCrowd(c)
	if err != nil {
		m.uids.parsed = 0 // what the list said was not used: it is read again
		return err
	}
	c.byUID()
	m.lines.clear()
	m.guid.Store(&guid)
	// The list is written and synced while the rows are.
	listed := make(chan error, 1)
	go func() { listed <- list() }()
	wait := sync.OnceValue(func() error { return <-listed })
	defer wait()
	err = m.stateOf(c, guid, wait)
	if listErr := wait(); listErr != nil {
		m.uids.parsed = 0
		return listErr
	}
	return err
}

// stateOf makes a crowd the state, once it is listed: from a snapshot, or in memory
// where none can be written.
func (m *Mailbox) stateOf(c *crowd, guid string, listed func() error) error {
	if x := m.indexOf(guid); x != nil {
		err := m.snapshotCrowd(x, c, listed)
		if err == nil {
			return nil
		}
		x.retry = m.user.store.now().Add(giveUpTime)
		x.giveUp(err)
	}
	if err := listed(); err != nil {
		return err
	}
	d := m.draft()
	m.describe(d)
	m.eachOf(c, d, func(r *row, _ []byte) {
		r.base = strings.Clone(r.base) // the crowd's memory does not stay
		d.add(*r)
	})
	m.readNewKeywords(d)
	m.publish(d)
	return nil
}

// describe gives a draft what the uidlist says of the folder.
func (m *Mailbox) describe(d *draft) {
	d.validity, d.next = m.uids.header.validity, max(d.next, m.uids.next())
}

// numberCrowd gives every file its UID and returns the folder's GUID, and what makes
// the UIDs durable. The caller holds the dot lock.
func (m *Mailbox) numberCrowd(c *crowd) (guid string, list func() error, err error) {
	d := m.draft()
	_, err = m.uids.read(m.dir.folder, func(r uidRecord) error {
		found, err := c.claim(r)
		if !found {
			m.note(d.State, r)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUIDList) {
		return m.firstList(c, err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read uidlist: %w", err)
	}
	if err := m.needGUID(); err != nil {
		return "", nil, err
	}
	for _, a := range m.listedByOthers(d) {
		if err := c.add([]byte(a.file.name), a.file.isNew, a.file.ino); err != nil {
			return "", nil, err
		}
		if err := c.list(len(c.all())-1, a.uid, a.keys); err != nil {
			return "", nil, err
		}
	}
	c.sort()
	list = func() error { return m.uids.addCrowd(m.dir.folder, c, m.user.filePerm) }
	return m.uids.header.guid, list, c.number(m.uids.next())
}

// number gives UIDs to those that have none, in the order of the crowd.
func (c *crowd) number(next UID) error {
	all := c.all()
	for i := range all {
		if all[i].uid != 0 {
			continue
		}
		if next >= maxUID-1 {
			return fmt.Errorf("UIDs are used up: %w", ErrLimit)
		}
		all[i].uid = next
		next++
	}
	return nil
}

// firstList is numberCrowd for a folder without a list.
func (m *Mailbox) firstList(c *crowd, cause error) (guid string, list func() error, err error) {
	h, records, err := m.newList(cause)
	if err != nil {
		return "", nil, err
	}
	c.disown()
	next := h.next
	for _, r := range records {
		if _, err := c.claim(r); err != nil {
			return "", nil, err
		}
		next = max(next, r.uid+1)
	}
	list = func() error {
		return m.uids.create(m.dir.folder, h, func(write func(uidRecord) error) error {
			for _, r := range records {
				if err := write(r); err != nil {
					return err
				}
			}
			return c.eachUnlisted(write)
		}, m.user.filePerm)
	}
	return h.guid, list, c.number(next)
}

// eachUnlisted calls write with the lines that the uidlist has not got. Their texts
// are valid during the call only.
func (c *crowd) eachUnlisted(write func(uidRecord) error) error {
	all := c.all()
	for i := range all {
		if n := &all[i]; !n.listed {
			if err := write(uidRecord{uid: n.uid, base: borrowed(c.base(n))}); err != nil {
				return err
			}
		}
	}
	return nil
}

// addCrowd is add for many.
func (l *uidlist) addCrowd(dir durable.Dir, c *crowd, perm fs.FileMode) error {
	in, err := dir.Stat(uidlistFile)
	if err != nil {
		return err
	}
	if in.Size != l.parsed {
		// A torn last line; see add.
		if err := l.rewrite(dir, func(uidRecord) (uidRecord, bool) { return uidRecord{}, true }, perm); err != nil {
			return err
		}
	}
	f, err := dir.Append(uidlistFile, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	next := *l
	w := lineWriter{out: f}
	var line []byte
	err = c.eachUnlisted(func(r uidRecord) error {
		next.lines++
		next.last = r.uid
		line = r.appendTo(line[:0])
		return w.write(line)
	})
	if err = cmp.Or(err, w.flush()); err != nil {
		_ = f.Truncate(l.parsed) // half a line would be one with another meaning
	} else if w.written > 0 {
		err = f.Sync()
	}
	if err == nil {
		in, err = f.Stat()
	}
	if err != nil {
		return fmt.Errorf("append to uidlist: %w", err)
	}
	next.stamp, next.parsed = stampOf(in), l.parsed+w.written
	*l = next
	return nil
}

// snapshotCrowd writes the crowd as the snapshot that the mailbox is served from,
// without a sync: if a power cut takes it the folder is read again, and whatever
// modification sequence was told then lies below the clock's.
func (m *Mailbox) snapshotCrowd(x *index, c *crowd, listed func() error) error {
	d := m.draft()
	gen := x.gen + 1
	x.removeGeneration(gen)
	h := &snapshotHead{}
	w, err := createSnapshot(x.dir, gen, h, len(c.all()))
	if err != nil {
		return err
	}
	d.firstUnseen.Store(firstUnseenNone)
	m.eachOf(c, d, func(r *row, name []byte) {
		if r.flags&FlagSeen == 0 && d.unseen == 0 {
			d.firstUnseen.Store(int32(len(w.uids)) + 2)
		}
		d.count(r.flags, r.where, 0, 1)
		d.highest = max(d.highest, r.modseq)
		w.add(r, name)
	})
	m.readNewKeywords(d)
	err = listed()
	m.describe(d)
	m.describeSnapshot(h, d.State)
	if err = cmp.Or(err, w.close(false)); err == nil {
		err = x.use(gen, d.State)
	}
	if err != nil {
		x.removeGeneration(gen)
		return fmt.Errorf("write snapshot: %w", err)
	}
	m.history.clear()
	m.subs.notify()
	return nil
}

// eachOf calls fn with the files of a crowd as rows, and their full names. Base and
// name are valid during the call only.
func (m *Mailbox) eachOf(c *crowd, d *draft, fn func(r *row, name []byte)) {
	modseq := m.nextModSeq()
	var full []byte
	var last string // info
	var where fileInfo
	all := c.all()
	for i := range all {
		n := &all[i]
		base, raw := borrowed(c.base(n)), borrowed(c.name(n)[n.base:])
		if i == 0 || raw != last {
			last, where = raw, d.info(raw)
		}
		// Nothing is known of when it came; the file is asked when somebody wants to know.
		r := row{uid: n.uid, ino: n.ino, base: base, modseq: modseq, where: where, date: unknownDate, saved: unknownDate}
		list := uidRecord{keys: c.keys(n)}
		r.stored, r.size = list.sizes(base)
		full = append(full[:0], base...)
		if r.guid = list.guid(); r.guid != "" && r.guid != base {
			full = append(append(full, 0), r.guid...)
		}
		in := d.infos[where]
		r.flags, r.keywords = in.flags, in.letters
		if more := m.overflow[base]; more != nil {
			r.keywords |= m.overflowSet(d, more)
		}
		if n.isNew {
			r.where |= inNew
		}
		fn(&r, full)
	}
}
