package maildir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

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

// newList decides on the header of a folder's first uidlist, and on its first lines:
// those of Courier's where there is one. A list that cannot be used is put aside.
func (m *Mailbox) newList(cause error) (uidHeader, []uidRecord, error) {
	if errors.Is(cause, errUIDList) {
		m.log("uidlist cannot be used: the mailbox gets a new UIDVALIDITY", "err", cause)
		aside := fmt.Sprintf("%s.broken.%d", uidlistFile, m.user.store.now().Unix())
		if err := m.dir.folder.Rename(uidlistFile, m.dir.folder, aside); err != nil {
			return uidHeader{}, nil, fmt.Errorf("put broken uidlist aside: %w", err)
		}
	}
	h, records := readCourierUIDs(m.dir.folder)
	if h.validity == 0 {
		v, err := nextUIDValidity(m.user.root, m.user.store.now(), m.user.filePerm)
		if err != nil {
			return uidHeader{}, nil, err
		}
		h = uidHeader{validity: v, next: 1}
	}
	h.guid = newGUID()
	return h, records, nil
}

// createUIDs makes the first uidlist of a folder.
func (m *Mailbox) createUIDs(arrivals []*arrival, cause error) error {
	h, records, err := m.newList(cause)
	if err != nil {
		return err
	}
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
	for _, r := range m.lines.files {
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
		m.note(m.State(), r)
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
