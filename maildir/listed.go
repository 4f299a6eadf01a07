package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

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
