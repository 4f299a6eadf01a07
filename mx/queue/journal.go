package queue

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"buzon/internal/durable"
)

// journal is where a submitted message lies until its first attempt has ended.
// Most messages are sent by then and never need a file of their own: one write to a
// file that is there already makes them durable, one for all who wait for it. What
// remains to be sent after its first attempt moves to message/, and so does what has
// lain here for too long.
//
// A record is in records from when it is written until it is done.
type journal struct {
	dir, tmp folder
	size     int64 // of a segment
	log      *slog.Logger
	later    laterSync  // of letters
	tidying  sync.Mutex // held while letters are made durable and segments removed

	mu       sync.Mutex // guards what follows
	current  *segment   // that records go to; nil: none yet
	segments []*segment // the oldest use first
	records  map[string]*record
	crowded  chan struct{} // cap 1: there is something to be moved
}

const (
	// segmentSize: about a thousand messages, and nothing to a disk.
	segmentSize = 4 << 20
	// maxSegments: with more the oldest is emptied, however long its messages have waited
	// for their first attempt.
	maxSegments = 16
	// spareSegments are kept for another use.
	spareSegments = 2
	// maxShare of a segment is a message at most: a larger one costs the disk so much that
	// a file of its own is nothing to it.
	maxShare = 16
)

func newJournal(dir, tmp folder, size int64, log *slog.Logger) *journal {
	j := &journal{dir: dir, tmp: tmp, size: size, log: log, records: make(map[string]*record), crowded: make(chan struct{}, 1)}
	j.later.sync = func() {
		if err := j.sync(); err != nil {
			log.Error("after a power cut finished messages may be sent again", "err", err)
		}
	}
	return j
}

func (j *journal) close() error {
	j.later.close()
	var errs []error
	for _, g := range j.segments {
		errs = append(errs, g.file.Close())
	}
	return errors.Join(errs...)
}

// limit is how long an entry's text may be.
func (j *journal) limit() int64 { return j.size / maxShare }

// errTooLong is the answer to a text that needs a file of its own.
var errTooLong = errors.New("too long for the journal")

// add writes an entry. When it returns nil, the entry is durable.
func (j *journal) add(id string, text []byte) error {
	if int64(len(text)) > j.limit() {
		return errTooLong
	}
	r, err := j.write(id, text)
	if err != nil {
		return err
	}
	if err := j.syncOf(r.seg); err != nil {
		// Whoever submitted it hears that it is not queued.
		return errors.Join(err, j.finish(id))
	}
	return nil
}

// write writes an entry into a segment that has room for it.
func (j *journal) write(id string, text []byte) (*record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	g, err := j.roomFor(recordLength + int64(len(text)))
	if err != nil {
		return nil, err
	}
	r, err := g.add(id, text)
	if err != nil {
		j.giveUp(g)
		return nil, err
	}
	j.records[id] = r
	return r, nil
}

// roomFor returns the segment that so many bytes go to.
func (j *journal) roomFor(n int64) (*segment, error) {
	if g := j.current; g != nil && !g.dead && g.end+n <= g.size {
		return g, nil
	}
	j.current = nil
	g, err := j.empty()
	if err != nil {
		return nil, err
	}
	if g.end+n > g.size { // of a host whose segments were smaller
		return nil, errTooLong
	}
	j.current = g
	if len(j.segments) > maxSegments {
		j.crowd()
	}
	return g, nil
}

// empty returns a segment without records, the youngest of all: one that is done, or
// a new one.
func (j *journal) empty() (*segment, error) {
	for i, g := range j.segments {
		if g.live > 0 || g.dead {
			continue
		}
		if err := g.start(); err != nil {
			j.giveUp(g)
			return nil, err
		}
		j.segments = append(append(j.segments[:i:i], j.segments[i+1:]...), g)
		return g, nil
	}
	g, err := j.create()
	if err != nil {
		return nil, err
	}
	j.segments = append(j.segments, g)
	return g, nil
}

// create makes a segment: it is written to its end, so that its blocks are there.
func (j *journal) create() (*segment, error) {
	taken := make(map[string]bool)
	for _, g := range j.segments {
		taken[g.name] = true
	}
	n := 1
	for taken[strconv.Itoa(n)] {
		n++
	}
	name := strconv.Itoa(n)
	f, err := j.tmp.Create(name, filePerm)
	if err != nil {
		return nil, err
	}
	g := j.segment(name, f, j.size)
	zeros := make([]byte, min(j.size, 1<<20))
	for left := j.size; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if err == nil {
		err = g.start() // and makes all of it durable
	}
	if err == nil {
		err = j.tmp.Rename(name, j.dir.Dir, name)
	}
	if err == nil {
		err = j.dir.Sync()
	}
	if err != nil {
		f.Close()
		_ = j.tmp.Remove(name)
		_ = j.dir.Remove(name)
		return nil, fmt.Errorf("make journal: %w", err)
	}
	return g, nil
}

func (j *journal) segment(name string, f durable.File, size int64) *segment {
	g := &segment{name: name, file: f, size: size}
	g.synced.sync = func() error {
		g.behind.Store(false) // what is written from here on is not in this sync
		err := f.SyncData()
		if err != nil {
			g.behind.Store(true)
		}
		return err
	}
	return g
}

// giveUp takes a segment out of use after an error. What it has is moved.
func (j *journal) giveUp(g *segment) {
	if g.dead {
		return
	}
	g.dead = true
	j.log.Error("file of the journal is given up", "id", g.name)
	j.crowd()
}

// crowd asks for move.
func (j *journal) crowd() {
	select {
	case j.crowded <- struct{}{}:
	default:
	}
}

// sync makes all letters durable, and removes what is not wanted any more then.
func (j *journal) sync() error {
	j.tidying.Lock()
	defer j.tidying.Unlock()
	j.mu.Lock()
	all := slices.DeleteFunc(slices.Clone(j.segments), func(g *segment) bool { return g.dead })
	j.mu.Unlock()
	var errs []error
	for _, g := range all {
		if g.behind.Load() {
			errs = append(errs, j.syncOf(g))
		}
	}
	return errors.Join(append(errs, j.discard())...)
}

// syncOf makes a segment durable. One that cannot be is given up: the kernel tells of
// that only once.
func (j *journal) syncOf(g *segment) error {
	err := g.synced.Sync()
	if err != nil {
		j.mu.Lock()
		j.giveUp(g)
		j.mu.Unlock()
	}
	return err
}

// discard removes the segments without records that are not wanted for another use.
func (j *journal) discard() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	spare := 0
	var errs []error
	before := len(j.segments)
	j.segments = slices.DeleteFunc(j.segments, func(g *segment) bool {
		if g.live > 0 || g == j.current || g.behind.Load() && !g.dead {
			return false
		}
		if spare++; !g.dead && spare <= spareSegments {
			return false
		}
		if err := j.dir.Remove(g.name); err != nil {
			errs = append(errs, err)
			return false
		}
		errs = append(errs, g.file.Close())
		return true
	})
	if len(j.segments) < before {
		errs = append(errs, j.dir.Sync())
	}
	return errors.Join(errs...)
}

// find returns the record of an entry, or nil.
func (j *journal) find(id string) *record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.records[id]
}

// mark notes that an attempt begins. It reports whether the entry is here. It is not
// made durable, see spool.mark.
func (j *journal) mark(id string) (here bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records[id]
	if r == nil {
		return false, nil
	}
	return true, r.set(recordActive)
}

// finish ends an entry here. It is durable after the sync of its segment.
func (j *journal) finish(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records[id]
	if r == nil {
		return nil
	}
	if err := r.set(recordDone); err != nil {
		return err
	}
	delete(j.records, id)
	r.seg.live--
	return nil
}

// erase is finish for what is damaged and was put aside.
func (j *journal) erase(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records[id]
	if r == nil {
		return nil
	}
	if err := r.seg.blank(r.at, recordLength+r.length); err != nil {
		return err
	}
	delete(j.records, id)
	r.seg.live--
	return nil
}

// all returns the ids and letters of all entries.
func (j *journal) all() map[string]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make(map[string]byte, len(j.records))
	for id, r := range j.records {
		out[id] = r.letter
	}
	return out
}

// waiting returns the entries that must move: those of segments that are given up,
// and of the oldest where there are too many.
func (j *journal) waiting() (ids []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	leave := make(map[*segment]bool)
	for i, g := range j.segments {
		leave[g] = g.dead || len(j.segments)-i > maxSegments && g != j.current
	}
	for id, r := range j.records {
		if leave[r.seg] {
			ids = append(ids, id)
		}
	}
	return ids
}

// load reads the segments. Their files are names. keep puts aside what is damaged in
// them, foreign a file that is none of ours.
func (j *journal) load(names []string, keep func(text []byte) error, foreign func(name string, why error)) error {
	for _, name := range names {
		f, err := j.dir.Rewrite(name)
		if err != nil {
			return err
		}
		b, err := readSegment(f)
		if err != nil && !errors.Is(err, errDamaged) {
			f.Close()
			return fmt.Errorf("read journal: %w", err)
		}
		g := j.segment(name, f, int64(len(b)))
		var records []record
		var gaps []gap
		if err == nil {
			records, gaps, err = g.scan(b)
		}
		if err != nil {
			f.Close()
			foreign(name, err)
			continue
		}
		for _, hole := range gaps {
			if err := keep(b[hole.from:hole.to]); err != nil {
				return err
			}
			if err := g.blank(hole.from, hole.to-hole.from); err != nil {
				return err
			}
			g.behind.Store(true)
		}
		for _, r := range records {
			if r.letter != recordDone {
				g.live++
				j.records[r.id] = &r
			}
		}
		j.segments = append(j.segments, g)
	}
	return nil
}

// maxSegmentSize bounds what is read at a start, should there be a file of another
// origin.
const maxSegmentSize = 64 << 20

func readSegment(f durable.File) ([]byte, error) {
	in, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if in.Size > maxSegmentSize {
		return nil, damaged("not a file of the journal")
	}
	b := make([]byte, in.Size)
	_, err = f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b, err
}
