package maildir

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"

	"buzon/internal/durable"
)

// parseFile is the cache of what parsing yielded, in the index's directory:
// records in the log's frame, each with the message's UIDVALIDITY and UID, and what
// Parsed has. It is only appended to, and never synced. A row's column "cached" says
// where its newest record is; a record that does not belong to the row, or is
// damaged, is a miss.
type parseFile struct {
	mu   sync.Mutex
	file durable.File // nil: closed, or not to be had
	size atomic.Int64

	mapped atomic.Pointer[[]byte]
	unmap  []func() // of every mapping: readers may hold parts of an old one
}

const (
	parseFileName = "parsed3"
	// maxParseRecord bounds a record: a message of 10 000 parts.
	maxParseRecord = 16 << 20
	// mapAhead is how much more than the file is mapped.
	mapAhead = 1 << 20
	// maxParseFile is where the cache is begun anew.
	maxParseFile = 2 << 30
)

// oldParseFiles are what it was called with other records in it.
var oldParseFiles = [...]string{"parsed", "parsed2"}

// openParseFile opens the cache and finds the records that were appended after
// known, where a snapshot knew it.
func openParseFile(dir durable.Dir, s *State, known int64) *parseFile {
	p := &parseFile{}
	for _, name := range oldParseFiles {
		_ = dir.Remove(name)
	}
	f, err := dir.Append(parseFileName, 0o600)
	if err != nil {
		return p
	}
	in, err := f.Stat()
	if err != nil || in.Size > maxParseFile {
		_ = f.Truncate(0)
		in.Size = 0
	}
	p.file = f
	end := min(known, in.Size)
	if in.Size > end && in.Size-end <= maxLogFile {
		tail := make([]byte, in.Size-end)
		n, _ := io.ReadFull(io.NewSectionReader(f, end, in.Size-end), tail)
		at := end
		end += int64(eachRecord(tail[:n], func(payload []byte) error {
			d := decoder{data: payload[1:]}
			validity, uid := uint32(d.uint()), UID(d.uint())
			if i, ok := s.Find(uid); ok && validity == s.validity {
				s.setCached(i, at)
			}
			at += logFixed + int64(len(payload))
			return nil
		}))
	}
	if end < in.Size && f.Truncate(end) != nil {
		f.Close()
		p.file = nil
	}
	p.size.Store(end)
	return p
}

func (s *State) setCached(i int, at int64) {
	sl := s.slot(i)
	atomic.StoreInt64(&s.blocks[sl.block()].cached[sl.row()], at+1)
}

func (p *parseFile) end() int64 { return p.size.Load() }

func (p *parseFile) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}

// unmapAll gives the memory back. Nobody reads it any more.
func (p *parseFile) unmapAll() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mapped.Store(nil)
	for _, unmap := range p.unmap {
		unmap()
	}
	p.unmap = nil
}

// get returns what is known of row i, in the buffer; nil when nothing is.
func (p *parseFile) get(s *State, i int, buffer *ParsedBuffer) (out *Parsed) {
	if p == nil {
		return nil
	}
	if !durable.Faultless(func() { out = p.find(s, i, buffer) }) {
		p.giveUp()
		return nil
	}
	return out
}

// giveUp is what becomes of a file that somebody cut short: the messages are parsed
// again, and kept from the next open on.
func (p *parseFile) giveUp() {
	p.size.Store(0)
	p.close()
}

// find is get where the whole of the file is still there. What it returns is a copy:
// it may be read at any time.
func (p *parseFile) find(s *State, i int, buffer *ParsedBuffer) *Parsed {
	sl := s.slot(i)
	at := s.blocks[sl.block()].loadCached(sl.row()) - 1
	if at < 0 {
		return nil
	}
	data := p.window(at)
	end := min(int64(len(data)), p.size.Load()) // behind it there is no file
	if end < at+logFixed {
		return nil
	}
	rec := data[at:end]
	length := binary.LittleEndian.Uint32(rec)
	if length > maxParseRecord || int(length) > len(rec)-logFixed {
		return nil
	}
	payload := rec[logFixed : logFixed+int(length)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(rec[4:]) {
		return nil
	}
	buffer.record = append(buffer.record[:0], payload...)
	if !buffer.parsed.decode(buffer.record, s.validity, s.uids[i]) {
		return nil
	}
	return &buffer.parsed
}

// missing returns those of the rows that less is known of than the goal. It does not check
// the records.
func (p *parseFile) missing(s *State, rows []int, g parseGoal) (missing []int) {
	whole := durable.Faultless(func() {
		for _, i := range rows {
			if !p.knows(s, i, g) {
				missing = append(missing, i)
			}
		}
	})
	if !whole {
		p.giveUp()
		return rows
	}
	return missing
}

// knows looks at the first byte of a row's record.
func (p *parseFile) knows(s *State, i int, g parseGoal) bool {
	sl := s.slot(i)
	at := s.blocks[sl.block()].loadCached(sl.row()) - 1
	if at < 0 {
		return false
	}
	data := p.window(at)
	if min(int64(len(data)), p.size.Load()) <= at+logFixed {
		return false
	}
	first := data[at+logFixed]
	return Depth(first&^hasKeys) >= g.depth && (!g.keys || first&hasKeys != 0)
}

// hasKeys is the bit beside a record's Depth that says that it has keys.
const hasKeys = 0x40

// appendRecord appends the record of a message.
func (p *Parsed) appendRecord(to []byte, validity uint32, uid UID) []byte {
	start := len(to)
	e := encoder(append(to, make([]byte, logFixed)...))
	first := byte(p.Depth)
	if len(p.keys) > 0 {
		first |= hasKeys
	}
	e = append(e, first)
	e.uint(uint64(validity))
	e.uint(uint64(uid))
	e.bytes(p.Envelope)
	e.bytes(p.Header)
	e.bool(p.HeaderCut)
	e.bytes(p.keys)
	e.bytes(p.BodyStructure)
	e.bytes(p.Body)
	e.bytes(p.Preview)
	sealRecord(e[start:])
	return e
}

// decode reads a record's payload, and points into it; false: it is damaged, or
// another message's.
func (p *Parsed) decode(payload []byte, validity uint32, uid UID) bool {
	d := decoder{data: payload}
	first := d.uint()
	depth := first &^ hasKeys
	if v, u := d.uint(), d.uint(); v != uint64(validity) || u != uint64(uid) || depth > uint64(ParsePreview) {
		return false
	}
	*p = Parsed{Depth: Depth(depth), Envelope: d.bytes(), Header: d.bytes(), HeaderCut: d.bool(), keys: d.bytes(), BodyStructure: d.bytes(), Body: d.bytes(), Preview: d.bytes()}
	return !d.bad && len(d.data) == 0 && (first&hasKeys != 0) == (len(p.keys) > 0)
}

// window returns the mapped file, and more: only what is before size may be read.
// It is mapped again where the file has outgrown the mapping.
func (p *parseFile) window(at int64) []byte {
	size := p.size.Load()
	if data := p.mapped.Load(); data != nil && size <= int64(len(*data)) {
		return *data
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	size = p.size.Load()
	if p.file == nil || at >= size {
		return nil
	}
	if data := p.mapped.Load(); data != nil && size <= int64(len(*data)) {
		return *data
	}
	// More than there is yet: new records are seen without mapping again.
	data, unmap, err := p.file.Map(int(size + max(size, mapAhead)))
	if err != nil {
		return nil
	}
	p.unmap = append(p.unmap, unmap)
	p.mapped.Store(&data)
	return data
}
