package maildir

import (
	"context"
	"fmt"
	"time"

	"buzon/internal/durable"
)

// Append is one message for Mailbox.Append.
type Append struct {
	Staged       *Staged
	Flags        Flags
	Keywords     []string
	InternalDate time.Time // zero: the time of staging
}

// Append puts staged messages into the mailbox, all or none, and returns their
// UIDs in the same order. They are durable then, and so are the UIDs. ErrLimit:
// too many keywords. The Staged are used up when it succeeds; otherwise they are
// still to be discarded.
func (m *Mailbox) Append(ctx context.Context, msgs []Append) ([]UID, error) {
	for i := range msgs {
		if err := msgs[i].Staged.sealAs(msgs[i].InternalDate); err != nil {
			return nil, m.fail("append to", err)
		}
	}
	if err := m.lock.lock(ctx); err != nil {
		return nil, err
	}
	defer m.lock.unlock()
	if err := m.checkFolder(); err != nil {
		return nil, m.fail("append to", err)
	}
	in := incoming{m: m, kind: intentAppend}
	for _, a := range msgs {
		f, set, err := m.numberKeywords(ctx, a.Flags, a.Keywords)
		if err != nil {
			return nil, m.fail("append to", err)
		}
		st := a.Staged
		in.add(st.base(), "", f, set, st.stat, func(dir durable.Dir, name string) error { return st.move(dir, name) })
	}
	uids, err := in.commit(ctx)
	if err != nil {
		return nil, m.fail("append to", err)
	}
	return uids, nil
}

// incoming is a batch of files that become messages of m, all or none. The caller
// holds m's lock.
type incoming struct {
	m     *Mailbox
	kind  intentKind
	items []incomingItem

	placed int // of items, from the first on
}

type incomingItem struct {
	file     sighting
	arrival  *arrival
	overflow []string // keywords without a letter
	place    func(dir durable.Dir, name string) error
}

// add appends a message to the batch; place will give its file the final name.
func (in *incoming) add(base, guid string, f Flags, set KeywordSet, stat durable.Info, place func(durable.Dir, string) error) {
	m := in.m
	// Files in new/ have no flags; a reader that claims it will give it some.
	file := sighting{isNew: f == 0 && set&letterMask == 0, name: base, ino: stat.Ino}
	if !file.isNew {
		file.name += parseInfo("").with(f, set)
	}
	a := &arrival{file: file, base: base, stat: &stat, ours: true}
	if guid != "" {
		a.keys = "G" + guid + " "
	}
	in.items = append(in.items, incomingItem{file, a, m.State().keywords.names(set &^ letterMask), place})
}

// commit does it: intent, names, fsync of the directories, UIDs, state.
func (in *incoming) commit(ctx context.Context) ([]UID, error) {
	m := in.m
	done, err := in.intend()
	if err != nil {
		return nil, err
	}
	d, err := in.placeAndAdmit(ctx)
	if err != nil {
		in.takeBack()
		done()
		return nil, err
	}
	m.publish(d)
	done()
	uids := make([]UID, len(in.items))
	for i, it := range in.items {
		uids[i] = it.arrival.uid
	}
	return uids, nil
}

// placeAndAdmit makes the files' names and UIDs durable. Of a batch the names come
// first: after a crash, one that is listed to its end counts as done.
func (in *incoming) placeAndAdmit(ctx context.Context) (*draft, error) {
	sync, err := in.placeAll()
	if err != nil {
		return nil, err
	}
	if len(in.items) > 1 {
		if err := sync(); err != nil {
			return nil, err
		}
		sync = nil
	}
	return in.admit(ctx, sync)
}

// placeAll gives the files their names, which sync makes durable.
func (in *incoming) placeAll() (sync func() error, err error) {
	m := in.m
	var inNew, inCur bool
	for _, it := range in.items {
		if err := it.place(m.dir.of(it.file.isNew), it.file.name); err != nil {
			return nil, err
		}
		in.placed++
		inNew, inCur = inNew || it.file.isNew, inCur || !it.file.isNew
	}
	return func() error { return m.syncDirs(inNew, inCur) }, nil
}

func (m *Mailbox) syncDirs(inNew, inCur bool) error {
	if inNew {
		if err := m.dir.new.Sync(); err != nil {
			return err
		}
	}
	if inCur {
		return m.dir.cur.Sync()
	}
	return nil
}

// takeBack removes the files again that were placed.
func (in *incoming) takeBack() {
	for _, it := range in.items[:in.placed] {
		_ = in.m.dir.of(it.file.isNew).Remove(it.file.name)
	}
}

func (in *incoming) admit(ctx context.Context, sync func() error) (*draft, error) {
	m := in.m
	arrivals := make([]*arrival, len(in.items))
	var lines []byte
	for i, it := range in.items {
		arrivals[i] = it.arrival
		if len(it.overflow) > 0 {
			lines = appendOverflow(lines, it.arrival.base, it.overflow)
			m.setOverflow(it.arrival.base, it.overflow)
		}
	}
	if lines != nil {
		if _, err := appendLines(m.dir.folder, overflowFile, lines, m.user.filePerm); err != nil {
			return nil, err
		}
	}
	d := m.draft()
	if err := m.admitWith(ctx, d, arrivals, sync); err != nil {
		return nil, err
	}
	return d, nil
}

func (m *Mailbox) setOverflow(base string, keywords []string) {
	if m.overflow == nil {
		m.overflow = map[string][]string{}
	}
	m.overflow[base] = keywords
}

// numberKeywords returns the flags and the numbers of the keywords. New keywords
// are durable in the folder before any name carries their letter. The caller
// holds the lock.
func (m *Mailbox) numberKeywords(ctx context.Context, f Flags, names []string) (Flags, KeywordSet, error) {
	f, names = takeForwarded(f, names)
	t := m.State().keywords
	if len(names) == 0 {
		return f, forwardedLetter(t, f), nil
	}
	out, set, added, err := t.with(names)
	if err != nil {
		return 0, 0, err
	}
	if added {
		if out, set, err = m.addKeywords(ctx, names); err != nil {
			return 0, 0, err
		}
	}
	return f, set | forwardedLetter(out, f), nil
}

// takeForwarded turns the keyword $Forwarded into its flag.
func takeForwarded(f Flags, names []string) (Flags, []string) {
	var rest []string
	for _, n := range names {
		if equalFold(n, Forwarded) {
			f |= FlagForwarded
		} else {
			rest = append(rest, n)
		}
	}
	return f, rest
}

// forwardedLetter is the letter that another server gave $Forwarded in this
// folder: it is set together with P, so that either server sees the keyword.
func forwardedLetter(t keywordTable, f Flags) KeywordSet {
	if n := t.find(Forwarded); n >= 0 && f&FlagForwarded != 0 {
		return 1 << n
	}
	return 0
}

// addKeywords gives names numbers, under the dot lock, after a look at what
// another server did meanwhile.
func (m *Mailbox) addKeywords(ctx context.Context, names []string) (keywordTable, KeywordSet, error) {
	release, err := m.lockUIDs(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	file, st, err := readKeywords(m.dir.folder)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", keywordsFile, err)
	}
	t := mergeKeywords(m.State().keywords, file)
	out, set, added, err := t.with(names)
	if err != nil {
		return nil, 0, err
	}
	if added && string(out.format()) != string(file.format()) {
		if err := writeKeywords(m.dir.folder, out, m.user.filePerm, st, m.user.store.now()); err != nil {
			return nil, 0, fmt.Errorf("write %s: %w", keywordsFile, err)
		}
	}
	d := m.draft()
	d.setKeywords(out)
	m.publish(d)
	return out, set, nil
}
