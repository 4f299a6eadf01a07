package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// dovecot-uidlist version 3 is where UIDs live, in Dovecot's own format, so that
// either server may take the tree over from the other:
//
//	header := "3" (SP key value)* LF           V UIDVALIDITY, N next UID, G mailbox GUID
//	record := uid SP (key value SP)* ":" filename LF
//
// A key is one byte. Keys that we do not know are kept. UIDs ascend; only the
// base of a file name counts. Version 1 (Courier's courierimapuiddb, too) is read:
// "1 validity next" and "uid base".

var errUIDList = errors.New("broken uidlist")

// maxUIDListLine is longer than a file name and every key known can be.
const maxUIDListLine = 4096

// uidHeader is the first line of a uidlist.
type uidHeader struct {
	version  int
	validity uint32
	next     UID      // may be stale in version 3: lines at or above it are legal
	guid     string   // 32 hex digits, "" when missing
	other    []string // fields with other keys, as they stand
}

// uidRecord is one line.
type uidRecord struct {
	uid  UID
	keys string // "S12 W13 " as it stands, with the trailing space
	base string
}

func parseUIDHeader(line string) (uidHeader, error) {
	fields := strings.Split(line, " ")
	switch fields[0] {
	case "3":
		return parseUIDHeader3(fields[1:])
	case "1":
		if len(fields) != 3 {
			return uidHeader{}, fmt.Errorf("%w: header %.80q", errUIDList, line)
		}
		v, err1 := parseUID(fields[1])
		n, err2 := parseUID(fields[2])
		if err1 != nil || err2 != nil {
			return uidHeader{}, fmt.Errorf("%w: header %.80q", errUIDList, line)
		}
		return uidHeader{version: 1, validity: uint32(v), next: n}, nil
	}
	return uidHeader{}, fmt.Errorf("%w: version %.20q", errUIDList, fields[0])
}

func parseUIDHeader3(fields []string) (uidHeader, error) {
	h := uidHeader{version: 3, next: 1}
	for _, f := range fields {
		if f == "" {
			continue
		}
		var err error
		switch f[0] {
		case 'V':
			var v UID
			v, err = parseUID(f[1:])
			h.validity = uint32(v)
		case 'N':
			h.next, err = parseUID(f[1:])
		case 'G':
			if !validGUID(f[1:]) {
				continue // a new one is made
			}
			h.guid = f[1:]
		default:
			h.other = append(h.other, f)
		}
		if err != nil {
			return uidHeader{}, fmt.Errorf("%w: header field %.40q", errUIDList, f)
		}
	}
	if h.validity == 0 {
		return uidHeader{}, fmt.Errorf("%w: no UIDVALIDITY", errUIDList)
	}
	return h, nil
}

// String is the header line of version 3, with its line end.
func (h uidHeader) String() string {
	b := fmt.Appendf(nil, "3 V%d N%d", h.validity, h.next)
	if h.guid != "" {
		b = append(append(b, " G"...), h.guid...)
	}
	for _, f := range h.other {
		b = append(append(b, ' '), f...)
	}
	return string(append(b, '\n'))
}

func parseUIDRecord(version int, line string) (uidRecord, error) {
	num, rest, ok := strings.Cut(line, " ")
	uid, err := parseUID(num)
	if !ok || err != nil || uid == maxUID {
		return uidRecord{}, fmt.Errorf("%w: line %.80q", errUIDList, line)
	}
	r := uidRecord{uid: uid}
	if version == 1 {
		r.base, _ = splitName(rest)
	} else {
		keys, name, err := splitUIDKeys(rest)
		if err != nil {
			return uidRecord{}, err
		}
		r.keys = keys
		r.base, _ = splitName(name)
	}
	if r.base == "" || strings.ContainsAny(r.base, "/\x00\r\n") {
		return uidRecord{}, fmt.Errorf("%w: file name in %.80q", errUIDList, line)
	}
	return r, nil
}

// splitUIDKeys cuts "S12 W13 :name" before the colon that begins the name.
func splitUIDKeys(s string) (keys, name string, err error) {
	for i := 0; ; {
		if i < len(s) && s[i] == ':' {
			return s[:i], s[i+1:], nil
		}
		end := strings.IndexByte(s[i:], ' ')
		if end <= 0 || s[i] < 'A' || s[i] > 'Z' {
			return "", "", fmt.Errorf("%w: fields %.80q", errUIDList, s)
		}
		i += end + 1
	}
}

// guid is the G key: the message's identity where its base says another one.
func (r uidRecord) guid() string { return r.key('G') }

func (r uidRecord) key(k byte) string {
	for f := range strings.SplitSeq(r.keys, " ") {
		if f != "" && f[0] == k {
			return f[1:]
		}
	}
	return ""
}

// sizes are those of the message, from its base or else from the line; -1: neither
// tells.
func (r uidRecord) sizes(base string) (stored, virtual int64) {
	stored, virtual = nameSizes(base)
	if stored < 0 {
		stored = parseSize(r.key('S'))
	}
	if virtual < 0 {
		virtual = parseSize(r.key('W'))
	}
	return stored, virtual
}

// appendTo appends the record's line, as version 3 has it.
func (r uidRecord) appendTo(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.uid), 10)
	b = append(append(b, ' '), r.keys...)
	b = append(append(b, ':'), r.base...)
	return append(b, '\n')
}

// maxUID can not be given to a message: UIDNEXT must fit, too.
const maxUID = UID(1<<32 - 1)

func parseUID(s string) (UID, error) {
	if s == "" || s[0] == '+' || len(s) > 1 && s[0] == '0' {
		return 0, errUIDList
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, errUIDList
	}
	return UID(n), nil
}

func validGUID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// A uidScanner reads records from a stretch of a uidlist that begins at a line.
type uidScanner struct {
	version int
	last    UID // UIDs must be above it
}

// scan calls fn for each whole line of data and returns how many bytes they
// were: a last line without its end is a write that was cut, or is under way.
func (s *uidScanner) scan(data []byte, fn func(uidRecord) error) (int, error) {
	used := 0
	for {
		end := bytes.IndexByte(data[used:], '\n')
		if end < 0 {
			return used, nil
		}
		line := string(data[used : used+end])
		if len(line) > maxUIDListLine {
			return used, fmt.Errorf("%w: line of %d bytes", errUIDList, len(line))
		}
		r, err := parseUIDRecord(s.version, line)
		if err != nil {
			return used, err
		}
		if r.uid <= s.last {
			return used, fmt.Errorf("%w: UID %d after %d", errUIDList, r.uid, s.last)
		}
		s.last = r.uid
		if err := fn(r); err != nil {
			return used, err
		}
		used += end + 1
	}
}
