package maildir

import (
	"context"
	"fmt"

	"buzon/internal/durable"
)

// An intent is what an operation on several files is about to do. It is durable in
// the index before the first file is touched, so that after a crash the operation
// is completed or undone: copies and appends are all there or none, and a moved
// message is in one place even where the file system kept both names.
//
// An expunge needs none: its files are unlinked and the directory is synced before
// anybody is told, and each message stands for itself.
type intent struct {
	id    uint64
	kind  intentKind
	from  string // a move's source directory, "" is the root
	items []intentItem
}

type intentKind byte

const (
	intentAppend intentKind = 1 + iota
	intentCopy
	intentMove
)

type intentItem struct {
	to   sighting // the name to be, here
	from sighting // a move's old name, in from
}

func (in *intent) encode() encoder {
	e := encoder{byte(recordIntent)}
	e.uint(in.id)
	e.uint(uint64(in.kind))
	e.text(in.from)
	e.uint(uint64(len(in.items)))
	for _, it := range in.items {
		for _, s := range []sighting{it.to, it.from} {
			e.bool(s.isNew)
			e.text(s.name)
			e.uint(s.ino)
		}
	}
	return e
}

func decodeIntent(d *decoder) *intent {
	in := &intent{id: d.uint(), kind: intentKind(d.uint()), from: d.text()}
	for range d.count() {
		var it intentItem
		for _, s := range []*sighting{&it.to, &it.from} {
			s.isNew, s.name, s.ino = d.bool(), d.text(), d.uint()
		}
		in.items = append(in.items, it)
	}
	return in
}

// intend makes a batch's intent durable. The function that it returns is called
// when the batch is done or undone.
func (in *incoming) intend() (done func(), err error) {
	if len(in.items) < 2 {
		return func() {}, nil // one file is there or not
	}
	return in.m.intend(&intent{kind: in.kind, items: in.intentItems()})
}

func (in *incoming) intentItems() []intentItem {
	items := make([]intentItem, len(in.items))
	for i, it := range in.items {
		items[i].to = it.file
	}
	return items
}

func (mv *mover) intend() (done func(), err error) {
	items := mv.in.intentItems()
	for i, it := range mv.items {
		items[i].from = it.from
		items[i].from.ino = it.stat.Ino
	}
	return mv.dst.intend(&intent{kind: intentMove, from: mv.src.dirName, items: items})
}

func (m *Mailbox) intend(in *intent) (done func(), err error) {
	x := m.index.Load()
	if x == nil || x.broken.Load() {
		return func() {}, nil
	}
	x.lastIntent++
	in.id = x.lastIntent
	x.write(appendRecord(nil, in.encode()))
	if err := x.syncLog(); err != nil {
		return nil, fmt.Errorf("note intent: %w", err)
	}
	m.openIntents++
	return func() {
		m.openIntents--
		m.endIntent(in.id)
	}, nil
}

func (m *Mailbox) endIntent(id uint64) {
	e := encoder{byte(recordDone)}
	e.uint(id)
	m.index.Load().write(appendRecord(nil, e))
}

// recover completes or undoes what a crash interrupted. The caller holds the lock.
func (m *Mailbox) recover(_ context.Context, open []*intent) error {
	for _, in := range open {
		found, err := m.findBases(in)
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if in.kind == intentMove {
			err = m.recoverMove(in, found)
		} else {
			err = m.recoverCopies(in, found)
		}
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		m.endIntent(in.id)
	}
	return nil
}

// findBases returns where the files of an intent are now: readers may have renamed
// them since.
func (m *Mailbox) findBases(in *intent) (map[string]sighting, error) {
	want := map[string]bool{}
	for _, it := range in.items {
		base, _ := splitName(it.to.name)
		want[base] = true
	}
	return findFiles(m.dir, want)
}

func findFiles(dirs folderDirs, want map[string]bool) (map[string]sighting, error) {
	found := map[string]sighting{}
	for _, isNew := range []bool{true, false} {
		err := dirs.of(isNew).Scan(func(e durable.Entry) error {
			if base, _ := splitName(string(e.Name)); want[base] {
				found[base] = sighting{isNew, string(e.Name), e.Ino}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// recoverCopies removes the files of a copy or append unless all of them have
// their UIDs: then only the answer was missing.
func (m *Mailbox) recoverCopies(in *intent, found map[string]sighting) error {
	listed, err := m.listedBases(in)
	if err != nil {
		return err
	}
	if listed == len(in.items) {
		return nil
	}
	for _, it := range in.items {
		base, _ := splitName(it.to.name)
		f, ok := found[base]
		if !ok || it.to.ino != 0 && f.ino != it.to.ino {
			continue
		}
		if err := m.dir.of(f.isNew).Remove(f.name); err != nil {
			return err
		}
	}
	m.log("unfinished copy undone", "count", len(in.items))
	return m.syncDirs(true, true)
}

// listedBases counts the files of an intent that are in the uidlist.
func (m *Mailbox) listedBases(in *intent) (n int, err error) {
	want := map[string]bool{}
	for _, it := range in.items {
		base, _ := splitName(it.to.name)
		want[base] = true
	}
	l := uidlist{}
	_, err = l.read(m.dir.folder, func(r uidRecord) error {
		if want[r.base] {
			delete(want, r.base)
			n++
		}
		return nil
	})
	return n, err
}

// recoverMove removes the old name of a message that has its new one: after a
// power cut a file system may show both.
func (m *Mailbox) recoverMove(in *intent, found map[string]sighting) error {
	folder, err := m.user.openFolder(in.from)
	if err != nil {
		return nil // the source is gone, and its names with it
	}
	dirs, err := openFolderDirs(folder, m.user.dirPerm)
	if in.from != "" {
		defer folder.Close()
	}
	if err != nil {
		return err
	}
	defer func() { dirs.cur.Close(); dirs.new.Close() }()
	want := map[string]bool{}
	for _, it := range in.items {
		base, _ := splitName(it.from.name)
		want[base] = true
	}
	sources, err := findFiles(dirs, want)
	if err != nil {
		return err
	}
	for _, it := range in.items {
		base, _ := splitName(it.from.name)
		to, _ := splitName(it.to.name)
		src, both := sources[base]
		if dst, ok := found[to]; !ok || !both || src.ino != dst.ino {
			continue
		}
		if err := dirs.of(src.isNew).Remove(src.name); err != nil {
			return err
		}
		m.log("second name of a moved message removed", "from", src.name)
	}
	if err := dirs.cur.Sync(); err != nil {
		return err
	}
	return dirs.new.Sync()
}
