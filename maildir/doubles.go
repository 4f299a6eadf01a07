package maildir

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"buzon/internal/durable"
)

// doubleWait is how long a second link to a message is left alone: a delivery by
// link and unlink, or another server's rename, may be under way.
const doubleWait = 30 * time.Second

// resolveDoubles leaves a finding one name, the one to serve. Two links to one
// file are one message: the second name goes after doubleWait. Two files with one
// base are two messages: the younger gets another base and is returned.
func (m *Mailbox) resolveDoubles(ctx context.Context, x *finding) (copies []*arrival) {
	var names []sighting
	var links []uint32
	ctimes := map[uint64]int64{}
	for _, s := range x.names {
		in, err := m.dir.of(s.isNew).Stat(s.name)
		if err != nil || in.Mode.Type() != 0 {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				continue // gone by now: events will say so
			}
		}
		s.ino = in.Ino
		names, links, ctimes[in.Ino] = append(names, s), append(links, in.Nlink), max(in.Ctime, in.Btime)
	}
	if len(names) == 0 && len(x.names) > 0 {
		names = x.names[:1]
	}
	keep := m.preferred(x, names, ctimes)
	x.names = names
	if len(names) < 2 {
		delete(m.doubles, x.base)
		return nil
	}
	x.names = []sighting{names[keep]}
	for i, s := range names {
		switch {
		case i == keep:
		case s.ino != names[keep].ino:
			if a := m.renameCopy(s); a != nil {
				copies = append(copies, a)
			}
		default:
			m.dropLink(ctx, x.base, s, names[keep], links[i])
		}
	}
	return copies
}

// preferred is the name that stays: the file that we know, else the older one,
// and of its links the known name, else the one in cur/.
func (m *Mailbox) preferred(x *finding, names []sighting, ctimes map[uint64]int64) int {
	s := m.State()
	var known sighting
	if x.known {
		known = (&findings{m: m, state: s}).knownFile(x.slot)
	}
	best := 0
	score := func(n sighting) (a int, b int64) {
		switch {
		case x.known && n.ino == known.ino && n.name == known.name && n.isNew == known.isNew:
			a = 3
		case x.known && n.ino == known.ino && !n.isNew:
			a = 2
		case x.known && n.ino == known.ino:
			a = 1
		}
		return a, -ctimes[n.ino]
	}
	for i := 1; i < len(names); i++ {
		a, at := score(names[i])
		b, bt := score(names[best])
		if a > b || a == b && at > bt || a == b && at == bt && names[best].isNew && !names[i].isNew {
			best = i
		}
	}
	return best
}

// renameCopy gives a file that shares its base with another message one of its
// own, in its own directory.
func (m *Mailbox) renameCopy(s sighting) *arrival {
	dir := m.dir.of(s.isNew)
	_, raw := splitName(s.name)
	base := m.user.store.namer.base(-1, -1)
	if err := dir.Rename(s.name, dir, base+raw); err != nil {
		m.log("copy keeps its name", "err", err)
		return nil
	}
	m.log("file had the base of another message", "from", s.name, "to", base+raw)
	return &arrival{file: sighting{s.isNew, base + raw, s.ino}, base: base}
}

// dropLink removes a second name once it was there for doubleWait: under the lock, and
// after another look, as another server may prefer the other name.
func (m *Mailbox) dropLink(ctx context.Context, base string, s, keep sighting, links uint32) {
	now := m.user.store.now()
	since, seen := m.doubles[base]
	if !seen {
		m.doubles[base] = now
		return
	}
	if now.Sub(since) < doubleWait || links < 2 {
		return
	}
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return // at the next look
	}
	defer release()
	kept, err := m.dir.of(keep.isNew).Stat(keep.name)
	if errors.Is(err, fs.ErrNotExist) {
		m.disk.scanned, m.disk.live = false, false
		return // the other name is the message's
	}
	if err == nil {
		var in durable.Info
		if in, err = m.dir.of(s.isNew).Stat(s.name); err == nil && (in.Ino != kept.Ino || in.Dev != kept.Dev) {
			err = fs.ErrNotExist
		}
	}
	if err == nil {
		err = m.dir.of(s.isNew).Remove(s.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log("second name of a message stays", "err", err)
		return
	}
	delete(m.doubles, base)
}

// ofDouble reports that something happened to a message with a second name.
func (f *findings) ofDouble() bool {
	for base := range f.m.doubles {
		if f.bases[base] != nil {
			return true
		}
	}
	return false
}

// recheckDoubles adds the bases with two names to the findings: no event tells
// that their time is up.
func (m *Mailbox) recheckDoubles(f *findings) {
	now := m.user.store.now()
	for base, since := range m.doubles {
		if now.Sub(since) < doubleWait || f.bases[base] != nil {
			continue
		}
		x := &finding{base: base}
		if x.slot, x.known = m.names.find(m.State(), []byte(base)); !x.known {
			delete(m.doubles, base)
			continue
		}
		// Which names there are only a scan can tell; it is rare.
		all := m.newFindings()
		if all.scanDir(true) != nil || all.scanDir(false) != nil {
			return
		}
		all.finish(false)
		if y := all.bases[base]; y != nil {
			f.bases[base] = y
		} else {
			delete(m.doubles, base)
		}
	}
}
