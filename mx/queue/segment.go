package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"buzon/internal/durable"
)

// segment is one file of the journal: a line of its own, then one record after
// the other, then whatever an earlier use has left there.
//
//	buzon-journal 1 RUN
//	buzon-entry w ID LENGTH RUN CHECKSUM
//	…the message, as its file in message/ would be…
//	buzon-entry d ID LENGTH RUN CHECKSUM
//	…
//
// Its size never changes: what is written lies over blocks that the file has, and
// becomes durable by one write, without a transaction of the file system. RUN is made
// anew with each use. It tells records from those before, and, as nobody else knows it,
// from what a message contains. The letter before the id is the only thing that changes
// later, in place: one byte cannot be torn.
type segment struct {
	name   string
	file   durable.File
	size   int64
	synced groupSync
	behind atomic.Bool // letters were written that are not durable

	// Guarded by the journal's mutex.
	run  string // "": never used
	end  int64  // where the next record goes
	live int    // records that are not done
	dead bool   // an fsync or a write failed: nothing goes there any more
}

// The letters of a record.
const (
	recordWaiting = 'w' // nothing was attempted
	recordActive  = 'a' // an attempt is under way
	recordDone    = 'd' // sent, given up, or moved to message/
)

const (
	segmentMagic = "buzon-journal 1 "
	recordMagic  = "buzon-entry "
	runLength    = 16
	startLength  = int64(len(segmentMagic) + runLength + 1)
	letterAt     = int64(len(recordMagic)) // in a record's first line
)

// recordFormat is a record's first line without its checksum, which is taken over it
// (as if it waited) and the text.
const recordFormat = recordMagic + "%c %s %010d %s "

// recordLength is the length of the first line.
const recordLength = int64(len(recordMagic) + len("w 0123456789abc 0123456789 0123456789abcdef 01234567\n"))

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// formatRecord returns a record that waits.
func formatRecord(run, id string, text []byte) []byte {
	line := fmt.Appendf(make([]byte, 0, recordLength+int64(len(text))), recordFormat, recordWaiting, id, len(text), run)
	return append(fmt.Appendf(line, "%08x\n", checksum(line, text)), text...)
}

func checksum(line, text []byte) uint32 {
	return crc32.Update(crc32.Checksum(line, castagnoli), castagnoli, text)
}

// record is where the journal has an entry.
type record struct {
	id     string
	seg    *segment
	at     int64 // of its first line
	length int64 // of the text
	letter byte
}

// parseRecord reads the record at the beginning of b: its line, and whether the
// text is whole. ok is false where no record of this run begins.
func parseRecord(b []byte, run string) (r record, text []byte, ok bool) {
	if int64(len(b)) < recordLength || !bytes.HasPrefix(b, []byte(recordMagic)) {
		return r, nil, false
	}
	line := b[:recordLength]
	f := strings.Split(string(line[letterAt:recordLength-1]), " ")
	if len(f) != 5 || len(f[0]) != 1 || f[3] != run {
		return r, nil, false
	}
	length, err := strconv.Atoi(f[2])
	if message, mark, _, valid := splitID(f[1]); !valid || mark != "" || err != nil || length < 0 || int64(length) > int64(len(b))-recordLength {
		return r, nil, false
	} else if r = (record{id: message, length: int64(length), letter: f[0][0]}); !strings.ContainsRune("wad", rune(r.letter)) {
		return r, nil, false
	}
	text = b[recordLength : recordLength+r.length]
	whole := formatRecord(run, r.id, text)
	whole[letterAt] = r.letter
	if !bytes.Equal(whole[:recordLength], line) {
		return r, nil, false
	}
	return r, text, true
}

// gap is a part of a segment where there must have been a record.
type gap struct{ from, to int64 }

// scan reads a segment: its run, its records, and the gaps between them.
func (g *segment) scan(b []byte) (records []record, gaps []gap, err error) {
	if int64(len(b)) < startLength || !bytes.HasPrefix(b, []byte(segmentMagic)) || b[startLength-1] != '\n' {
		return nil, nil, damaged("not a file of the journal")
	}
	g.run = string(b[len(segmentMagic) : startLength-1])
	if raw, err := hex.DecodeString(g.run); err != nil || hex.EncodeToString(raw) != g.run {
		return nil, nil, damaged("not a file of the journal")
	}
	at := startLength
	g.end = at
	for {
		r, _, ok := parseRecord(b[at:], g.run)
		if ok {
			if len(bytes.Trim(b[g.end:at], "\x00")) > 0 { // not blanked
				gaps = append(gaps, gap{g.end, at})
			}
			r.seg, r.at = g, at
			records = append(records, r)
			at += recordLength + r.length
			g.end = at
			continue
		}
		// Behind the last record there are remains. Behind a damaged one there
		// is another, which only somebody who knows the run can have written.
		next := bytes.Index(b[min(at+1, int64(len(b))):], []byte(recordMagic))
		if next < 0 {
			return records, gaps, nil
		}
		at += 1 + int64(next)
	}
}

// start makes a segment empty, for another use. What was written in the one before is
// not found any more once this is durable, and nothing is written before it is.
func (g *segment) start() error {
	var random [runLength / 2]byte
	_, _ = rand.Read(random[:]) // crypto/rand never fails since Go 1.24
	run := hex.EncodeToString(random[:])
	if _, err := g.file.WriteAt([]byte(segmentMagic+run+"\n"), 0); err != nil {
		return err
	}
	if err := g.synced.Sync(); err != nil {
		return err
	}
	g.run, g.end = run, startLength
	return nil
}

// blank overwrites what is damaged and was put aside.
func (g *segment) blank(at, length int64) error {
	_, err := g.file.WriteAt(make([]byte, length), at)
	return err
}

// add writes a record behind the others.
func (g *segment) add(id string, text []byte) (*record, error) {
	b := formatRecord(g.run, id, text)
	if _, err := g.file.WriteAt(b, g.end); err != nil {
		return nil, err
	}
	r := &record{id: id, seg: g, at: g.end, length: int64(len(text)), letter: recordWaiting}
	g.end += int64(len(b))
	g.live++
	return r, nil
}

// raw reads what lies in a record's place.
func (r *record) raw() ([]byte, error) {
	b := make([]byte, recordLength+r.length)
	_, err := r.seg.file.ReadAt(b, r.at)
	if err == io.EOF && r.at+int64(len(b)) == r.seg.size {
		err = nil // io.ReaderAt allows both
	}
	return b, err
}

// text reads a record's text.
func (r *record) text() ([]byte, error) {
	b, err := r.raw()
	if err != nil {
		return nil, err
	}
	found, text, ok := parseRecord(b, r.seg.run)
	if !ok || found.id != r.id {
		return nil, damaged("not what was written")
	}
	return text, nil
}

// set changes a record's letter. It is durable after the segment's next sync.
func (r *record) set(letter byte) error {
	if r.letter == letter {
		return nil
	}
	if _, err := r.seg.file.WriteAt([]byte{letter}, r.at+letterAt); err != nil {
		return err
	}
	r.letter = letter
	r.seg.behind.Store(true)
	return nil
}
