package maildir

import (
	"io/fs"
	"iter"
	"strings"

	"buzon/internal/durable"
)

// findings are the differences between a state and the disk: for each base that
// has not exactly the file that the state says, the files that it has.
type findings struct {
	m     *Mailbox
	state *State
	seen  []uint64 // bit per slot: a scan saw the file under its known name
	bases map[string]*finding
	fresh arrivalTable // files with a base of their own that no message has
	crowd *crowd       // the same at a first look; nil otherwise
	odd   []sighting   // names that cannot be served, and must get another

	suspicions []suspicion // known names of files that may be other messages
}

// finding is what one base has on disk.
type finding struct {
	base  string
	slot  slot
	known bool // slot is the message with this base
	names []sighting

	remade   bool // a file of the base was made or removed, not only renamed
	replaced bool // the file is another message's
}

// sighting is a file: its directory and the whole of its name.
type sighting struct {
	isNew bool
	name  string
	ino   uint64 // 0 when not known
}

func (m *Mailbox) newFindings() *findings {
	return &findings{m: m, state: m.State(), bases: map[string]*finding{}}
}

// scanDir adds what a directory holds. Only what differs takes memory.
func (f *findings) scanDir(isNew bool) error {
	if f.seen == nil {
		f.seen = make([]uint64, (len(f.state.blocks)*blockRows+63)/64)
	}
	if f.crowd == nil && len(f.bases)+len(f.fresh.all) == 0 && f.m.isFirstLook() {
		f.crowd = newCrowd()
	}
	dir := f.m.dir.of(isNew)
	return dir.Scan(func(e durable.Entry) error {
		if e.Type != 0 && e.Type != fs.ModeIrregular || len(e.Name) == 0 || e.Name[0] == '.' {
			return nil // never followed, never touched
		}
		if e.Type == fs.ModeIrregular {
			if in, err := dir.Stat(string(e.Name)); err != nil || in.Mode.Type() != 0 {
				return nil
			}
		}
		if !usableName(e.Name) {
			f.odd = append(f.odd, sighting{isNew, string(e.Name), e.Ino})
			return nil
		}
		if f.crowd != nil {
			if f.crowd.add(e.Name, isNew, e.Ino) == nil {
				return nil
			}
			f.disband() // too many, or too little memory
		}
		f.sight(e, isNew)
		return nil
	})
}

func (f *findings) sight(e durable.Entry, isNew bool) {
	base := e.Name
	for i, c := range base {
		if c == ':' {
			base = base[:i]
			break
		}
	}
	sl, known := f.m.names.find(f.state, base)
	if known && f.isKnownName(sl, isNew, e.Name[len(base):]) {
		f.seen[sl/64] |= 1 << (sl % 64)
		f.suspect(sl, base, e.Ino)
		return
	}
	name := string(e.Name)
	file := sighting{isNew, name, e.Ino}
	x := f.find(name[:len(base)])
	if x == nil && !known {
		f.fresh.add(file, name[:len(base)])
		return
	}
	if x == nil {
		x = &finding{base: name[:len(base)], slot: sl, known: known}
		f.bases[x.base] = x
	}
	x.names = append(x.names, file)
}

// find returns what was found of a base; nil when nothing was. A fresh file of
// which more is to be said becomes a finding.
func (f *findings) find(base string) *finding {
	if x := f.bases[base]; x != nil {
		return x
	}
	if f.crowd != nil {
		return f.fromCrowd(base)
	}
	a := f.fresh.find([]byte(base))
	if a == nil || a.taken() {
		return nil
	}
	x := &finding{base: a.base, names: []sighting{a.file}}
	f.bases[x.base] = x
	a.file = sighting{}
	return x
}

func (f *findings) isKnownName(sl slot, isNew bool, info []byte) bool {
	w := f.state.blocks[sl.block()].where[sl.row()]
	return w.isNew() == isNew && f.state.infos[w.number()].raw == string(info)
}

// finish completes the findings of a scan: messages that were not seen at all
// get an empty one, and those with a second name their first as well.
func (f *findings) finish(newOnly bool) {
	if f.crowd != nil {
		f.finishCrowd()
	}
	for _, x := range f.bases {
		if x.known && (f.wasSeen(x.slot) || newOnly && !f.knownFile(x.slot).isNew) {
			x.names = append([]sighting{f.knownFile(x.slot)}, x.names...)
		}
	}
	for i := range f.state.uids {
		sl := f.state.slot(i)
		if f.wasSeen(sl) {
			continue
		}
		b, r := f.state.blocks[sl.block()], sl.row()
		if newOnly && !b.where[r].isNew() {
			continue
		}
		if base, _ := b.name(r); f.bases[string(base)] == nil {
			f.bases[string(base)] = &finding{base: string(base), slot: sl, known: true}
		}
	}
}

func (f *findings) wasSeen(sl slot) bool { return f.seen[sl/64]&(1<<(sl%64)) != 0 }

// knownFile is where the state says that a message is.
func (f *findings) knownFile(sl slot) sighting {
	b, r := f.state.blocks[sl.block()], sl.row()
	base, _ := b.name(r)
	return sighting{b.where[r].isNew(), string(base) + f.state.infos[b.where[r].number()].raw, b.ino[r]}
}

// apply brings the findings up to date with what happened since. Of each file the
// last event counts; a file without one is where the state says, or the scan. The
// names need not outlive the call.
func (f *findings) apply(events iter.Seq[event]) {
	for e := range events {
		if strings.HasPrefix(e.name, ".") {
			continue
		}
		base, raw := splitName(e.name)
		if len(f.bases)+len(f.fresh.all) == 0 && f.crowd == nil && f.saidBy(e, base, raw) {
			continue
		}
		e.name = strings.Clone(e.name)
		base = e.name[:len(base)]
		if !usableName([]byte(e.name)) {
			if e.present {
				f.odd = append(f.odd, sighting{e.isNew, e.name, 0})
			}
			continue
		}
		x := f.find(base)
		if x == nil {
			if f.saidBy(e, base, raw) {
				continue
			}
			sl, known := f.m.names.find(f.state, borrowedBytes(base))
			x = &finding{base: base, slot: sl, known: known}
			if known {
				x.names = []sighting{f.knownFile(sl)}
			}
			f.bases[base] = x
		}
		x.set(e)
	}
}

// saidBy reports that the state says already what an event does: it was us, mostly.
func (f *findings) saidBy(e event, base, raw string) bool {
	sl, known := f.m.names.find(f.state, borrowedBytes(base))
	return known && e.present == f.isKnownName(sl, e.isNew, borrowedBytes(raw))
}

func (x *finding) set(e event) {
	x.remade = x.remade || e.remade
	for i, s := range x.names {
		if s.isNew == e.isNew && s.name == e.name {
			if !e.present {
				x.names = append(x.names[:i], x.names[i+1:]...)
			}
			return
		}
	}
	if e.present {
		x.names = append(x.names, sighting{e.isNew, e.name, 0})
	}
}

// nothing reports that the disk is as the state says.
func (f *findings) nothing() bool {
	for _, x := range f.bases {
		switch {
		case !x.known && len(x.names) == 0:
		case x.known && len(x.names) == 1:
			if k := f.knownFile(x.slot); k.isNew == x.names[0].isNew && k.name == x.names[0].name {
				continue
			}
			return false
		default:
			return false
		}
	}
	return len(f.odd) == 0 && len(f.fresh.all) == 0 && f.crowd == nil
}
