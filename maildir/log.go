package maildir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"

	"buzon/internal/durable"
)

// The log of a generation holds what changed since its snapshot, as records:
//
//	length of the payload, 4 bytes · CRC-32C of the payload, 4 · payload
//
// in little-endian order. A payload is a kind and its values. The first record
// that is torn or damaged ends the log: what was behind it is found again by a
// look at the disk.
const (
	logPrefix    = "log."
	logFixed     = 8
	maxLogRecord = 64 << 20
	// maxLogFile bounds what is read into memory.
	maxLogFile = 1 << 30
)

type recordKind byte

const (
	recordAdd      recordKind = 1 + iota // rows
	recordSet                            // names and flags of rows
	recordGone                           // UIDs and their modseq
	recordBase                           // a row's new base
	recordKeywords                       // the table
	recordUIDs                           // what is known of the uidlist; UIDNEXT
	recordStamps                         // the directories as they were when the mailbox was closed
	recordIntent                         // what is about to be done
	recordDone                           // the intent of this number is done, or undone
	recordValidity
)

func logName(gen uint64) string { return logPrefix + strconv.FormatUint(gen, 16) }

// appendRecord appends a record with its frame.
func appendRecord(b []byte, payload []byte) []byte {
	b = slices.Grow(b, logFixed+len(payload))
	start := len(b)
	b = append(b, make([]byte, logFixed)...)
	b = append(b, payload...)
	sealRecord(b[start:])
	return b
}

// sealRecord fills in the frame of a record, whose payload stands behind it.
func sealRecord(rec []byte) {
	payload := rec[logFixed:]
	binary.LittleEndian.PutUint32(rec, uint32(len(payload)))
	binary.LittleEndian.PutUint32(rec[4:], crc32.Checksum(payload, castagnoli))
}

// eachRecord calls fn for every whole record and returns where the last one ends.
// An error of fn ends the log there, as damage does.
func eachRecord(data []byte, fn func(payload []byte) error) (end int) {
	for {
		rest := data[end:]
		if len(rest) < logFixed {
			return end
		}
		n := binary.LittleEndian.Uint32(rest)
		if n == 0 || n > maxLogRecord || int(n) > len(rest)-logFixed {
			return end
		}
		payload := rest[logFixed : logFixed+int(n)]
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(rest[4:]) || fn(payload) != nil {
			return end
		}
		end += logFixed + int(n)
	}
}

// lastRecord returns the last record of a log; nil where the log does not end in a
// sound one.
func lastRecord(data []byte) []byte {
	for len(data) >= logFixed {
		n, crc := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		data = data[logFixed:]
		if n > maxLogRecord || int(n) > len(data) {
			return nil
		}
		if int(n) == len(data) && crc32.Checksum(data, castagnoli) == crc {
			return data
		}
		data = data[n:]
	}
	return nil
}

// appendDraft appends the records of a state's changes.
func appendDraft(b []byte, d *draft) []byte {
	if d.keywordsChanged {
		e := encoder{byte(recordKeywords)}
		e.texts(d.keywords)
		b = appendRecord(b, e)
	}
	if d.validity != d.before.validity {
		e := encoder{byte(recordValidity)}
		e.uint(uint64(d.validity))
		b = appendRecord(b, e)
	}
	if len(d.added) > 0 {
		e := encoder{byte(recordAdd)}
		e.uint(uint64(len(d.added)))
		for _, uid := range d.added {
			i, _ := d.Find(uid)
			e.row(d.State, i)
		}
		b = appendRecord(b, e)
	}
	for _, uid := range d.rebased {
		if i, ok := d.Find(uid); ok {
			base, _, _ := d.file(i)
			e := encoder{byte(recordBase)}
			e.uint(uint64(uid))
			e.text(base)
			e.text(d.GUID(i))
			b = appendRecord(b, e)
		}
	}
	if len(d.touched) > 0 {
		b = appendRecord(b, encodeSets(d))
	}
	if len(d.gone) > 0 {
		e := encoder{byte(recordGone)}
		e.uint(uint64(d.goneModSeq))
		e.uint(uint64(len(d.gone)))
		for _, uid := range d.gone {
			e.uint(uint64(uid))
		}
		b = appendRecord(b, e)
	}
	if len(d.added) > 0 || d.next != d.before.next || d.validity != d.before.validity {
		e := encoder{byte(recordUIDs)}
		e.uint(uint64(d.next))
		uids := d.mailbox.accounted()
		e.uidlist(&uids)
		b = appendRecord(b, e)
	}
	return b
}

// place is fileInfo without the number, as it is written.
func (f fileInfo) place() uint32 { return uint32(f >> 30) }

func (d *decoder) place() fileInfo {
	v := d.uint()
	if v > 2 {
		d.fail()
	}
	return fileInfo(v&3) << 30
}

// setBytes is about what a message takes in a record of names and flags.
const setBytes = 24

func encodeSets(d *draft) encoder {
	n := 0
	for _, uid := range d.touched {
		if _, ok := d.Find(uid); ok {
			n++
		}
	}
	e := append(make(encoder, 0, (n+1)*setBytes), byte(recordSet))
	e.uint(uint64(n))
	for _, uid := range d.touched {
		i, ok := d.Find(uid)
		if !ok {
			continue
		}
		sl := d.slot(i)
		b, r := d.blocks[sl.block()], sl.row()
		e.uint(uint64(uid))
		e.uint(uint64(b.modseq[r]))
		e.uint(uint64(b.where[r].place()))
		e.text(d.infos[b.where[r].number()].raw)
		e.uint(uint64(b.keywords[r] &^ letterMask))
	}
	return e
}

func (e *encoder) row(s *State, i int) {
	sl := s.slot(i)
	b, r := s.blocks[sl.block()], sl.row()
	e.uint(uint64(s.uids[i]))
	e.uint(b.ino[r])
	e.int(b.loadSize(r))
	e.int(b.loadStored(r))
	e.int(b.loadDate(r))
	e.int(b.loadSaved(r))
	e.text(string(b.fullName(r)))
	e.uint(uint64(b.modseq[r]))
	e.uint(uint64(b.where[r].place()))
	e.text(s.infos[b.where[r].number()].raw)
	e.uint(uint64(b.keywords[r] &^ letterMask))
}

// replay is a log as it is read onto a snapshot's state.
type replay struct {
	d       *draft
	m       *Mailbox
	gone    map[UID]bool
	intents map[uint64]*intent
	stamps  *closingStamps
	uids    *uidlist // the newest, or nil
}

// closingStamps are what the mailbox was when it was closed, and the snapshot that
// it was served from.
type closingStamps struct {
	boot     string
	new, cur dirStamp
	snapshot fileStamp // zero: none that could be trusted
}

func (s *closingStamps) ofThisBoot(m *Mailbox) bool {
	return s.boot == m.user.store.boot && s.boot != ""
}

func (s *closingStamps) encode() encoder {
	e := encoder{byte(recordStamps)}
	e.text(s.boot)
	e.dirStamp(s.new)
	e.dirStamp(s.cur)
	e.fileStamp(s.snapshot)
	return e
}

func decodeStamps(d *decoder) *closingStamps {
	return &closingStamps{d.text(), d.dirStamp(), d.dirStamp(), d.fileStamp()}
}

// lastWords returns what a log says of its snapshot, when the mailbox was closed in
// this run of the kernel; else nil.
func (m *Mailbox) lastWords(data []byte) *closingStamps {
	payload := lastRecord(data)
	if len(payload) == 0 || recordKind(payload[0]) != recordStamps {
		return nil
	}
	d := decoder{data: payload[1:]}
	if s := decodeStamps(&d); !d.bad && s.ofThisBoot(m) {
		return s
	}
	return nil
}

// apply reads one record. The state is as it was before when it fails: whatever
// a record says is checked before it is used.
func (r *replay) apply(payload []byte) error {
	d := decoder{data: payload[1:]}
	kind := recordKind(payload[0])
	if kind != recordStamps && kind != recordDone {
		r.stamps = nil // something happened after the mailbox was closed
	}
	switch kind {
	case recordAdd:
		r.add(&d)
	case recordSet:
		r.set(&d)
	case recordGone:
		r.remove(&d)
	case recordBase:
		r.rebase(&d)
	case recordKeywords:
		if t := d.texts(); !d.bad && len(t) <= maxKeywords {
			r.d.setKeywords(t)
		}
	case recordValidity:
		r.d.validity = uint32(d.uint())
	case recordUIDs:
		next, l := UID(d.uint()), d.uidlist()
		if !d.bad {
			r.d.next = max(r.d.next, next)
			r.uids = &l
		}
	case recordStamps:
		if s := decodeStamps(&d); !d.bad {
			r.stamps = s
		}
	case recordIntent:
		in := decodeIntent(&d)
		if !d.bad {
			r.intents[in.id] = in
		}
	case recordDone:
		delete(r.intents, d.uint())
	default:
		return fmt.Errorf("%w: record of kind %d", errIndex, payload[0])
	}
	if d.bad || len(d.data) != 0 {
		return fmt.Errorf("%w: record of kind %d", errIndex, payload[0])
	}
	return nil
}

func (r *replay) add(d *decoder) {
	for range d.count() {
		var x row
		x.uid = d.uid()
		x.ino, x.size, x.stored, x.date, x.saved = d.uint(), d.int(), d.int(), d.int(), d.int()
		x.base, x.guid = splitFullName(d.text())
		x.modseq = ModSeq(d.uint())
		place, raw, overflow := d.place(), d.text(), KeywordSet(d.uint())
		if d.bad || x.base == "" || x.uid < r.d.next || x.uid == maxUID {
			d.fail()
			return
		}
		x.where = r.d.info(raw)
		in := r.d.infos[x.where]
		x.flags, x.keywords = in.flags, in.letters|overflow&^letterMask
		x.where |= place
		r.d.add(x)
	}
}

func (r *replay) set(d *decoder) {
	for range d.count() {
		uid, modseq := d.uid(), ModSeq(d.uint())
		place, raw, overflow := d.place(), d.text(), KeywordSet(d.uint())
		if d.bad {
			return
		}
		if i, ok := r.d.Find(uid); ok {
			w := r.d.info(raw) | place
			r.d.set(i, w, overflow, modseq)
		}
	}
}

func (r *replay) remove(d *decoder) {
	modseq := ModSeq(d.uint())
	var uids []UID
	for range d.count() {
		uids = append(uids, d.uid())
	}
	if d.bad {
		return
	}
	for _, uid := range uids {
		r.gone[uid] = true
	}
	r.m.vanished.add(uids, modseq)
	r.d.highest = max(r.d.highest, modseq)
}

func (r *replay) rebase(d *decoder) {
	uid, base, guid := d.uid(), d.text(), d.text()
	if i, ok := r.d.Find(uid); ok && !d.bad && base != "" {
		r.d.replaceBase(i, base, guid)
	}
}

// finish takes the messages out that are gone: all at once, as each time costs
// as much as the mailbox is large.
func (r *replay) finish() {
	var rows []int
	for uid := range r.gone {
		if i, ok := r.d.Find(uid); ok {
			rows = append(rows, i)
		}
	}
	sortInts(rows)
	r.d.remove(rows, r.d.highest)
}

// readLog returns a log's contents; without one it is empty.
func readLog(dir durable.Dir, gen uint64) ([]byte, error) {
	f, err := dir.Open(logName(gen))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLogFile+1))
	if len(data) > maxLogFile {
		err = errors.Join(err, errIndex)
	}
	return data, err
}
