package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"buzon/internal/durable"
)

// maxUIDListFindings is after how many broken lines no more are told.
const maxUIDListFindings = 20

// uidlistCheck reads a uidlist to its end, whatever it holds: uidScanner stops at
// the first line that is wrong.
type uidlistCheck struct {
	*folderCheck
	header uidHeader
	last   UID
	line   int
	told   int
}

// uidlist checks the folder's dovecot-uidlist, and notes the bases that have a
// UID.
func (c *folderCheck) uidlist() error {
	f, err := c.dir.Open(uidlistFile)
	if errors.Is(err, fs.ErrNotExist) {
		c.note(uidlistFile, "is missing: the next open writes it, with the UIDs of the index or under a new UIDVALIDITY")
		return nil
	}
	if err != nil {
		c.tell(c.finding(uidlistFile, "cannot be read: %v", err))
		return nil
	}
	defer f.Close()
	l := &uidlistCheck{folderCheck: c}
	torn, err := l.scan(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		c.tell(c.finding(uidlistFile, "cannot be read: %v", err))
		return nil
	}
	if l.told > maxUIDListFindings {
		c.tell(c.finding(uidlistFile, "%d more lines are wrong", l.told-maxUIDListFindings))
	}
	if l.told > 0 {
		return nil // the server sets such a file aside: nothing in it is to be mended
	}
	if torn {
		f := c.finding(uidlistFile, "its last line has no end: the server drops it when it adds the next")
		f.Remedy = "end the line where its message is there, else drop it"
		c.mend(f, c.mendTornLine)
	}
	// N is only written when the file is: lines above it are legal.
	if max(l.header.next, l.last+1) == maxUID {
		c.tell(c.finding(uidlistFile, "no UID is left for new messages: move the mail to a new mailbox"))
	}
	if l.header.guid == "" {
		c.note(uidlistFile, "has no G, the mailbox's GUID: the server adds one")
	}
	return nil
}

// scan reads all lines; torn reports that the last one has no end.
func (l *uidlistCheck) scan(r *bufio.Reader) (torn bool, err error) {
	for {
		if err := l.ctx.Err(); err != nil {
			return false, err
		}
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && l.line == 0:
			l.wrong("has no header: the server sets it aside")
			return false, nil
		case errors.Is(err, io.EOF):
			return len(line) > 0, nil
		case errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > maxUIDListLine+1:
			l.wrong("line %d is longer than any can be", l.line+1)
			return false, nil
		case err != nil:
			return false, err
		}
		l.line++
		if l.line > 1 {
			l.record(string(line[:len(line)-1]))
			continue
		}
		if l.header, err = parseUIDHeader(string(line[:len(line)-1])); err != nil {
			l.wrong("line 1 is no header: %v; the server sets the file aside", err)
			return false, nil
		}
	}
}

func (l *uidlistCheck) record(line string) {
	r, err := parseUIDRecord(l.header.version, line)
	if err != nil {
		l.wrong("line %d: %v", l.line, err)
		return
	}
	switch {
	case r.uid == l.last:
		l.wrong("line %d: UID %d is there twice", l.line, r.uid)
	case r.uid < l.last:
		l.wrong("line %d: UID %d comes after %d", l.line, r.uid, l.last)
	default:
		l.last = r.uid
	}
	if l.sight(r.base, inUIDList)&inUIDList != 0 {
		l.note(uidlistFile, "line %d: %d is the second UID of %.100q: the last one counts", l.line, r.uid, r.base)
	}
}

func (l *uidlistCheck) wrong(format string, args ...any) {
	if l.told++; l.told <= maxUIDListFindings {
		l.tell(l.finding(uidlistFile, format, args...))
	}
}

// mendTornLine gives the file's last line its end when it names a message in full,
// which then keeps its UID; else it was cut while it was written, the UID was never
// told to anybody, and the file is written again without it.
func (c *folderCheck) mendTornLine() error {
	return c.underLock(func() error {
		l := &uidlist{}
		if _, err := l.read(c.dir, func(uidRecord) error { return nil }); err != nil {
			return err
		}
		rest, err := c.tail(l.parsed)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			return fs.ErrNotExist // the server did it meanwhile
		}
		r, err := parseUIDRecord(l.header.version, string(rest))
		if err == nil && r.uid > l.last && c.isHere(r.base) {
			_, err := appendLines(c.dir, uidlistFile, nil, c.u.filePerm)
			return err
		}
		return l.rewrite(c.dir, func(uidRecord) (uidRecord, bool) { return uidRecord{}, true }, c.u.filePerm)
	})
}

// tail is what the uidlist holds from an offset on.
func (c *folderCheck) tail(from int64) ([]byte, error) {
	f, err := c.dir.Open(uidlistFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rest, err := io.ReadAll(io.NewSectionReader(f, from, maxUIDListLine+1))
	if err == nil && len(rest) > maxUIDListLine {
		err = fmt.Errorf("%w: endless line", errUIDList)
	}
	return rest, err
}

// isHere reports that a message of the folder has this base.
func (c *folderCheck) isHere(base string) bool {
	found := false
	for _, sub := range []string{"new", "cur"} {
		dir, err := c.dir.OpenDir(sub)
		if err != nil {
			continue
		}
		_ = dir.Scan(func(e durable.Entry) error {
			b, _ := splitName(string(e.Name))
			found = found || b == base
			return nil
		})
		_ = dir.Close()
	}
	return found
}
