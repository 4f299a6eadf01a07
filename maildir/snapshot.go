package maildir

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"buzon/internal/durable"
)

// A snapshot is a State as a file that is mapped into memory and served from
// there:
//
//	for each block its columns and its names, zeros to a multiple of 8 ·
//	the UIDs · head · length of the head, 4 bytes · its CRC, 4 · magic, 8
//
// Blocks are laid out as the machine has them in memory. The head says what does
// not fit columns, and length and CRC of each block. It comes last so that a
// snapshot can be written as it is made, a block at a time: a million messages
// are not held in memory twice. A snapshot of another byte order or version has
// another magic and is no snapshot.
const (
	snapshotPrefix = "snapshot."
	snapshotMagic  = 0x33_30_78_64_69_7a_75_62 // "buzidx03" as this machine stores it
	snapshotFixed  = 16
	// blockBytes is the size of a block's columns.
	blockBytes = blockRows * (4 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 2 + 8 + 8 + 4)
	// maxSnapshotHead bounds the head: blocks, history, keywords and infos.
	maxSnapshotHead = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSum is what the head says of a block: the length of its names, and the CRC
// of all its bytes.
type blockSum struct{ names, crc uint32 }

func (b blockSum) bytes() int { return blockBytes + int(b.names) + padding(int(b.names)) }

// snapshotHead is what a snapshot says beside the columns.
type snapshotHead struct {
	rows        int
	blocks      []blockSum
	uidsCRC     uint32
	validity    uint32
	next        UID
	highest     ModSeq
	unseen      int
	deleted     int
	recent      int
	bytes       int64
	unsized     bool
	firstUnseen int32
	keywords    keywordTable
	infos       []string
	uids        uidlist
	folder      uint64 // inode
	cacheEnd    int64  // the parse cache is known up to here
	vanished    vanished
}

func (h *snapshotHead) encode() []byte {
	var e encoder
	e.uint(uint64(h.rows))
	e.uint(uint64(len(h.blocks)))
	for _, b := range h.blocks {
		e.uint(uint64(b.names))
		e.uint(uint64(b.crc))
	}
	e.uint(uint64(h.uidsCRC))
	e.uint(uint64(h.validity))
	e.uint(uint64(h.next))
	e.uint(uint64(h.highest))
	e.uint(uint64(h.unseen))
	e.uint(uint64(h.deleted))
	e.uint(uint64(h.recent))
	e.int(h.bytes)
	e.bool(h.unsized)
	e.int(int64(h.firstUnseen))
	e.texts(h.keywords)
	e.texts(h.infos)
	e.uidlist(&h.uids)
	e.uint(h.folder)
	e.int(h.cacheEnd)
	e.vanished(&h.vanished)
	return e
}

func decodeSnapshotHead(data []byte) (*snapshotHead, error) {
	d := decoder{data: data}
	h := &snapshotHead{rows: int(d.uint())}
	h.blocks = make([]blockSum, d.count())
	for i := range h.blocks {
		h.blocks[i] = blockSum{uint32(d.uint()), uint32(d.uint())}
	}
	h.uidsCRC, h.validity, h.next, h.highest = uint32(d.uint()), uint32(d.uint()), UID(d.uint()), ModSeq(d.uint())
	h.unseen, h.deleted, h.recent = int(d.uint()), int(d.uint()), int(d.uint())
	h.bytes, h.unsized, h.firstUnseen = d.int(), d.bool(), int32(d.int())
	h.keywords, h.infos, h.uids, h.folder, h.cacheEnd = d.texts(), d.texts(), d.uidlist(), d.uint(), d.int()
	d.vanished(&h.vanished)
	if d.bad || len(d.data) != 0 || h.rows < 0 || (h.rows+blockRows-1)/blockRows != len(h.blocks) || len(h.keywords) > maxKeywords {
		return nil, fmt.Errorf("%w: snapshot head", errIndex)
	}
	return h, nil
}

// size is what blocks and UIDs take in the file.
func (h *snapshotHead) size() int64 {
	size := 4 * int64(h.rows)
	for _, b := range h.blocks {
		size += int64(b.bytes())
	}
	return size
}

func snapshotName(gen uint64) string { return snapshotPrefix + strconv.FormatUint(gen, 16) }

// A snapshotWriter writes a snapshot, row by row in ascending UIDs.
type snapshotWriter struct {
	file    durable.File
	out     *bufio.Writer
	head    *snapshotHead
	rec     []byte // the columns of the block that is being filled
	block   *block // laid over rec
	uids    []UID
	written int64
	err     error
}

// snapshotBuffer is how much is written at once, at most: a row takes some 80 bytes
// and its name.
const (
	snapshotBuffer = 256 << 10
	snapshotRow    = 200
)

// createSnapshot begins the snapshot of a generation of about rows messages.
func createSnapshot(dir durable.Dir, gen uint64, h *snapshotHead, rows int) (*snapshotWriter, error) {
	f, err := dir.Create(snapshotName(gen), 0o600)
	if err != nil {
		return nil, err
	}
	w := newSnapshotWriter(f, h, rows)
	w.file = f
	return w, nil
}

func newSnapshotWriter(out io.Writer, h *snapshotHead, rows int) *snapshotWriter {
	h.rows, h.bytes, h.unsized, h.blocks = 0, 0, false, make([]blockSum, 0, rows/blockRows+1)
	w := &snapshotWriter{out: bufio.NewWriterSize(out, min(snapshotBuffer, 4096+rows*snapshotRow)), head: h, uids: make([]UID, 0, rows)}
	w.rec = make([]byte, blockBytes)
	w.block = blockAt(w.rec)
	w.block.rows = 0
	return w
}

// add writes one row. Its name is given apart: base, or base NUL GUID.
func (w *snapshotWriter) add(r *row, name []byte) {
	b := w.block
	if b.rows == blockRows {
		w.endBlock()
		b = w.block
	}
	i := b.rows
	b.rows++
	b.uid[i], b.ino[i], b.size[i], b.stored[i], b.date[i], b.saved[i], b.cached[i] = r.uid, r.ino, r.size, r.stored, r.date, r.saved, r.cached
	b.flags[i], b.keywords[i], b.modseq[i], b.where[i] = r.flags, r.keywords, r.modseq, r.where
	b.names = append(b.names, name...)
	b.nameEnd[i] = uint32(len(b.names))
	w.uids = append(w.uids, r.uid)
	w.head.bytes += max(0, r.stored)
	w.head.unsized = w.head.unsized || r.stored < 0
}

// endBlock writes the block out and begins the next.
func (w *snapshotWriter) endBlock() {
	b := w.block
	sum := blockSum{names: uint32(len(b.names))}
	b.names = append(b.names, make([]byte, padding(len(b.names)))...)
	sum.crc = crc32.Update(crc32.Checksum(w.rec, castagnoli), castagnoli, b.names)
	w.head.blocks = append(w.head.blocks, sum)
	w.head.rows += b.rows
	w.write(w.rec)
	w.write(b.names)
	clear(w.rec)
	b.rows, b.names = 0, b.names[:0]
}

func (w *snapshotWriter) write(b []byte) {
	n, err := w.out.Write(b)
	w.written += int64(n)
	w.err = cmp.Or(w.err, err)
}

// finish writes what comes after the blocks.
func (w *snapshotWriter) finish() error {
	if w.block.rows > 0 {
		w.endBlock()
	}
	uids := uidBytes(w.uids)
	w.head.uidsCRC = crc32.Checksum(uids, castagnoli)
	w.write(uids)
	head := w.head.encode()
	w.write(head)
	var end [snapshotFixed]byte
	binary.NativeEndian.PutUint32(end[:], uint32(len(head)))
	binary.NativeEndian.PutUint32(end[4:], crc32.Checksum(head, castagnoli))
	binary.NativeEndian.PutUint64(end[8:], snapshotMagic)
	w.write(end[:])
	return cmp.Or(w.err, w.out.Flush())
}

// close finishes the file, and syncs it if it shall, but not the directory.
func (w *snapshotWriter) close(sync bool) error {
	err := w.finish()
	if err == nil && sync {
		err = w.file.Sync()
	}
	return cmp.Or(err, w.file.Close())
}

func uidBytes(uids []UID) []byte {
	if len(uids) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&uids[0])), len(uids)*int(unsafe.Sizeof(uids[0])))
}

// writeSnapshot writes s as the snapshot of a generation, and syncs the file but not
// the directory. Its rows get the slots 0, 1, 2 and so on.
func writeSnapshot(dir durable.Dir, gen uint64, s *State, h *snapshotHead) error {
	w, err := createSnapshot(dir, gen, h, s.Len())
	if err != nil {
		return err
	}
	w.addAll(s)
	if err := w.close(true); err != nil {
		_ = dir.Remove(snapshotName(gen))
		return err
	}
	return nil
}

func (w *snapshotWriter) addAll(s *State) {
	for i := range s.uids {
		sl := s.slot(i)
		b, r := s.blocks[sl.block()], sl.row()
		w.add(&row{
			uid: s.uids[i], ino: b.ino[r], size: b.loadSize(r), stored: b.loadStored(r), date: b.loadDate(r), saved: b.loadSaved(r),
			cached: b.loadCached(r), flags: b.flags[r], keywords: b.keywords[r], modseq: b.modseq[r], where: b.where[r],
		}, b.fullName(r))
	}
}

func padding(n int) int { return (8 - n%8) % 8 }

// blockAt lays the columns of a block over its record.
func blockAt(rec []byte) *block {
	b := &block{rows: blockRows}
	p := rec
	b.ino = column[uint64](&p)
	b.size = column[int64](&p)
	b.stored = column[int64](&p)
	b.date = column[int64](&p)
	b.saved = column[int64](&p)
	b.cached = column[int64](&p)
	b.keywords = column[KeywordSet](&p)
	b.modseq = column[ModSeq](&p)
	b.uid = column[UID](&p)
	b.nameEnd = column[uint32](&p)
	b.where = column[fileInfo](&p)
	b.flags = column[Flags](&p)
	return b
}

func column[T any](p *[]byte) []T {
	var zero T
	n := blockRows * int(unsafe.Sizeof(zero))
	c := unsafe.Slice((*T)(unsafe.Pointer(&(*p)[0])), blockRows)[:blockRows:blockRows]
	*p = (*p)[n:]
	return c
}

// mapFunc is how a file is mapped, as durable.Mapper.Map does.
type mapFunc func(f durable.File, size int) (data []byte, release func(), err error)

// readSnapshot maps a snapshot and returns its head, blocks and UIDs; whatever is
// wrong with the file is errIndex. A file that is trusted is not read for it.
func readSnapshot(dir durable.Dir, gen uint64, mapFile mapFunc, trusted func(fileStamp) bool) (*snapshotHead, []*block, []UID, error) {
	f, err := dir.Open(snapshotName(gen))
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	data, unmap, err := mapFile(f, int(in.Size))
	if err != nil {
		return nil, nil, nil, err
	}
	if in, err = f.Stat(); err != nil { // now that nobody can change it
		unmap()
		return nil, nil, nil, err
	}
	h, blocks, uids, err := parseSnapshot(data, trusted(stampOf(in)))
	if err != nil || len(blocks) == 0 {
		unmap()
		return h, nil, nil, err
	}
	// The memory is given back when no block needs it any more.
	mp := &mapping{}
	runtime.AddCleanup(mp, func(unmap func()) { unmap() }, unmap)
	for _, b := range blocks {
		b.mapped = mp
	}
	return h, blocks, uids, nil
}

// parseSnapshot checks a snapshot and lays blocks over it. Head and UIDs are
// checked always, blocks unless they are trusted.
func parseSnapshot(data []byte, trusted bool) (*snapshotHead, []*block, []UID, error) {
	end := len(data) - snapshotFixed
	if end < 0 {
		return nil, nil, nil, fmt.Errorf("%w: no snapshot", errIndex)
	}
	n, err := snapshotHeadSize(data[end:], int64(end))
	if err != nil {
		return nil, nil, nil, err
	}
	h, err := soundSnapshotHead(data[end-n:end], data[end:])
	if err != nil {
		return nil, nil, nil, err
	}
	if h.size() != int64(end-n) {
		return nil, nil, nil, fmt.Errorf("%w: snapshot size", errIndex)
	}
	uids := make([]UID, h.rows, h.rows+h.rows/64+64)
	copy(uidBytes(uids), data[end-n-4*h.rows:])
	if crc32.Checksum(uidBytes(uids), castagnoli) != h.uidsCRC {
		return nil, nil, nil, fmt.Errorf("%w: snapshot", errIndex)
	}
	blocks := make([]*block, len(h.blocks))
	from := 0
	for i, sum := range h.blocks {
		rec := data[from : from+sum.bytes()]
		from += len(rec)
		blocks[i] = blockAt(rec)
		blocks[i].rows = min(blockRows, h.rows-i*blockRows)
		blocks[i].names = rec[blockBytes : blockBytes+int(sum.names)]
	}
	if !trusted && !h.verify(data, blocks, uids) {
		return nil, nil, nil, fmt.Errorf("%w: snapshot block", errIndex)
	}
	return h, blocks, uids, nil
}

// snapshotHeadSize returns the length of the head that stands before fixed, the last
// bytes of a snapshot; at most end.
func snapshotHeadSize(fixed []byte, end int64) (int, error) {
	if binary.NativeEndian.Uint64(fixed[8:]) != snapshotMagic {
		return 0, fmt.Errorf("%w: no snapshot", errIndex)
	}
	n := binary.NativeEndian.Uint32(fixed)
	if int64(n) > end || n > maxSnapshotHead {
		return 0, fmt.Errorf("%w: snapshot head", errIndex)
	}
	return int(n), nil
}

func soundSnapshotHead(head, fixed []byte) (*snapshotHead, error) {
	if crc32.Checksum(head, castagnoli) != binary.NativeEndian.Uint32(fixed[4:]) {
		return nil, fmt.Errorf("%w: snapshot head", errIndex)
	}
	return decodeSnapshotHead(head)
}

// verifiers is how many goroutines read a large snapshot: it is all of the time
// that the first SELECT takes.
const verifiers = 4

// verify reads every block.
func (h *snapshotHead) verify(data []byte, blocks []*block, uids []UID) bool {
	var bad atomic.Bool
	var wg sync.WaitGroup
	share := max(64, (len(blocks)+verifiers-1)/verifiers)
	start := 0
	for first := 0; first < len(blocks); first += share {
		last := min(first+share, len(blocks))
		from := start
		for _, sum := range h.blocks[first:last] {
			start += sum.bytes()
		}
		wg.Go(func() {
			for i := first; i < last && !bad.Load(); i++ {
				size := h.blocks[i].bytes()
				if crc32.Checksum(data[from:from+size], castagnoli) != h.blocks[i].crc || !blocks[i].sound(uids[i*blockRows:], len(h.infos)) {
					bad.Store(true)
				}
				from += size
			}
		})
	}
	wg.Wait()
	return !bad.Load()
}

// sound checks what a wrong value of would break us, not only mislead: a file
// whose CRC is right can still have been made by somebody else.
func (b *block) sound(uids []UID, infos int) bool {
	end := uint32(0)
	for i := range b.rows {
		if b.nameEnd[i] < end || b.where[i].number() >= infos || b.uid[i] != uids[i] {
			return false
		}
		end = b.nameEnd[i]
	}
	return int(end) == len(b.names)
}

// state makes the state that a snapshot holds.
func (h *snapshotHead) state(m *Mailbox, blocks []*block, uids []UID) (*State, error) {
	s := &State{
		mailbox: m, blocks: blocks, uids: uids, validity: h.validity, next: h.next, highest: h.highest,
		unseen: h.unseen, deleted: h.deleted, recent: h.recent, bytes: h.bytes, unsized: h.unsized,
	}
	last := UID(0)
	for _, uid := range uids {
		if uid <= last {
			return nil, fmt.Errorf("%w: UIDs do not ascend", errIndex)
		}
		last = uid
	}
	if last >= s.next {
		return nil, fmt.Errorf("%w: UID above UIDNEXT", errIndex)
	}
	s.firstUnseen.Store(h.firstUnseen)
	return s, nil
}
