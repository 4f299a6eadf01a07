package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// What other servers write into the uidlist.
//
// A UID there counts whoever gave it. Two things follow. A file that another
// server listed must be shown before any higher UID is, as a client never learns
// of a lower one later: so whoever gives UIDs looks first for the files of the
// lines that are new (listedByOthers). And a message may get a second line: Dovecot
// takes a file that its scan missed, because somebody renamed it just then, for a
// new one. The last line of a base counts, for Dovecot as for us, with an index or
// without one: the message goes under its old UID and comes under the new one.

// errNewValidity says that the folder is another one than the state shows.
var errNewValidity = errors.New("the folder has a new UIDVALIDITY")

// newLines are lines of the uidlist that others wrote and no state accounts for.
type newLines struct {
	files   map[string]uidRecord // by base: of files that were not seen yet
	renamed map[string]uidRecord // by base: a second UID of a message
}

// maxNewLines bounds the lines of files that we have not seen: in a list that is
// read for the first time they are mostly those of messages long gone.
const maxNewLines = 10_000

func (l *newLines) clear() { *l = newLines{} }

func (l *newLines) any() bool { return len(l.files)+len(l.renamed) > 0 }

// put takes in a line; older ones make room.
func (l *newLines) put(r uidRecord) {
	if l.files == nil {
		l.files = map[string]uidRecord{}
	}
	if len(l.files) >= 2*maxNewLines {
		for base, old := range l.files {
			if old.uid+maxNewLines < r.uid || len(l.files) >= 2*maxNewLines {
				delete(l.files, base)
			}
		}
	}
	l.files[r.base] = r
}

// note takes in a line that no arrival of the moment claims.
func (m *Mailbox) note(s *State, r uidRecord) {
	if r.uid < s.next {
		return // told to clients, as a message or as gone
	}
	sl, known := m.names.find(s, []byte(r.base))
	if !known {
		m.lines.put(r)
		return
	}
	if s.blocks[sl.block()].uid[sl.row()] != r.uid {
		if m.lines.renamed == nil {
			m.lines.renamed = map[string]uidRecord{}
		}
		m.lines.renamed[r.base] = r
	}
}

// accounted is the uidlist as the index may know it: lines that no state accounts
// for yet must be read again.
func (m *Mailbox) accounted() uidlist {
	l := m.uids
	if m.lines.any() {
		l.parsed = 0
	}
	return l
}

// readUIDs brings m.uids up to date and tells the arrivals what it says of them.
// The caller holds the dot lock.
func (m *Mailbox) readUIDs(d *draft, arrivals []*arrival) error {
	for _, a := range arrivals {
		if r, ok := m.lines.files[a.base]; ok {
			a.uid, a.keys = r.uid, r.keys
		}
	}
	var want *arrivalTable
	_, err := m.uids.read(m.dir.folder, func(r uidRecord) error {
		if want == nil {
			want = indexArrivals(arrivals)
		}
		if a := want.find([]byte(r.base)); a != nil {
			a.uid, a.keys = r.uid, r.keys
			return nil
		}
		m.note(d.State, r)
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
	return m.needGUID()
}

// needGUID gives the folder a GUID where its uidlist has none.
func (m *Mailbox) needGUID() error {
	if m.uids.header.guid != "" {
		return nil
	}
	m.uids.header.guid = newGUID()
	return m.uids.rewrite(m.dir.folder, func(uidRecord) (uidRecord, bool) { return uidRecord{}, true }, m.user.filePerm)
}

// listedByOthers returns the files that got their UIDs from another server since we
// looked. It held the lock while it put them in place, and so they are there, unless
// somebody removed them since. The caller holds the dot lock.
func (m *Mailbox) listedByOthers(d *draft) (arrivals []*arrival) {
	want := map[string]bool{}
	for base, r := range m.lines.files {
		if _, known := m.names.find(d.State, []byte(base)); !known && r.uid >= d.next {
			want[base] = true
		}
	}
	for range findTries {
		moved := false
		for base, file := range m.findListed(want) {
			in, err := m.dir.of(file.isNew).Stat(file.name)
			if errors.Is(err, fs.ErrNotExist) {
				moved = true // renamed just now: its next event tells where to
				continue
			}
			delete(want, base)
			if err != nil || in.Mode.Type() != 0 {
				continue
			}
			r := m.lines.files[base]
			file.ino = in.Ino
			arrivals = append(arrivals, &arrival{file: file, base: base, stat: &in, uid: r.uid, keys: r.keys})
		}
		if !moved {
			break
		}
	}
	return arrivals
}

// findListed finds files by their bases: from the events, which stay to be looked
// at, or by a scan where there are none.
func (m *Mailbox) findListed(want map[string]bool) map[string]sighting {
	if len(want) == 0 {
		return nil
	}
	if m.disk.live {
		q := m.user.store.watch.drain(m)
		m.settled.Store(false)
		if !q.lost {
			m.held = append(m.held, q.kept()...)
			found := map[string]sighting{}
			for _, e := range m.held {
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

// renumber takes the messages out that another server gave a second UID, and
// returns them as arrivals under it.
func (m *Mailbox) renumber(d *draft) (arrivals []*arrival) {
	var rows []int
	for base, r := range m.lines.renamed {
		sl, known := m.names.find(d.State, []byte(base))
		i, live := d.rowOf(sl)
		if !known || !live || r.uid < d.next {
			continue
		}
		file := (&findings{m: m, state: d.State}).knownFile(sl)
		a := &arrival{file: file, base: base, uid: r.uid, keys: r.keys}
		if guid := d.GUID(i); r.guid() == "" && guid != base {
			a.keys += "G" + guid + " "
		}
		if in, err := m.dir.of(file.isNew).Stat(file.name); err == nil {
			a.stat = &in
		}
		rows, arrivals = append(rows, i), append(arrivals, a)
	}
	if len(rows) > 0 {
		m.log("messages have new UIDs, as another server listed them again", "count", len(rows))
		sortInts(rows)
		d.remove(rows, m.nextModSeq())
	}
	return arrivals
}

// relisted gives those messages their new base whose rename the list knows and the
// state does not, as a power cut took the end of the index's log. It returns the
// other arrivals.
func (m *Mailbox) relisted(d *draft, arrivals []*arrival) []*arrival {
	return slices.DeleteFunc(arrivals, func(a *arrival) bool {
		i, live := d.Find(a.uid)
		if a.uid == 0 || !live {
			return false
		}
		sl := d.slot(i)
		was := (&findings{m: m, state: d.State}).knownFile(sl)
		if was.ino == 0 || was.ino != a.file.ino {
			return false
		}
		if _, err := m.dir.of(was.isNew).Stat(was.name); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		m.moved(d, d.replaceBase(i, a.base, d.GUID(i)), a.file)
		return true
	})
}

// readNews takes in what other servers wrote into the uidlist when no file of
// theirs is new to us. It costs one look at the file's stamp.
func (m *Mailbox) readNews(ctx context.Context) error {
	in, err := m.dir.folder.Stat(uidlistFile)
	if err == nil && stampOf(in) == m.uids.stamp || m.uids.header.validity == 0 {
		return nil
	}
	d := m.draft()
	if err := m.admit(ctx, d, nil); err != nil {
		if m.cannotWrite(err) {
			return nil
		}
		return err
	}
	if !d.empty() || d.next != d.before.next {
		m.publish(d)
	}
	return nil
}

// listChanged reports that the uidlist is not as it was read last; false while
// somebody works on the mailbox, who will see it.
func (m *Mailbox) listChanged() bool {
	if !m.lock.tryLock() {
		return false
	}
	defer m.lock.unlock()
	in, err := m.dir.folder.Stat(uidlistFile)
	return err != nil || stampOf(in) != m.uids.stamp
}
