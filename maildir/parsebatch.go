package maildir

// parseBatch gathers records of the cache, to be written in one go.
type parseBatch struct {
	cache   *parseFile
	state   *State // that the rows are of
	records []byte
	rows    []int
	at      []int64 // of each row's record
}

// parseBatchBytes is how much is written in one go.
const parseBatchBytes = 64 << 10

// add takes what is known of row i of s. A cache of nil keeps nothing.
func (b *parseBatch) add(cache *parseFile, s *State, i int, p *Parsed) {
	if cache == nil {
		return
	}
	if b.cache != cache || b.state != s {
		b.flush()
		b.cache, b.state = cache, s
	}
	start := len(b.records)
	b.records = p.appendRecord(b.records, s.validity, s.uids[i])
	if len(b.records)-start > maxParseRecord {
		b.records = b.records[:start]
		return
	}
	b.rows, b.at = append(b.rows, i), append(b.at, int64(start))
	if len(b.records) >= parseBatchBytes {
		b.flush()
	}
}

// flush writes what was gathered, and tells the rows where it is.
func (b *parseBatch) flush() {
	if len(b.rows) > 0 {
		b.cache.append(b)
	}
	b.records, b.rows, b.at = b.records[:0], b.rows[:0], b.at[:0]
}

func (p *parseFile) append(b *parseBatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil || p.size.Load() > maxParseFile {
		return
	}
	start := p.size.Load()
	n, err := p.file.Write(b.records)
	p.size.Add(int64(n))
	if err != nil {
		_ = p.file.Close() // a hole in it: no more records
		p.file = nil
		return
	}
	for k, i := range b.rows {
		b.state.setCached(i, start+b.at[k])
	}
}

// A ParsedBuffer holds what Parsed has returned, one message at a time, so that many
// messages need no more memory than one. It is for one goroutine.
type ParsedBuffer struct {
	parsed  Parsed
	record  []byte
	gathers bool
	batch   parseBatch
}

// Gather has what is parsed for this buffer written to the index many messages at a time,
// and after the last by Flush.
func (b *ParsedBuffer) Gather() { b.gathers = true }

// Flush writes what was gathered. The mailbox must still be open.
func (b *ParsedBuffer) Flush() { b.batch.flush() }

// put keeps what parsing a message has yielded.
func (b *ParsedBuffer) put(cache *parseFile, s *State, i int, p *Parsed) {
	b.batch.add(cache, s, i, p)
	if !b.gathers {
		b.batch.flush()
	}
}
