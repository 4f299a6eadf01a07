package maildir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"buzon/internal/durable"
)

// A snapshot is a State as a file that is mapped into memory and served from
// there:
//
//	magic, 8 bytes · length of the head, 4 · CRC of the head, 4 · head ·
//	zeros to a multiple of 8 · one record for each block · the names
//
// Blocks are laid out as the machine has them in memory. The head says what does
// not fit columns, how long the rest is, and its CRC. A snapshot of another byte
// order or version has another magic and is no snapshot.
const (
	snapshotPrefix = "snapshot."
	snapshotMagic  = 0x32_30_78_64_69_7a_75_62 // "buzidx02" as this machine stores it
	snapshotFixed  = 16
	// blockBytes is the size of a block's record: rows, length and start of its
	// names, then the columns.
	blockBytes = 16 + blockRows*(4+8+8+8+8+8+8+4+2+8+8+4)
	// maxSnapshotHead bounds the head: history, keywords and infos.
	maxSnapshotHead = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotHead is what a snapshot says beside the columns.
type snapshotHead struct {
	rows        int
	names       int    // bytes
	crc         uint32 // of the columns
	namesCRC    uint32
	validity    uint32
	next        UID
	highest     ModSeq
	unseen      int
	deleted     int
	recent      int
	bytes       int64
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
	e.uint(uint64(h.names))
	e.uint(uint64(h.crc))
	e.uint(uint64(h.namesCRC))
	e.uint(uint64(h.validity))
	e.uint(uint64(h.next))
	e.uint(uint64(h.highest))
	e.uint(uint64(h.unseen))
	e.uint(uint64(h.deleted))
	e.uint(uint64(h.recent))
	e.int(h.bytes)
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
	h := &snapshotHead{
		rows: int(d.uint()), names: int(d.uint()), crc: uint32(d.uint()), namesCRC: uint32(d.uint()), validity: uint32(d.uint()), next: UID(d.uint()),
		highest: ModSeq(d.uint()), unseen: int(d.uint()), deleted: int(d.uint()), recent: int(d.uint()), bytes: d.int(),
		firstUnseen: int32(d.int()), keywords: d.texts(), infos: d.texts(), uids: d.uidlist(), folder: d.uint(), cacheEnd: d.int(),
	}
	d.vanished(&h.vanished)
	if d.bad || len(d.data) != 0 || h.rows < 0 || h.names < 0 || len(h.keywords) > maxKeywords {
		return nil, fmt.Errorf("%w: snapshot head", errIndex)
	}
	return h, nil
}

func snapshotName(gen uint64) string { return snapshotPrefix + strconv.FormatUint(gen, 16) }

// writeSnapshot writes s as the snapshot of a generation, and syncs the file but not
// the directory. Its rows get the slots 0, 1, 2 and so on.
func writeSnapshot(dir durable.Dir, gen uint64, s *State, h *snapshotHead) error {
	body, names := s.columns()
	h.rows = s.Len()
	f, err := dir.Create(snapshotName(gen), 0o600)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{h.seal(body, names), body, names} {
		if _, err = f.Write(part); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = dir.Remove(snapshotName(gen))
	}
	return err
}

// seal completes the head for the columns and names behind it, and returns all
// that comes before them.
func (h *snapshotHead) seal(body, names []byte) []byte {
	h.names = len(names)
	h.crc, h.namesCRC = checksums(body, names)
	head := h.encode()
	out := make([]byte, snapshotFixed, snapshotFixed+len(head)+8)
	binary.NativeEndian.PutUint64(out, snapshotMagic)
	binary.NativeEndian.PutUint32(out[8:], uint32(len(head)))
	binary.NativeEndian.PutUint32(out[12:], crc32.Checksum(head, castagnoli))
	out = append(out, head...)
	return append(out, make([]byte, padding(len(out)))...)
}

// checksums reads both halves of a snapshot, at once where they are large: it is
// most of the time that the first SELECT of a large mailbox takes.
func checksums(body, names []byte) (bodyCRC, namesCRC uint32) {
	const large = 1 << 20
	if len(names) < large {
		return crc32.Checksum(body, castagnoli), crc32.Checksum(names, castagnoli)
	}
	var wg sync.WaitGroup
	wg.Go(func() { namesCRC = crc32.Checksum(names, castagnoli) })
	bodyCRC = crc32.Checksum(body, castagnoli)
	wg.Wait()
	return bodyCRC, namesCRC
}

func padding(n int) int { return (8 - n%8) % 8 }

// columns returns the state's rows as block records, and their names.
func (s *State) columns() (body, names []byte) {
	blocks := (s.Len() + blockRows - 1) / blockRows
	body = make([]byte, blocks*blockBytes)
	size := 0
	for _, b := range s.blocks {
		size += len(b.names)
	}
	names = make([]byte, 0, size)
	for n := range blocks {
		rec := body[n*blockBytes:][:blockBytes]
		b := blockAt(rec)
		rows := min(blockRows, s.Len()-n*blockRows)
		start := len(names)
		for i := range rows {
			sl := s.slot(n*blockRows + i)
			from, r := s.blocks[sl.block()], sl.row()
			b.uid[i], b.ino[i], b.size[i], b.stored[i] = from.uid[r], from.ino[r], from.loadSize(r), from.stored[r]
			b.date[i], b.saved[i], b.cached[i] = from.loadDate(r), from.loadSaved(r), from.loadCached(r)
			b.flags[i], b.keywords[i], b.modseq[i], b.where[i] = from.flags[r], from.keywords[r], from.modseq[r], from.where[r]
			names = append(names, from.fullName(r)...)
			b.nameEnd[i] = uint32(len(names) - start)
		}
		binary.NativeEndian.PutUint32(rec, uint32(rows))
		binary.NativeEndian.PutUint32(rec[4:], uint32(len(names)-start))
		binary.NativeEndian.PutUint64(rec[8:], uint64(start))
	}
	return body, names
}

// blockAt lays the columns of a block over its record.
func blockAt(rec []byte) *block {
	b := &block{rows: blockRows}
	p := rec[16:]
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
	c := unsafe.Slice((*T)(unsafe.Pointer(&(*p)[0])), blockRows)
	*p = (*p)[n:]
	return c
}

// readSnapshot maps a snapshot and returns its blocks; whatever is wrong with the
// file is errIndex.
func readSnapshot(dir durable.Dir, gen uint64) (*snapshotHead, []*block, error) {
	f, err := dir.Open(snapshotName(gen))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, unmap, err := f.Map(int(in.Size))
	if err != nil {
		return nil, nil, err
	}
	h, blocks, err := parseSnapshot(data)
	if err != nil || len(blocks) == 0 {
		unmap()
		return h, nil, err
	}
	// The memory is given back when no block needs it any more.
	mp := &mapping{}
	runtime.AddCleanup(mp, func(unmap func()) { unmap() }, unmap)
	for _, b := range blocks {
		b.mapped = mp
	}
	return h, blocks, nil
}

// parseSnapshot checks a snapshot and lays blocks over it.
func parseSnapshot(data []byte) (*snapshotHead, []*block, error) {
	if len(data) < snapshotFixed || binary.NativeEndian.Uint64(data) != snapshotMagic {
		return nil, nil, fmt.Errorf("%w: no snapshot", errIndex)
	}
	n, crc := int(binary.NativeEndian.Uint32(data[8:])), binary.NativeEndian.Uint32(data[12:])
	rest := data[snapshotFixed:]
	if n > len(rest) || n > maxSnapshotHead || crc32.Checksum(rest[:n], castagnoli) != crc {
		return nil, nil, fmt.Errorf("%w: snapshot head", errIndex)
	}
	h, err := decodeSnapshotHead(rest[:n])
	if err != nil {
		return nil, nil, err
	}
	start := snapshotFixed + n + padding(snapshotFixed+n)
	count := (h.rows + blockRows - 1) / blockRows
	if h.rows > len(data) || h.names > len(data) || start+count*blockBytes+h.names != len(data) {
		return nil, nil, fmt.Errorf("%w: snapshot size", errIndex)
	}
	body, names := data[start:start+count*blockBytes], data[start+count*blockBytes:]
	if crc, namesCRC := checksums(body, names); crc != h.crc || namesCRC != h.namesCRC {
		return nil, nil, fmt.Errorf("%w: snapshot", errIndex)
	}
	blocks := make([]*block, count)
	for i := range blocks {
		rec := body[i*blockBytes:][:blockBytes]
		rows, length := int(binary.NativeEndian.Uint32(rec)), uint64(binary.NativeEndian.Uint32(rec[4:]))
		from := binary.NativeEndian.Uint64(rec[8:])
		if rows != min(blockRows, h.rows-i*blockRows) || from > uint64(len(names)) || length > uint64(len(names))-from {
			return nil, nil, fmt.Errorf("%w: snapshot block", errIndex)
		}
		b := blockAt(rec)
		b.rows, b.names = rows, names[from:from+length]
		if !b.sound(len(h.infos)) {
			return nil, nil, fmt.Errorf("%w: snapshot rows", errIndex)
		}
		blocks[i] = b
	}
	return h, blocks, nil
}

// sound checks what a wrong value of would break us, not only mislead: a file
// whose CRC is right can still have been made by somebody else.
func (b *block) sound(infos int) bool {
	end := uint32(0)
	for i := range b.rows {
		if b.nameEnd[i] < end || b.where[i].number() >= infos || i > 0 && b.uid[i] <= b.uid[i-1] {
			return false
		}
		end = b.nameEnd[i]
	}
	return int(end) == len(b.names)
}

// state makes the state that a snapshot holds.
func (h *snapshotHead) state(m *Mailbox, blocks []*block) (*State, error) {
	s := &State{
		mailbox: m, blocks: blocks, validity: h.validity, next: h.next, highest: h.highest,
		unseen: h.unseen, deleted: h.deleted, recent: h.recent, bytes: h.bytes,
		uids: make([]UID, 0, h.rows+64),
	}
	for _, b := range blocks {
		if n := len(s.uids); n > 0 && s.uids[n-1] >= b.uid[0] {
			return nil, fmt.Errorf("%w: UIDs do not ascend", errIndex)
		}
		s.uids = append(s.uids, b.uid[:b.rows]...)
	}
	if n := len(s.uids); n > 0 && s.uids[n-1] >= s.next {
		return nil, fmt.Errorf("%w: UID above UIDNEXT", errIndex)
	}
	s.firstUnseen.Store(h.firstUnseen)
	return s, nil
}
