package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// arrival is a file that is no message yet.
type arrival struct {
	file sighting
	base string
	stat *durable.Info // nil: not read
	ours bool          // an append or a copy
	time arrivalTime
	uid  UID // from the uidlist; 0 when it has none
	keys string
}

// statArrivals is how many new files are looked at one by one; of more than these
// dates, and sizes that their names do not tell, are read when they are asked for.
const statArrivals = 100

// merge makes the state say what the findings say. Removals wait unless they are
// exact.
func (m *Mailbox) merge(ctx context.Context, f *findings, exact bool) error {
	if held := m.held; len(held) > 0 {
		m.held = nil
		f.apply(slices.Values(held))
	}
	m.renameOdd(f)
	m.recheckDoubles(f)
	m.resolveSuspicions(f)
	if len(f.bases) == 0 && len(f.fresh.all) == 0 && len(m.absent) == 0 && f.crowd == nil {
		return nil
	}
	d := m.draft()
	var arrivals []*arrival
	var missing []slot
	var replaced []*finding
	for _, x := range f.bases {
		if len(x.names) > 1 || len(m.doubles) > 0 && !m.doubles[x.base].IsZero() {
			arrivals = append(arrivals, m.resolveDoubles(ctx, x)...)
		}
		switch {
		case x.known && len(x.names) == 0:
			missing = append(missing, x.slot)
		case x.known && m.wasReplaced(d.State, x):
			replaced = append(replaced, x)
		case x.known:
			m.moved(d, x.slot, x.names[0])
		case len(x.names) > 0:
			arrivals = append(arrivals, &arrival{file: x.names[0], base: x.base})
		}
	}
	if arrivals == nil {
		arrivals = make([]*arrival, 0, len(f.fresh.all))
	}
	for _, a := range f.fresh.all {
		if !a.taken() {
			arrivals = append(arrivals, a)
		}
	}
	f.fresh.table = nil
	arrivals = m.statArrivals(arrivals)
	if f.crowd != nil {
		return m.admitCrowd(ctx, f.crowd, arrivals)
	}
	arrivals, missing = m.renamedBases(ctx, d, arrivals, missing)
	if len(arrivals) > 0 {
		err := m.admit(ctx, d, arrivals)
		if err != nil && !m.cannotWrite(err) {
			return err
		}
		if err != nil {
			// People make room by deleting: what is known is served, the new
			// files wait for their UIDs.
			m.log("new messages wait for their UIDs", "count", len(arrivals), "err", err)
			m.hold(arrivals)
		}
	}
	gone := m.confirmGone(d, missing, exact)
	for _, x := range replaced {
		if i, live := d.rowOf(x.slot); live {
			gone = append(gone, i)
		}
	}
	slices.Sort(gone)
	d.remove(gone, m.nextModSeq())
	if !d.empty() || d.validity != d.before.validity || d.recent != d.before.recent || len(d.own)+len(d.rebased) > 0 || len(d.uids) != len(d.before.uids) {
		m.readNewKeywords(d)
		m.publish(d)
	}
	if len(replaced) > 0 {
		return m.merge(ctx, m.asNew(replaced), true)
	}
	return nil
}

// cannotWrite reports an error of a full or read-only disk, in a mailbox that can
// be served without writing.
func (m *Mailbox) cannotWrite(err error) bool {
	return (durable.IsFull(err) || errors.Is(err, unix.EROFS)) && (m.State().validity != 0 || m.uids.header.validity != 0)
}

// hold remembers files that have no UID yet, for the next look.
func (m *Mailbox) hold(arrivals []*arrival) {
	for _, a := range arrivals {
		m.held = append(m.held, event{isNew: a.file.isNew, name: a.file.name, present: true})
	}
}

// moved gives a message the name that its file has now.
func (m *Mailbox) moved(d *draft, sl slot, to sighting) {
	i, live := d.rowOf(sl)
	if !live {
		return
	}
	delete(m.absent, d.uids[i])
	_, raw := splitName(to.name)
	w := d.info(raw)
	if to.isNew {
		w |= inNew
	}
	b := d.blocks[sl.block()]
	if !to.isNew {
		w |= b.where[sl.row()] & unclaimed
	}
	d.set(i, w, b.keywords[sl.row()], m.nextModSeq())
}

// statArrivals reads what the names do not say, and drops what is gone again or
// is no file.
func (m *Mailbox) statArrivals(all []*arrival) []*arrival {
	kept := all[:0]
	for _, a := range all {
		if a.file.ino != 0 && len(all) > statArrivals {
			// A scan saw it, and that it is a file.
			kept = append(kept, a)
			continue
		}
		in, err := m.dir.of(a.file.isNew).Stat(a.file.name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && in.Mode.Type() != 0 {
			continue
		}
		if err == nil {
			a.stat, a.file.ino = &in, in.Ino
		}
		kept = append(kept, a)
	}
	return kept
}

// confirmGone returns the rows of missing messages whose end is certain,
// ascending; the others are remembered.
func (m *Mailbox) confirmGone(d *draft, missing []slot, exact bool) []int {
	var rows []int
	now := m.user.store.now()
	if !exact {
		m.forgetFound(d, missing)
	}
	for _, sl := range missing {
		i, live := d.rowOf(sl)
		if !live {
			continue
		}
		uid := d.uids[i]
		if !exact && !m.goneForLong(uid, sl, d.State, now) {
			continue
		}
		delete(m.absent, uid)
		rows = append(rows, i)
	}
	if exact {
		clear(m.absent)
	}
	slices.Sort(rows)
	return rows
}

// forgetFound drops the absences of messages that the last scan saw. While some
// come back the patience with the others begins anew: files are being renamed, or
// a directory is being filled.
func (m *Mailbox) forgetFound(d *draft, missing []slot) {
	still := 0
	for _, sl := range missing {
		if i, live := d.rowOf(sl); live {
			if _, known := m.absent[d.uids[i]]; known {
				still++
			}
		}
	}
	if still < len(m.absent) {
		clear(m.absent)
	}
}

func (m *Mailbox) goneForLong(uid UID, sl slot, s *State, now time.Time) bool {
	a, known := m.absent[uid]
	if !known {
		a.since = now
	}
	a.misses++
	m.absent[uid] = a
	if a.misses < absentScans || now.Sub(a.since) < absentTime {
		return false
	}
	f := (&findings{m: m, state: s}).knownFile(sl)
	_, err := m.dir.of(f.isNew).Stat(f.name)
	return errors.Is(err, fs.ErrNotExist)
}

// renamedBases finds messages to which another program gave a new base, as
// mbsync does when it adds ",U=7": a missing message and a new file that are the
// same inode, of the same size and time, and that inode is older than the moment
// when we saw the message last. They keep their UIDs.
func (m *Mailbox) renamedBases(ctx context.Context, d *draft, arrivals []*arrival, missing []slot) ([]*arrival, []slot) {
	if len(arrivals) == 0 || len(missing) == 0 {
		return arrivals, missing
	}
	byIno := map[uint64][]slot{}
	for _, sl := range missing {
		if ino := d.blocks[sl.block()].ino[sl.row()]; ino != 0 {
			byIno[ino] = append(byIno[ino], sl)
		}
	}
	renamed := map[UID]uidRecord{}
	taken := map[slot]bool{}
	kept := arrivals[:0]
	for _, a := range arrivals {
		i, sl, ok := m.renamedTo(d, byIno[a.file.ino], taken, a)
		if !ok {
			kept = append(kept, a)
			continue
		}
		taken[sl] = true
		guid := d.GUID(i)
		to := d.replaceBase(i, a.base, guid)
		m.moved(d, to, a.file)
		renamed[d.uids[i]] = uidRecord{uid: d.uids[i], keys: "G" + guid + " ", base: a.base}
	}
	if len(renamed) == 0 {
		return kept, missing
	}
	missing = slices.DeleteFunc(missing, func(sl slot) bool { return taken[sl] })
	// Until the list is rewritten only our index knows; a failure costs the
	// messages their UIDs should the index be lost as well.
	if err := m.rewriteUIDs(ctx, renamed, nil); err != nil {
		m.log("uidlist not rewritten after renames", "err", err)
	}
	return kept, missing
}

// renamedTo finds which of the messages with a's inode a is: there are several
// where a message was copied by a link.
func (m *Mailbox) renamedTo(d *draft, candidates []slot, taken map[slot]bool, a *arrival) (row int, sl slot, ok bool) {
	for _, c := range candidates {
		i, live := d.rowOf(c)
		if taken[c] || !live || !m.sameFile(d, i, a) {
			continue
		}
		base, _ := d.blocks[c.block()].name(c.row())
		likely := strings.HasPrefix(a.base, string(base))
		if !ok || likely {
			row, sl, ok = i, c, true
		}
		if likely {
			break
		}
	}
	return row, sl, ok
}

func (m *Mailbox) sameFile(d *draft, i int, a *arrival) bool {
	sl := d.slot(i)
	b, r := d.blocks[sl.block()], sl.row()
	in := a.stat
	if in == nil {
		now, err := m.dir.of(a.file.isNew).Stat(a.file.name)
		if err != nil {
			return false
		}
		in = &now
	}
	size, date := b.loadStored(r), b.loadDate(r)
	return (size < 0 || size == in.Size) && (date == unknownDate || date == zonedTimeOf(in.Mtime)) &&
		in.Btime != 0 && (in.Btime < m.lastConfirmed || in.Btime == m.young[d.uids[i]])
}

// youngFiles are the birth times of messages' files that were born after the last
// look: their own, so that one of them is known again when its base is changed
// before the next look, and no other file on its inode is taken for it.
type youngFiles map[UID]int64

func (y *youngFiles) put(a *arrival, confirmed int64) {
	if a.stat.Btime < confirmed {
		return
	}
	if *y == nil {
		*y = youngFiles{}
	}
	(*y)[a.uid] = a.stat.Btime
}

// adult waits until the disk's clock has gone on since the youngest file was born:
// some milliseconds, where the mailbox is closed right after a message came.
func (y youngFiles) adult(now func() int64) {
	for _, born := range y {
		for range 50 {
			if now() > born {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// grow forgets the files that the last look has seen.
func (y youngFiles) grow(confirmed int64) {
	for uid, born := range y {
		if born < confirmed {
			delete(y, uid)
		}
	}
}

// renameOdd gives names that cannot stand in a uidlist another base.
func (m *Mailbox) renameOdd(f *findings) {
	for _, o := range f.odd {
		to := sighting{isNew: o.isNew, name: m.user.store.namer.base(-1, -1)}
		dir := m.dir.of(o.isNew)
		in, err := dir.Stat(o.name)
		if err != nil || in.Mode.Type() != 0 {
			continue
		}
		if !o.isNew {
			to.name += ":2,"
		}
		if err := dir.Rename(o.name, dir, to.name); err != nil {
			m.log("unusable file name stays", "err", err)
			continue
		}
		base, _ := splitName(to.name)
		f.bases[base] = &finding{base: base, names: []sighting{to}}
	}
}

// readNewKeywords reads dovecot-keywords again when a letter was seen that has no
// name: another server may have given it one.
func (m *Mailbox) readNewKeywords(d *draft) {
	var letters KeywordSet
	for _, in := range d.infos[m.infosNamed:] {
		letters |= in.letters
	}
	m.infosNamed = len(d.infos)
	if letters&^d.keywords.named() == 0 {
		return
	}
	t, _, err := readKeywords(m.dir.folder)
	if err != nil {
		m.log("keywords not read", "err", fmt.Errorf("read %s: %w", keywordsFile, err))
		return
	}
	d.setKeywords(mergeKeywords(d.keywords, t))
}

// mergeKeywords returns the letters as the file has them, and the numbers beyond.
func mergeKeywords(known, file keywordTable) keywordTable {
	if len(known) <= letterKeywords {
		return file
	}
	out := make(keywordTable, len(known))
	copy(out, file)
	copy(out[letterKeywords:], known[letterKeywords:])
	return out
}
