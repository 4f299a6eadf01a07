package junk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// A memory's file: the magic, five numbers, the words by hash, the messages by
// age, the mailboxes by name, and a CRC-32C of all that. It is replaced as a whole,
// so a torn one is not expected; what has a wrong sum is not believed. Numbers are
// little-endian. Another way to cut words needs another magic.
const magic = "buzon junk 1\n"

const (
	headSize   = 5 * 4
	wordSize   = 8 + 2 + 2
	lessonSize = 8 + 1 + 4
	maxName    = 1024 // bytes of a mailbox's name
	placeSize  = 2 + 4 + 4 + 8
	maxFile    = len(magic) + headSize + maxWords*wordSize + maxLessons*lessonSize + maxPlaces*(placeSize+maxName) + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFile = errors.New("the file is damaged")

// encode returns m as its file.
func (m *Memory) encode() []byte {
	m.merge()
	names := slices.Sorted(maps.Keys(m.places))
	names = slices.DeleteFunc(names, func(name string) bool { return len(name) > maxName })
	b := make([]byte, 0, len(magic)+headSize+len(m.words)*wordSize+len(m.lessons)*lessonSize+len(names)*(placeSize+32)+4)
	b = append(b, magic...)
	for _, n := range []int{m.good, m.junk, len(m.words), len(m.lessons), len(names)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, w := range m.words {
		b = binary.LittleEndian.AppendUint64(b, w.hash)
		b = binary.LittleEndian.AppendUint16(b, w.good)
		b = binary.LittleEndian.AppendUint16(b, w.junk)
	}
	ids := slices.SortedFunc(maps.Keys(m.lessons), func(x, y MessageID) int { return cmp.Compare(m.lessons[x].serial, m.lessons[y].serial) })
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
		b = append(b, byte(m.lessons[id].class))
		b = binary.LittleEndian.AppendUint32(b, m.lessons[id].size)
	}
	for _, name := range names {
		p := m.places[name]
		b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
		b = binary.LittleEndian.AppendUint32(b, p.Validity)
		b = binary.LittleEndian.AppendUint32(b, p.Next)
		b = binary.LittleEndian.AppendUint64(b, p.ModSeq)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads a file of encode's.
func decode(data []byte) (*Memory, error) {
	if len(data) > maxFile || len(data) < len(magic)+headSize+4 || string(data[:len(magic)]) != magic {
		return nil, errFile
	}
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if binary.LittleEndian.Uint32(sum) != crc32.Checksum(body, castagnoli) {
		return nil, fmt.Errorf("%w: its sum is wrong", errFile)
	}
	r := reader{rest: body[len(magic):]}
	m := newMemory()
	m.good, m.junk = r.count(maxCounted), r.count(maxCounted)
	words, lessons, places := r.count(maxWords), r.count(maxLessons), r.count(maxPlaces)
	if r.bad || len(r.rest) < words*wordSize+lessons*lessonSize+places*placeSize {
		return nil, errFile
	}
	m.words = make([]word, words)
	for i := range m.words {
		m.words[i] = word{r.uint64(), r.uint16(), r.uint16()}
		if i > 0 && m.words[i-1].hash >= m.words[i].hash || m.words[i].good == 0 && m.words[i].junk == 0 {
			return nil, errFile
		}
	}
	for range lessons {
		id, class, size := MessageID(r.uint64()), Class(r.take(1)[0]), r.uint32()
		m.serial++
		if _, twice := m.lessons[id]; twice || class < Good || class > Filed {
			return nil, errFile
		}
		m.lessons[id] = lesson{class, size, m.serial}
	}
	last := ""
	for i := range places {
		name := string(r.take(int(r.uint16())))
		p := Place{r.uint32(), r.uint32(), r.uint64()}
		if i > 0 && name <= last || len(name) > maxName {
			return nil, errFile
		}
		m.places[name], last = p, name
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errFile
	}
	return m, nil
}

// reader takes numbers off a file; bad is set when it ends early.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count reads a number of at most limit.
func (r *reader) count(limit int) int {
	n := r.uint32()
	if int64(n) > int64(limit) {
		r.bad = true
		return 0
	}
	return int(n)
}
