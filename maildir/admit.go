package maildir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// lockUIDs takes the dot lock of the folder's control files.
func (m *Mailbox) lockUIDs(ctx context.Context) (release func(), err error) {
	return m.user.store.dotLock().take(ctx, m.dir.folder, m.user.filePerm)
}

// admit gives new files their UIDs: those of the uidlist where another server was
// first, else new ones, in order of arrival. The UIDs are durable before a state
// shows them.
func (m *Mailbox) admit(ctx context.Context, d *draft, arrivals []*arrival) error {
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := m.readUIDs(ctx, d, arrivals); err != nil {
		return err
	}
	d.validity = m.uids.header.validity
	guid := m.uids.header.guid
	m.guid.Store(&guid)
	arrivals = append(arrivals, m.listedByOthers(d)...)
	known, unknown := splitArrivals(arrivals, d.next)
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
	if err := m.uids.add(m.dir.folder, records, m.user.filePerm); err != nil {
		return err
	}
	m.addArrivals(d, append(known, unknown...))
	d.next = max(d.next, m.uids.next())
	return nil
}

// splitArrivals separates the files whose UID is in the list, ascending, from the
// others. A UID below next was, or could have been, told to clients as gone: the
// file that came back is a new message.
func splitArrivals(all []*arrival, next UID) (known, unknown []*arrival) {
	for _, a := range all {
		if a.uid >= next {
			known = append(known, a)
			continue
		}
		if a.uid != 0 {
			a.uid, a.keys = 0, ""
		}
		unknown = append(unknown, a)
	}
	slices.SortFunc(known, func(a, b *arrival) int { return cmpUint(uint64(a.uid), uint64(b.uid)) })
	return known, unknown
}

func (m *Mailbox) addArrivals(d *draft, all []*arrival) {
	modseq := m.nextModSeq()
	now := m.user.store.now().Unix()
	first := d.before.next <= 1
	for _, a := range all {
		_, raw := splitName(a.file.name)
		r := row{uid: a.uid, ino: a.file.ino, base: a.base, modseq: modseq, where: d.info(raw), saved: now}
		r.stored, r.size = nameSizes(a.base)
		list := uidRecord{keys: a.keys}
		if r.stored < 0 {
			r.stored = parseSize(list.key('S'))
		}
		if r.size < 0 {
			r.size = parseSize(list.key('W'))
		}
		if first {
			r.saved = unknownDate // it came before us: the file's ctime knows
		}
		r.date = unknownDate
		if a.stat != nil {
			r.date = a.stat.Mtime / 1e9
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

// errNewValidity says that the folder is another one than the state shows.
var errNewValidity = errors.New("the folder has a new UIDVALIDITY")

// readUIDs brings m.uids up to date and tells the arrivals what it says of them.
// The caller holds the dot lock.
func (m *Mailbox) readUIDs(ctx context.Context, d *draft, arrivals []*arrival) error {
	var want *arrivalTable
	for _, a := range arrivals {
		if r, ok := m.unclaimed[a.base]; ok {
			a.uid, a.keys = r.uid, r.keys
			delete(m.unclaimed, a.base)
		}
	}
	tail := m.uids.parsed > 0
	_, err := m.uids.read(m.dir.folder, func(r uidRecord) error {
		if want == nil {
			want = indexArrivals(arrivals)
		}
		if a := want.find([]byte(r.base)); a != nil {
			a.uid, a.keys = r.uid, r.keys
		} else if tail && len(m.unclaimed) < maxUnclaimed {
			m.unclaimed[r.base] = r
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUIDList):
		return m.restoreUIDs(d.State, arrivals, err)
	case err != nil:
		return fmt.Errorf("read uidlist: %w", err)
	case d.validity != 0 && m.uids.header.validity != d.validity:
		return errNewValidity
	}
	if m.uids.header.guid == "" {
		m.uids.header.guid = newGUID()
		if err := m.uids.rewrite(m.dir.folder, func(uidRecord) (uidRecord, bool) { return uidRecord{}, true }, m.user.filePerm); err != nil {
			return err
		}
	}
	return nil
}

// listedByOthers returns the files that got their UIDs from another server since we
// looked: they must be shown before any higher UID is, as a client never learns of
// a lower one later. The other server held the lock while it put them in place, and
// so they are there. The caller holds the dot lock.
func (m *Mailbox) listedByOthers(d *draft) (arrivals []*arrival) {
	want := map[string]bool{}
	for base, r := range m.unclaimed {
		if _, known := m.names.find(d.State, []byte(base)); !known && r.uid >= d.next {
			want[base] = true
		}
	}
	if len(want) == 0 {
		return nil
	}
	found := m.findListed(want)
	for base, file := range found {
		in, err := m.dir.of(file.isNew).Stat(file.name)
		if err != nil || in.Mode.Type() != 0 {
			continue
		}
		r := m.unclaimed[base]
		delete(m.unclaimed, base)
		file.ino = in.Ino
		arrivals = append(arrivals, &arrival{file: file, base: base, stat: &in, uid: r.uid, keys: r.keys})
	}
	return arrivals
}

// findListed finds files by their bases: from the events, which stay to be looked
// at, or by a scan where there are none.
func (m *Mailbox) findListed(want map[string]bool) map[string]sighting {
	found := map[string]sighting{}
	if m.disk.live {
		q := m.user.store.watch.drain(m)
		if !q.lost {
			m.held = append(m.held, q.events...)
			m.settled.Store(false)
			for _, e := range q.events {
				base, _ := splitName(e.name)
				switch {
				case want[base] && e.present:
					found[base] = sighting{isNew: e.isNew, name: e.name}
				case want[base] && found[base].name == e.name && found[base].isNew == e.isNew:
					delete(found, base)
				}
			}
			return found
		}
		m.disk.live, m.disk.scanned = false, false
	}
	found, err := findFiles(m.dir, want)
	if err != nil {
		m.log("files of another server wait for the next look", "err", err)
	}
	return found
}

// maxUnclaimed bounds the lines of files that we have not seen yet.
const maxUnclaimed = 10_000

// restoreUIDs makes a uidlist where it was removed or damaged: from the state,
// with the same UIDs. Without a state nothing can be proved of what clients know
// and the folder gets a new UIDVALIDITY.
func (m *Mailbox) restoreUIDs(s *State, arrivals []*arrival, cause error) error {
	if s.validity == 0 {
		return m.createUIDs(arrivals, cause)
	}
	m.log("uidlist written again from the index", "err", cause)
	for _, a := range arrivals {
		a.uid, a.keys = 0, ""
	}
	h := uidHeader{validity: s.validity, next: s.next, guid: m.ID()}
	return m.uids.create(m.dir.folder, h, func(write func(uidRecord) error) error {
		for i, uid := range s.uids {
			if err := write(s.record(i, uid)); err != nil {
				return err
			}
		}
		return nil
	}, m.user.filePerm)
}

// record is row i as a line of the uidlist.
func (s *State) record(i int, uid UID) uidRecord {
	sl := s.slot(i)
	base, guid := s.blocks[sl.block()].name(sl.row())
	r := uidRecord{uid: uid, base: string(base)}
	if string(guid) != r.base {
		r.keys = "G" + string(guid) + " "
	}
	return r
}

// createUIDs makes the first uidlist of a folder, from Courier's where there is
// one.
func (m *Mailbox) createUIDs(arrivals []*arrival, cause error) error {
	if errors.Is(cause, errUIDList) {
		m.log("uidlist cannot be used: the mailbox gets a new UIDVALIDITY", "err", cause)
		aside := fmt.Sprintf("%s.broken.%d", uidlistFile, m.user.store.now().Unix())
		if err := m.dir.folder.Rename(uidlistFile, m.dir.folder, aside); err != nil {
			return fmt.Errorf("put broken uidlist aside: %w", err)
		}
	}
	h, records := readCourierUIDs(m.dir.folder)
	if h.validity == 0 {
		v, err := nextUIDValidity(m.user.root, m.user.store.now(), m.user.filePerm)
		if err != nil {
			return err
		}
		h = uidHeader{validity: v, next: 1}
	}
	h.guid = newGUID()
	byBase := map[string]UID{}
	for _, r := range records {
		byBase[r.base] = r.uid
	}
	for _, a := range arrivals {
		a.uid, a.keys = byBase[a.base], ""
	}
	return m.uids.create(m.dir.folder, h, func(write func(uidRecord) error) error {
		for _, r := range records {
			if err := write(r); err != nil {
				return err
			}
		}
		return nil
	}, m.user.filePerm)
}

// compactUIDs drops the lines of messages that are gone.
func (m *Mailbox) compactUIDs(s *State, known []*arrival) error {
	// An intent whose end is not durable would be undone after a crash if the
	// lines of its messages were missing.
	if err := m.index.Load().syncLog(); err != nil {
		return err
	}
	keep := map[UID]bool{}
	for _, a := range known {
		keep[a.uid] = true
	}
	for _, r := range m.unclaimed {
		keep[r.uid] = true
	}
	return m.uids.rewrite(m.dir.folder, func(r uidRecord) (uidRecord, bool) {
		_, live := s.Find(r.uid)
		return uidRecord{}, live || keep[r.uid]
	}, m.user.filePerm)
}

// rewriteUIDs writes the uidlist again with the records in changed instead of the
// old ones. Other keys of a line stay.
func (m *Mailbox) rewriteUIDs(ctx context.Context, changed map[UID]uidRecord, header func(*uidHeader)) error {
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := m.uids.read(m.dir.folder, func(r uidRecord) error {
		if len(m.unclaimed) < maxUnclaimed {
			m.unclaimed[r.base] = r
		}
		return nil
	}); err != nil {
		return fmt.Errorf("read uidlist: %w", err)
	}
	if header != nil {
		header(&m.uids.header)
	}
	return m.uids.rewrite(m.dir.folder, func(r uidRecord) (uidRecord, bool) {
		n, ok := changed[r.uid]
		if !ok {
			return uidRecord{}, true
		}
		if r.guid() != "" {
			n.keys = r.keys
		} else {
			n.keys = r.keys + n.keys
		}
		return n, true
	}, m.user.filePerm)
}

// readCourierUIDs reads Courier's list, where the folder has one that is whole.
func readCourierUIDs(dir durableDir) (uidHeader, []uidRecord) {
	data, _, err := readSmallFile(dir, courierUIDFile, 256<<20)
	if err != nil {
		return uidHeader{}, nil
	}
	line, rest, _ := strings.Cut(string(data), "\n")
	h, err := parseUIDHeader(line)
	if err != nil || h.version != 1 {
		return uidHeader{}, nil
	}
	var records []uidRecord
	s := uidScanner{version: 1}
	if _, err := s.scan([]byte(rest), func(r uidRecord) error {
		records = append(records, r)
		return nil
	}); err != nil {
		return uidHeader{}, nil
	}
	return h, records
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// measure reads a file whose size no name tells, for State.Size.
func (m *Mailbox) measure(s *State, i int) (int64, error) {
	f, err := m.openRow(context.Background(), s, i)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size(), nil
}

// readDate reads a file's dates, for State.InternalDate and SaveDate.
func (m *Mailbox) readDate(s *State, i int, load func(*block, int) int64) (time.Time, error) {
	in, err := m.statRow(s, i)
	if err != nil {
		return time.Time{}, err
	}
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	b.learn(&b.date[r], unknownDate, in.Mtime/1e9)
	b.learn(&b.saved[r], unknownDate, in.Ctime/1e9)
	return time.Unix(load(b, r), 0).UTC(), nil
}
