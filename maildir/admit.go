package maildir

import (
	"context"
	"fmt"
	"slices"
)

// lockUIDs takes the dot lock of the folder's control files.
func (m *Mailbox) lockUIDs(ctx context.Context) (release func(), err error) {
	return m.user.store.dotLock().take(ctx, m.dir.folder, m.user.filePerm)
}

// admit gives new files their UIDs: those of the uidlist where another server was
// first, else new ones, in order of arrival. The UIDs are durable before a state
// shows them.
func (m *Mailbox) admit(ctx context.Context, d *draft, arrivals []*arrival) error {
	return m.admitWith(ctx, d, arrivals, nil)
}

// admitWith is admit together with sync, which makes the files' names durable; nil:
// they are.
func (m *Mailbox) admitWith(ctx context.Context, d *draft, arrivals []*arrival, sync func() error) error {
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := m.number(d, arrivals, sync); err != nil {
		// What the list said was not used: it is read again.
		m.uids.parsed = 0
		return err
	}
	m.lines.clear()
	return nil
}

// number is admit under the dot lock.
func (m *Mailbox) number(d *draft, arrivals []*arrival, sync func() error) error {
	if err := m.readUIDs(d, arrivals); err != nil {
		return err
	}
	d.validity = m.uids.header.validity
	guid := m.uids.header.guid
	m.guid.Store(&guid)
	arrivals = m.relisted(d, arrivals)
	arrivals = slices.Concat(arrivals, m.renumber(d), m.listedByOthers(d))
	known, unknown, back := splitArrivals(arrivals, d.next)
	if back > 0 {
		m.log("files that were listed before are new messages", "count", back)
	}
	for _, a := range unknown {
		a.time = nameTime(a.base)
	}
	slices.SortFunc(unknown, func(a, b *arrival) int { return a.time.compare(b.time, a.base, b.base) })
	next := max(m.uids.next(), d.next)
	if uint64(next)+uint64(len(unknown)) >= uint64(maxUID) {
		return fmt.Errorf("UIDs are used up: %w", ErrLimit)
	}
	records := make([]uidRecord, len(unknown))
	for i, a := range unknown {
		a.uid = next + UID(i)
		records[i] = uidRecord{uid: a.uid, keys: a.keys, base: a.base}
	}
	if m.uids.lines > 2*d.Len()+1000 {
		if err := m.compactUIDs(d.State, known); err != nil {
			return err
		}
	}
	if err := m.uids.add(m.dir.folder, records, m.user.filePerm, sync); err != nil {
		return err
	}
	m.addArrivals(d, append(known, unknown...))
	d.next = max(d.next, m.uids.next())
	return nil
}

// splitArrivals separates the files whose UID is in the list, ascending, from the
// others. A UID below next was, or could have been, told to clients as gone: the
// file that came back is a new message.
func splitArrivals(all []*arrival, next UID) (known, unknown []*arrival, back int) {
	for _, a := range all {
		if a.uid >= next {
			known = append(known, a)
			continue
		}
		if a.uid != 0 {
			a.uid, a.keys = 0, ""
			back++
		}
		unknown = append(unknown, a)
	}
	slices.SortFunc(known, func(a, b *arrival) int { return cmpUint(uint64(a.uid), uint64(b.uid)) })
	return known, unknown, back
}

func (m *Mailbox) addArrivals(d *draft, all []*arrival) {
	modseq := m.nextModSeq()
	now := m.user.store.now().Unix()
	first := d.before.next <= 1
	for _, a := range all {
		_, raw := splitName(a.file.name)
		r := row{uid: a.uid, ino: a.file.ino, base: a.base, modseq: modseq, where: d.info(raw), saved: now}
		list := uidRecord{keys: a.keys}
		r.stored, r.size = list.sizes(a.base)
		if first {
			r.saved = unknownDate // it came before us: the file's ctime knows
		}
		r.date = unknownDate
		if a.stat != nil {
			m.young.put(a, m.disk.confirmed)
			r.date = zonedTimeOf(a.stat.Mtime)
			if r.stored != a.stat.Size {
				// What the name says of the size is wrong, so both are.
				r.stored, r.size = a.stat.Size, -1
			}
		}
		r.guid = list.guid()
		in := d.infos[r.where]
		r.flags, r.keywords = in.flags, in.letters
		if more := m.overflow[a.base]; more != nil {
			r.keywords |= m.overflowSet(d, more)
		}
		switch {
		case a.file.isNew:
			r.where |= inNew
		case a.ours:
			r.where |= unclaimed
		}
		d.add(r)
	}
}

// overflowSet numbers keywords from the overflow file; a letter of the same name
// does not count, the file name is what says that.
func (m *Mailbox) overflowSet(d *draft, names []string) (set KeywordSet) {
	for _, name := range names {
		n := d.keywords.find(name)
		if n < 0 {
			n = max(len(d.keywords), letterKeywords)
			if n >= maxKeywords {
				continue
			}
			d.setKeywords(d.keywords.set(n, name))
		}
		if n >= letterKeywords {
			set |= 1 << n
		}
	}
	return set
}
