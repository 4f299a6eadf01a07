package maildir

import (
	"bytes"
	"slices"
	"sync/atomic"

	"buzon/internal/durable"
)

// Messages are kept in columns, cut into blocks of blockRows. A place in them is
// a slot. What changes with the flags is copied with its block when it changes;
// what a message keeps for life is written once and shared by every copy. In a
// large mailbox all columns lie in the mapped snapshot: a million messages cost
// the heap nothing but their UIDs.
const blockRows = 256

// block is up to blockRows messages. It is never changed once a State shows it,
// but for facts that were not known (-1, 0), which are filled in atomically, and
// for rows that no State shows yet.
type block struct {
	rows int

	// facts, one array for the block's life
	uid     []UID
	ino     []uint64
	size    []int64     // RFC822.SIZE; -1 not known
	stored  []int64     // bytes on disk; -1 not known
	date    []zonedTime // INTERNALDATE; unknownDate
	saved   []int64     // SAVEDATE, Unix seconds; unknownDate
	cached  []int64     // where the parse cache has the message, + 1; 0: it has not
	nameEnd []uint32
	names   []byte // base, or base NUL GUID, of each row

	// copied on a change
	flags    []Flags
	keywords []KeywordSet
	modseq   []ModSeq
	where    []fileInfo

	mapped *mapping // what the arrays above are part of, or nil
}

// unknownDate marks a date that was not read from the file yet.
const unknownDate = int64(-1) << 63

// fileInfo is where a message's file is: its info, as a number in the mailbox's
// table of infos, and whether it is in new/. A message that was appended or copied
// with flags goes to cur/ at once; it is unclaimed until a session takes it as
// \Recent (RFC 3501 6.4.7).
type fileInfo uint32

const (
	inNew     fileInfo = 1 << 31
	unclaimed fileInfo = 1 << 30
)

func (f fileInfo) number() int    { return int(f &^ (inNew | unclaimed)) }
func (f fileInfo) isNew() bool    { return f&inNew != 0 }
func (f fileInfo) isRecent() bool { return f&(inNew|unclaimed) != 0 }

// row is one message as it is added.
type row struct {
	uid      UID
	ino      uint64
	size     int64
	stored   int64
	date     int64
	saved    int64
	cached   int64
	base     string
	guid     string // "" when it is the base
	flags    Flags
	keywords KeywordSet
	modseq   ModSeq
	where    fileInfo
}

func newBlock() *block {
	return &block{
		uid:    make([]UID, blockRows),
		ino:    make([]uint64, blockRows),
		size:   make([]int64, blockRows),
		stored: make([]int64, blockRows),
		date:   make([]int64, blockRows),
		saved:  make([]int64, blockRows),
		cached: make([]int64, blockRows),
	}
}

// forAdd returns a copy to add rows to. The facts go into arrays that older copies
// share: they do not look beyond their own rows.
func (b *block) forAdd() *block {
	n := *b
	return &n
}

// add adds a row to a block that nobody else sees.
func (n *block) add(r row) {
	i := n.rows
	n.rows++
	n.uid[i], n.ino[i], n.size[i], n.stored[i], n.date[i], n.saved[i] = r.uid, r.ino, r.size, r.stored, r.date, r.saved
	atomic.StoreInt64(&n.cached[i], r.cached)
	n.names = append(n.names, r.base...)
	if r.guid != "" && r.guid != r.base {
		n.names = append(append(n.names, 0), r.guid...)
	}
	n.nameEnd = append(n.nameEnd, uint32(len(n.names)))
	n.flags = append(n.flags, r.flags)
	n.keywords = append(n.keywords, r.keywords)
	n.modseq = append(n.modseq, r.modseq)
	n.where = append(n.where, r.where)
}

// forChange returns a copy whose changing columns are its own.
func (b *block) forChange() *block {
	n := *b
	n.flags = slices.Clone(b.flags)
	n.keywords = slices.Clone(b.keywords)
	n.modseq = slices.Clone(b.modseq)
	n.where = slices.Clone(b.where)
	return &n
}

// fullName returns the base, or base NUL GUID, of a row. It points into the block,
// which must be kept alive while it is used.
func (b *block) fullName(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = b.nameEnd[i-1]
	}
	return b.names[start:b.nameEnd[i]]
}

// name cuts fullName in two; without a GUID of its own it is the base twice.
func (b *block) name(i int) (base, guid []byte) {
	full := b.fullName(i)
	if cut := bytes.IndexByte(full, 0); cut >= 0 {
		return full[:cut], full[cut+1:]
	}
	return full, full
}

func (b *block) loadSize(i int) int64  { return atomic.LoadInt64(&b.size[i]) }
func (b *block) loadDate(i int) int64  { return atomic.LoadInt64(&b.date[i]) }
func (b *block) loadSaved(i int) int64 { return atomic.LoadInt64(&b.saved[i]) }

func (b *block) loadStored(i int) int64 { return atomic.LoadInt64(&b.stored[i]) }

func (b *block) loadCached(i int) int64 { return atomic.LoadInt64(&b.cached[i]) }

// slot is a place in a mailbox's blocks.
type slot uint32

func (s slot) block() int { return int(s / blockRows) }
func (s slot) row() int   { return int(s % blockRows) }

// mapping stands for memory that blocks lie in. It is unmapped when the last of
// them is garbage.
type mapping struct{ _ byte }

// learn fills in a fact that was not known; a value that somebody else found
// first stays.
func (b *block) learn(p *int64, unknown, value int64) {
	atomic.CompareAndSwapInt64(p, unknown, value)
}

// learnFrom fills in what a look at the file tells.
func (b *block) learnFrom(i int, in durable.Info) {
	b.learn(&b.stored[i], -1, in.Size)
	b.learn(&b.date[i], unknownDate, zonedTimeOf(in.Mtime))
	b.learn(&b.saved[i], unknownDate, in.Ctime/1e9)
}

// correctSize sets RFC822.SIZE as it was found to be.
func (b *block) correctSize(i int, size int64) {
	if b.loadSize(i) != size {
		atomic.StoreInt64(&b.size[i], size)
	}
}
