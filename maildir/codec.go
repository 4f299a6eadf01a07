package maildir

import (
	"encoding/binary"
	"errors"
	"math"
)

// errIndex says that a file of the index is damaged: it is thrown away.
var errIndex = errors.New("damaged index")

// encoder appends the values of the index's files: numbers as varints, texts
// with their length before them.
type encoder []byte

func (e *encoder) uint(v uint64) { *e = binary.AppendUvarint(*e, v) }
func (e *encoder) int(v int64)   { *e = binary.AppendVarint(*e, v) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	*e = append(*e, b...)
}

func (e *encoder) bool(b bool) {
	if b {
		*e = append(*e, 1)
	} else {
		*e = append(*e, 0)
	}
}

// decoder reads what an encoder wrote. After the first fault it returns zeros,
// and bad stays set.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) fail() {
	d.bad, d.data = true, nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.data)) {
		d.fail()
		return ""
	}
	s := string(d.data[:n])
	d.data = d.data[n:]
	return s
}

// bytes is text without a copy.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) bool() bool {
	if len(d.data) == 0 {
		d.fail()
		return false
	}
	b := d.data[0]
	d.data = d.data[1:]
	if b > 1 {
		d.fail()
	}
	return b == 1
}

func (d *decoder) uid() UID {
	v := d.uint()
	if v == 0 || v > math.MaxUint32 {
		d.fail()
	}
	return UID(v)
}

// count reads the length of a list whose items take at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.data)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (e *encoder) fileStamp(s fileStamp) {
	e.uint(s.Dev)
	e.uint(s.Ino)
	e.int(s.Size)
	e.int(s.Mtime)
	e.int(s.Ctime)
}

func (d *decoder) fileStamp() fileStamp {
	return fileStamp{d.uint(), d.uint(), d.int(), d.int(), d.int()}
}

func (e *encoder) dirStamp(s dirStamp) {
	e.uint(s.dev)
	e.uint(s.ino)
	e.int(s.mtime)
	e.int(s.ctime)
	e.int(s.taken)
}

func (d *decoder) dirStamp() dirStamp {
	return dirStamp{d.uint(), d.uint(), d.int(), d.int(), d.int()}
}

func (e *encoder) uidlist(l *uidlist) {
	e.text(l.header.String())
	e.fileStamp(l.stamp)
	e.int(l.parsed)
	e.uint(uint64(l.last))
	e.uint(uint64(l.lines))
}

func (d *decoder) uidlist() (l uidlist) {
	text := d.text()
	if n := len(text); n > 0 {
		var err error
		if l.header, err = parseUIDHeader(text[:n-1]); err != nil {
			d.fail()
		}
	}
	l.stamp, l.parsed, l.last, l.lines = d.fileStamp(), d.int(), UID(d.uint()), int(d.uint())
	return l
}

func (e *encoder) texts(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

func (d *decoder) texts() []string {
	n := d.count()
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.text())
	}
	return list
}
