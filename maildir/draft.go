package maildir

import (
	"slices"
	"strings"
)

// draft is the next state of a mailbox while it is made. It shares with the
// state before whatever it does not change. One is made at a time, under the
// mailbox's lock, always from the newest state: rows are appended to arrays that
// older states share.
type draft struct {
	*State
	before  *State
	own     map[int]bool // blocks whose changing columns are this draft's own
	tail    *block       // the last block, once it is this draft's own
	changed []UID
	gone    []UID
	added   []UID

	// for the log
	touched         []UID // names or keywords differ, seen by sessions or not
	rebased         []UID
	goneModSeq      ModSeq
	keywordsChanged bool
}

// draft begins the next state. The caller holds the lock.
func (m *Mailbox) draft() *draft {
	old := m.State()
	n := &State{
		mailbox: m, generation: old.generation + 1,
		uids: old.uids, slots: old.slots, blocks: slices.Clone(old.blocks), infos: m.infos,
		validity: old.validity, next: old.next, highest: old.highest,
		keywords: old.keywords, visible: old.visible, forwardedMask: old.forwardedMask,
		unseen: old.unseen, deleted: old.deleted, recent: old.recent, bytes: old.bytes, unsized: old.unsized,
	}
	n.firstUnseen.Store(old.firstUnseen.Load())
	return &draft{State: n, before: old, own: map[int]bool{}}
}

// empty reports whether nothing that a session sees was changed.
func (d *draft) empty() bool {
	return len(d.changed)+len(d.gone)+len(d.added) == 0
}

// info numbers an info text. Numbers are the mailbox's and outlive a draft that
// is not published.
func (d *draft) info(raw string) fileInfo {
	m := d.mailbox
	id, ok := m.infoIDs[raw]
	if !ok {
		id = fileInfo(len(m.infos))
		raw = strings.Clone(raw)
		m.infos = append(m.infos, parseInfo(raw))
		m.infoIDs[raw] = id
	}
	d.infos = m.infos
	return id
}

// add appends a message; its UID is above all others.
func (d *draft) add(r row) slot {
	sl := d.place(r)
	if d.slots == nil && int(sl) != len(d.uids) {
		d.padSlots()
	}
	if d.slots != nil {
		d.slots = append(d.slots, sl)
	}
	d.uids = append(d.uids, r.uid)
	d.added = append(d.added, r.uid)
	d.next = max(d.next, r.uid+1)
	d.highest = max(d.highest, r.modseq)
	d.count(r.flags, r.where, r.stored, 1)
	d.unsized = d.unsized || r.stored < 0
	if r.flags&FlagSeen == 0 && d.firstUnseen.Load() == firstUnseenNone {
		d.firstUnseen.Store(int32(len(d.uids)-1) + 2)
	}
	return sl
}

// place puts a row into the next slot. Slots are never used twice.
func (d *draft) place(r row) slot {
	last := len(d.blocks) - 1
	if last < 0 || d.blocks[last].rows == blockRows || d.blocks[last].mapped != nil {
		d.tail = newBlock()
		d.blocks = append(d.blocks, d.tail)
		last++
	}
	if d.tail != d.blocks[last] {
		d.tail = d.blocks[last].forAdd()
		d.blocks[last] = d.tail
	}
	sl := slot(last*blockRows + d.tail.rows)
	d.tail.add(r)
	return sl
}

// padSlots writes down what was implied: row i is in slot i.
func (d *draft) padSlots() {
	if d.slots != nil {
		return
	}
	d.slots = make([]slot, len(d.uids), len(d.uids)+len(d.uids)/8+16)
	for i := range d.slots {
		d.slots[i] = slot(i)
	}
}

func (d *draft) count(f Flags, w fileInfo, stored int64, sign int) {
	if f&FlagSeen == 0 {
		d.unseen += sign
	}
	if f&FlagDeleted != 0 {
		d.deleted += sign
	}
	if w.isRecent() {
		d.recent += sign
	}
	if stored > 0 {
		d.bytes += int64(sign) * stored
	}
}

// set changes the name of row i's file, and its keywords without a letter. It
// counts as a change for sessions, with the given modseq, when what they see
// differs.
func (d *draft) set(i int, w fileInfo, overflow KeywordSet, modseq ModSeq) {
	sl := d.slot(i)
	b, r := d.blocks[sl.block()], sl.row()
	in := d.infos[w.number()]
	keywords := in.letters | overflow&^letterMask
	if b.where[r] == w && b.keywords[r] == keywords {
		return
	}
	if !d.own[sl.block()] {
		b = b.forChange()
		d.blocks[sl.block()], d.own[sl.block()] = b, true
	}
	d.count(b.flags[r], b.where[r], 0, -1)
	d.count(in.flags, w, 0, 1)
	if b.flags[r] != in.flags || (b.keywords[r]^keywords)&d.keywords.named() != 0 {
		b.modseq[r] = modseq
		d.highest = max(d.highest, modseq)
		d.changed = append(d.changed, d.uids[i])
	}
	if (b.flags[r]^in.flags)&FlagSeen != 0 {
		d.movedUnseen(i, in.flags)
	}
	b.flags[r], b.keywords[r], b.where[r] = in.flags, keywords, w
	d.touched = append(d.touched, d.uids[i])
}

// movedUnseen keeps what is known of the first unseen row when row i changes.
func (d *draft) movedUnseen(i int, now Flags) {
	first := int(d.firstUnseen.Load()) - 2
	switch {
	case first == -2:
	case now&FlagSeen == 0 && (first == -1 || i < first):
		d.firstUnseen.Store(int32(i) + 2)
	case now&FlagSeen != 0 && i == first:
		d.firstUnseen.Store(0)
	}
}

// remove takes rows out; they ascend.
func (d *draft) remove(rows []int, modseq ModSeq) {
	if len(rows) == 0 {
		return
	}
	uids := make([]UID, 0, len(d.uids)-len(rows)+16)
	slots := make([]slot, 0, len(d.uids)-len(rows)+16)
	from := 0
	keep := func(to int) {
		uids = append(uids, d.uids[from:to]...)
		for i := from; i < to; i++ {
			slots = append(slots, d.slot(i))
		}
	}
	for _, i := range rows {
		keep(i)
		from = i + 1
		sl := d.slot(i)
		b, r := d.blocks[sl.block()], sl.row()
		d.count(b.flags[r], b.where[r], max(0, b.loadStored(r)), -1)
		d.gone = append(d.gone, d.uids[i])
	}
	keep(len(d.uids))
	d.uids, d.slots = uids, slots
	d.highest, d.goneModSeq = max(d.highest, modseq), modseq
	d.firstUnseen.Store(0)
}

// replaceBase gives row i another base, by giving it another slot: names are
// written once.
func (d *draft) replaceBase(i int, base, guid string) slot {
	sl := d.slot(i)
	b, r := d.blocks[sl.block()], sl.row()
	d.padSlots()
	moved := row{
		uid: d.uids[i], ino: b.ino[r], size: b.loadSize(r), stored: b.loadStored(r), date: b.loadDate(r), saved: b.loadSaved(r), cached: b.loadCached(r),
		base: base, guid: guid, flags: b.flags[r], keywords: b.keywords[r], modseq: b.modseq[r], where: b.where[r],
	}
	to := d.place(moved)
	d.slots = append([]slot(nil), d.slots...)
	d.slots[i] = to
	d.rebased = append(d.rebased, moved.uid)
	return to
}

// setKeywords makes t the mailbox's keyword table.
func (d *draft) setKeywords(t keywordTable) {
	d.keywords, d.keywordsChanged = t, true
	d.visible, d.forwardedMask = t, 0
	if n := t.find(Forwarded); n >= 0 {
		d.visible = slices.Clone(t)
		d.visible[n] = ""
		d.forwardedMask = 1 << n
	}
}
