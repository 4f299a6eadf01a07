package maildir

import (
	"slices"
	"sync/atomic"
	"time"
)

// State is a picture of a mailbox: what was true at one moment, and stays as it
// is. Rows are in UID order; an index counts them from 0, so that the sequence
// number of row i is i+1 for whoever knows just this state. Taking a state is
// one pointer; reading a row allocates nothing.
type State struct {
	mailbox    *Mailbox
	generation uint64 // counts the states of the mailbox while it is open

	uids   []UID
	slots  []slot // slot of each row; nil: row i is in slot i
	blocks []*block
	infos  []info // numbered by fileInfo

	validity      uint32
	next          UID
	highest       ModSeq
	keywords      keywordTable
	visible       []string // keywords without $Forwarded
	forwardedMask KeywordSet

	unseen, deleted, recent int
	bytes                   int64 // on disk
	unsized                 bool  // bytes must be added up: the sizes of some files were not known
	firstUnseen             atomic.Int32
}

// firstUnseen holds the row + 2; 0 is not yet looked for, 1 is none.
const firstUnseenNone = 1

// Message is what a row tells without touching the file.
type Message struct {
	UID      UID
	ModSeq   ModSeq
	Flags    Flags
	Keywords KeywordSet // bit i: State.Keywords()[i]
}

// Len is the number of messages.
func (s *State) Len() int { return len(s.uids) }

// UIDs are those of all rows, ascending. The slice is shared: it must not be
// written to, nor appended to.
func (s *State) UIDs() []UID { return s.uids[:len(s.uids):len(s.uids)] }

// Message returns row i.
func (s *State) Message(i int) Message {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	m := Message{UID: s.uids[i], ModSeq: b.modseq[r], Flags: b.flags[r], Keywords: b.keywords[r]}
	if m.Keywords&s.forwardedMask != 0 {
		m.Flags |= FlagForwarded
		m.Keywords &^= s.forwardedMask
	}
	return m
}

// Size returns RFC822.SIZE of row i, line ends counted as CRLF. It is in the
// file's name unless another program wrote it; then the file is read, once.
// ErrExpunged: it could not be, as the file is gone.
func (s *State) Size(i int) (int64, error) {
	sl := s.slot(i)
	if n := s.blocks[sl.block()].loadSize(sl.row()); n >= 0 {
		return n, nil
	}
	return s.mailbox.measure(s, i)
}

// InternalDate returns INTERNALDATE of row i (RFC 9051 2.3.3): the file's time
// of modification, in the zone that APPEND gave, or in UTC; read at most once.
func (s *State) InternalDate(i int) (time.Time, error) {
	t, err := s.date(i, (*block).loadDate)
	return timeOfZoned(t), err
}

// SaveDate returns when the message came into this mailbox (RFC 8514), in UTC.
func (s *State) SaveDate(i int) (time.Time, error) {
	t, err := s.date(i, (*block).loadSaved)
	return time.Unix(t, 0).UTC(), err
}

// date loads a date of row i, which may have to be read from the file.
func (s *State) date(i int, load func(*block, int) int64) (int64, error) {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	if load(b, r) == unknownDate {
		in, err := s.mailbox.statRow(s, i)
		if err != nil {
			return 0, err
		}
		b.learnFrom(r, in)
	}
	return load(b, r), nil
}

// GUID returns what identifies the message in every mailbox that it is copied
// or moved to.
func (s *State) GUID(i int) string {
	sl := s.slot(i)
	_, guid := s.blocks[sl.block()].name(sl.row())
	return string(guid)
}

// Find returns the row of a UID.
func (s *State) Find(uid UID) (int, bool) {
	// Without holes, or nearly, the UID says where it is.
	if n := len(s.uids); n > 0 && uid >= s.uids[0] {
		if i := int(uid - s.uids[0]); i < n && s.uids[i] == uid {
			return i, true
		}
	}
	return slices.BinarySearch(s.uids, uid)
}

// Lower returns the first row whose UID is at least uid; Len() when there is none.
func (s *State) Lower(uid UID) int {
	i, _ := slices.BinarySearch(s.uids, uid)
	return i
}

// UIDValidity is the mailbox's UIDVALIDITY.
func (s *State) UIDValidity() uint32 { return s.validity }

// UIDNext is the least UID that the next message can get.
func (s *State) UIDNext() UID { return s.next }

// HighestModSeq is HIGHESTMODSEQ. See Mailbox.Commit before it is told a client.
func (s *State) HighestModSeq() ModSeq { return s.highest }

// Keywords returns the mailbox's keywords by number; "" is a number without a
// name. The slice is shared.
func (s *State) Keywords() []string { return s.visible }

// Unseen counts the messages without \Seen.
func (s *State) Unseen() int { return s.unseen }

// Deleted counts the messages with \Deleted.
func (s *State) Deleted() int { return s.deleted }

// Recent counts the messages that no session has claimed yet.
func (s *State) Recent() int { return s.recent }

// Bytes is the size of all files. Those whose names do not tell it are looked at,
// once.
func (s *State) Bytes() int64 {
	if !s.unsized {
		return s.bytes
	}
	total := int64(0)
	for i := range s.uids {
		sl := s.slot(i)
		b, r := s.blocks[sl.block()], sl.row()
		n := b.loadStored(r)
		if n < 0 {
			_, _ = s.date(i, (*block).loadDate)
			n = b.loadStored(r)
		}
		total += max(n, 0) // one that is gone is about to leave
	}
	return total
}

// FirstUnseen returns the first row without \Seen, or -1.
func (s *State) FirstUnseen() int {
	if v := s.firstUnseen.Load(); v != 0 {
		return int(v) - 2
	}
	v := int32(firstUnseenNone)
	if s.unseen > 0 {
		for i := range s.uids {
			sl := s.slot(i)
			if s.blocks[sl.block()].flags[sl.row()]&FlagSeen == 0 {
				v = int32(i) + 2
				break
			}
		}
	}
	s.firstUnseen.Store(v)
	return int(v) - 2
}

// slot returns where row i is.
func (s *State) slot(i int) slot {
	if s.slots == nil {
		return slot(i)
	}
	return s.slots[i]
}

// rowOf returns the row that a slot has in s; live is false when it has none.
func (s *State) rowOf(sl slot) (i int, live bool) {
	if sl.block() >= len(s.blocks) || sl.row() >= s.blocks[sl.block()].rows {
		return 0, false
	}
	// Few rows are far from their slot.
	if int(sl) < len(s.uids) && s.slot(int(sl)) == sl {
		return int(sl), true
	}
	i, ok := s.Find(s.blocks[sl.block()].uid[sl.row()])
	return i, ok && s.slot(i) == sl
}

// file returns the base, the info and the directory of row i.
func (s *State) file(i int) (base string, in info, isNew bool) {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	raw, _ := b.name(r)
	return string(raw), s.infos[b.where[r].number()], b.where[r].isNew()
}

// fileName returns the name of row i's file and its directory.
func (s *State) fileName(i int) (name string, isNew bool) {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	base, _ := b.name(r)
	raw := s.infos[b.where[r].number()].raw
	buf := make([]byte, 0, maxFileName)
	return string(append(append(buf, base...), raw...)), b.where[r].isNew()
}

// maxFileName is the longest name in bytes on every file system.
const maxFileName = 255

// modseqAt is Message(i).ModSeq alone.
func (s *State) modseqAt(i int) ModSeq {
	sl := s.slot(i)
	return s.blocks[sl.block()].modseq[sl.row()]
}
