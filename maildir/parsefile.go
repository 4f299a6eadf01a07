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
// records in the log's frame, each with the message's UIDVALIDITY and UID, its
// size, and the texts of Parsed. It is only appended to, and never synced. A row's
// column "cached" says where its record is; a record that does not belong to the
// row, or is damaged, is a miss.
type parseFile struct {
	mu   sync.Mutex
	file durable.File // nil: closed, or not to be had
	size atomic.Int64

	mapped atomic.Pointer[[]byte]
	unmap  []func() // of every mapping: readers may hold parts of an old one
}

const (
	parseFileName = "parsed"
	// maxParseRecord bounds a record: a message of 10 000 parts.
	maxParseRecord = 16 << 20
	// mapAhead is how much more than the file is mapped.
	mapAhead = 1 << 20
	// maxParseFile is where the cache is begun anew.
	maxParseFile = 2 << 30
)

// openParseFile opens the cache and finds the records that were appended after
// known, where a snapshot knew it.
func openParseFile(dir durable.Dir, s *State, known int64) *parseFile {
	p := &parseFile{}
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
			d := decoder{data: payload}
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

// get returns what is known of row i; nil when nothing is. It points into the
// mapped file.
func (p *parseFile) get(s *State, i int) *Parsed {
	if p == nil {
		return nil
	}
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
	d := decoder{data: payload}
	validity, uid := uint32(d.uint()), UID(d.uint())
	out := &Parsed{Envelope: d.bytes(), BodyStructure: d.bytes(), Body: d.bytes(), Header: d.bytes(), HeaderCut: d.bool()}
	if d.bad || validity != s.validity || uid != s.uids[i] {
		return nil
	}
	return out
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

// put appends what parsing row i yielded.
func (p *parseFile) put(s *State, i int, out *Parsed) {
	if p == nil {
		return
	}
	var e encoder
	e.uint(uint64(s.validity))
	e.uint(uint64(s.uids[i]))
	e.text(string(out.Envelope))
	e.text(string(out.BodyStructure))
	e.text(string(out.Body))
	e.text(string(out.Header))
	e.bool(out.HeaderCut)
	if len(e) > maxParseRecord {
		return
	}
	rec := appendRecord(nil, e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil || p.size.Load() > maxParseFile {
		return
	}
	at := p.size.Load()
	n, err := p.file.Write(rec)
	p.size.Add(int64(n))
	if err != nil {
		_ = p.file.Close() // a hole in it: no more records
		p.file = nil
		return
	}
	s.setCached(i, at)
}
