package maildir

import (
	"math"
	"slices"
	"sync"

	"buzon/internal/durable"
)

// A Reader is a session that has a mailbox open and tells its client of expunges when it may
// (RFC 9051 7.5.1). Until every reader has told of an expunge, the message can still be read: its
// file is held open. What another program removes is gone at once.
type Reader struct {
	mailbox *Mailbox
	told    uint64 // the generation up to which the client knows of every expunge
}

// maxKept bounds the files that a mailbox holds open for its readers, so that a client that never
// asks for news cannot use up descriptors. Beyond it expunged messages cannot be read.
const maxKept = 64

// readers are guarded by mu.
type readers struct {
	mu   sync.Mutex
	all  []*Reader
	kept []keptMessage
}

// keptMessage is an expunged message that some reader's client still counts.
type keptMessage struct {
	state *State // the last that it is in
	row   int
	file  durable.File
	until uint64 // the generation that it is not in any more
}

// Reader registers a session whose client knows the newest state. The caller must Close it before
// the mailbox.
func (m *Mailbox) Reader() *Reader {
	r := &Reader{mailbox: m, told: m.State().generation}
	m.readers.mu.Lock()
	defer m.readers.mu.Unlock()
	m.readers.all = append(m.readers.all, r)
	return r
}

// Told says that the client knows of every expunge up to s.
func (r *Reader) Told(s *State) {
	rs := &r.mailbox.readers
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.told = max(r.told, s.generation)
	rs.sweep()
}

// Close ends the registration.
func (r *Reader) Close() {
	rs := &r.mailbox.readers
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = slices.DeleteFunc(rs.all, func(x *Reader) bool { return x == r })
	rs.sweep()
}

// sweep closes what every client has been told of. The caller holds mu.
func (rs *readers) sweep() {
	if len(rs.kept) == 0 {
		return
	}
	least := uint64(math.MaxUint64)
	for _, r := range rs.all {
		least = min(least, r.told)
	}
	rs.kept = slices.DeleteFunc(rs.kept, func(k keptMessage) bool {
		if k.until > least {
			return false
		}
		_ = k.file.Close()
		return true
	})
}

// keep opens a message that is about to be expunged, where more than the one who does that reads
// the mailbox. The caller holds the mailbox's lock, and calls keepUntil or dropKept next.
func (m *Mailbox) keep(s *State, row int, dir durable.Dir, name string) {
	rs := &m.readers
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.all) < 2 || len(rs.kept) >= maxKept {
		return
	}
	f, err := dir.Open(name)
	if err != nil {
		return
	}
	if in, err := f.Stat(); err == nil {
		s.blocks[s.slot(row).block()].learnFrom(s.slot(row).row(), in)
	}
	rs.kept = append(rs.kept, keptMessage{s, row, f, math.MaxUint64})
}

// keepUntil says that what was kept is not in the newest state, or, where it still is, lets it go.
func (m *Mailbox) keepUntil(newest *State) {
	rs := &m.readers
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.kept = slices.DeleteFunc(rs.kept, func(k keptMessage) bool {
		_, live := newest.Find(k.state.uids[k.row])
		if live {
			_ = k.file.Close()
		}
		return live
	})
	for i := range rs.kept {
		rs.kept[i].until = min(rs.kept[i].until, newest.generation)
	}
	rs.sweep()
}

// Kept finds an expunged message that can still be read, as a row of an older state. The caller is a
// reader that has not told of it.
func (m *Mailbox) Kept(uid UID) (s *State, row int, ok bool) {
	k := m.readers.find(uid)
	return k.state, k.row, k.file != nil
}

func (rs *readers) find(uid UID) keptMessage {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, k := range rs.kept {
		if k.state.uids[k.row] == uid {
			return k
		}
	}
	return keptMessage{}
}

// row finds a message of the newest state, or one that is kept.
func (m *Mailbox) row(uid UID) (s *State, i int, ok bool) {
	s = m.State()
	if i, ok = s.Find(uid); ok {
		return s, i, true
	}
	return m.Kept(uid)
}

// openKept reads a message that is kept; nil when it is not.
func (m *Mailbox) openKept(uid UID) (*File, error) {
	if _, live := m.State().Find(uid); live {
		return nil, nil
	}
	k := m.readers.find(uid)
	if k.file == nil {
		return nil, nil
	}
	in, err := k.file.Stat()
	if err != nil {
		return nil, err
	}
	return crlfFile(shared{k.file}, in.Size, m.user)
}

// shared is a file that others go on with.
type shared struct{ durable.File }

func (shared) Close() error { return nil }
