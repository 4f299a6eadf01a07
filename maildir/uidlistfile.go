package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"buzon/internal/durable"
)

const (
	uidlistFile    = "dovecot-uidlist"
	uidlistTemp    = uidlistFile + ".tmp"
	courierUIDFile = "courierimapuiddb"
	// uidlistChunk is how much of the file is looked at at once, at most.
	uidlistChunk = 1 << 20
)

// errUIDListChanged: somebody does not keep to the lock.
var errUIDListChanged = errors.New("the file changes while it is locked")

// uidlist is what we know of the folder's dovecot-uidlist without its lines. It
// is guarded by the mailbox's lock; the file itself by the dot lock.
type uidlist struct {
	header uidHeader
	stamp  fileStamp // of the file when it was read last
	parsed int64     // bytes that were read: whole lines
	last   UID       // of the last line
	lines  int       // records in the file
}

// next is the UID that the next message gets at least.
func (l *uidlist) next() UID { return max(l.header.next, l.last+1) }

// read reads what was added to the file since the last time, or all of it when
// it is another file. replaced says that it was read from the start. fn gets
// each record. fs.ErrNotExist: there is none; errUIDList: it cannot be used.
func (l *uidlist) read(dir durable.Dir, fn func(uidRecord) error) (replaced bool, err error) {
	if in, err := dir.Stat(uidlistFile); err == nil && l.parsed > 0 && in.Size == l.parsed && stampOf(in) == l.stamp {
		return false, nil
	}
	f, err := dir.Open(uidlistFile)
	if err != nil {
		return false, err
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return false, err
	}
	st := stampOf(in)
	if st.Dev == l.stamp.Dev && st.Ino == l.stamp.Ino && in.Size >= l.parsed && l.parsed > 0 {
		if st == l.stamp && in.Size == l.parsed {
			return false, nil
		}
		tail := *l
		if err := tail.scan(f, in.Size, fn); err == nil {
			tail.stamp = st
			*l = tail
			return false, nil
		} else if !errors.Is(err, errUIDList) {
			return false, err
		}
		// What looks broken from where we stopped may be whole from the start.
	}
	all := uidlist{}
	if err := all.scan(f, in.Size, fn); err != nil {
		return true, err
	}
	all.stamp = st
	*l = all
	return true, nil
}

// scan reads the whole lines from l.parsed on. size is what the file had a moment ago.
func (l *uidlist) scan(f io.ReaderAt, size int64, fn func(uidRecord) error) error {
	s := uidScanner{version: 3, last: l.last}
	if l.parsed > 0 {
		s.version = l.header.version
	}
	// Mostly one line is new. Whatever size says, the longest line fits.
	buf := make([]byte, min(uidlistChunk, max(size-l.parsed, maxUIDListLine)+1))
	for {
		n, err := f.ReadAt(buf, l.parsed)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		data := buf[:n]
		skipped := 0
		if l.parsed == 0 {
			if skipped, err = l.scanHeader(data); err != nil {
				return err
			}
			s.version = l.header.version
		}
		used, err := s.scan(data[skipped:], func(r uidRecord) error {
			l.lines++
			return fn(r)
		})
		l.last = s.last
		l.parsed += int64(skipped + used)
		switch {
		case err != nil:
			return err
		case skipped+used == 0 && n == len(buf):
			return fmt.Errorf("%w: endless line", errUIDList)
		case skipped+used == 0 || n < len(buf):
			return nil
		}
	}
}

func (l *uidlist) scanHeader(data []byte) (int, error) {
	for i, c := range data {
		if c == '\n' {
			var err error
			l.header, err = parseUIDHeader(string(data[:i]))
			return i + 1, err
		}
		if i > maxUIDListLine {
			break
		}
	}
	return 0, fmt.Errorf("%w: no header", errUIDList)
}

// add appends records and makes them durable, together with what sync makes so;
// nil is nothing. The caller holds the dot lock and has read the file's tail since
// it took it.
func (l *uidlist) add(dir durable.Dir, records []uidRecord, perm fs.FileMode, sync func() error) error {
	if sync == nil {
		sync = func() error { return nil }
	}
	if len(records) == 0 {
		return sync()
	}
	if l.stamp.Size != l.parsed {
		// A torn last line, of no complete record: it is closed by a rewrite,
		// as a line end alone would make a record of the half.
		if err := l.rewrite(dir, func(uidRecord) (uidRecord, bool) { return uidRecord{}, true }, perm); err != nil {
			return err
		}
	}
	var b []byte
	for _, r := range records {
		b = r.appendTo(b)
	}
	if err := l.append(dir, b, perm, sync); err != nil {
		return fmt.Errorf("append to uidlist: %w", err)
	}
	l.lines += len(records)
	l.last = records[len(records)-1].uid
	return nil
}

// append is add for whole lines behind what was parsed.
func (l *uidlist) append(dir durable.Dir, lines []byte, perm fs.FileMode, sync func() error) error {
	f, err := dir.Append(uidlistFile, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	if in, err := f.Stat(); err != nil {
		return err
	} else if in.Ino != l.stamp.Ino || in.Size != l.parsed {
		return errUIDListChanged
	}
	if _, err := f.Write(lines); err != nil {
		// What was written of the lines must not stay: half of it would be
		// a line with another meaning.
		_ = f.Truncate(l.parsed)
		return err
	}
	if err := durable.SyncTogether(f, sync); err != nil {
		return err
	}
	in, err := f.Stat()
	l.stamp, l.parsed = stampOf(in), l.parsed+int64(len(lines))
	return err
}

// rewrite writes the file anew: with the header as it is in l and N brought up to
// date, and each old record as edit returns it; keep=false drops it, a zero
// record with keep stands for the old one. The caller holds the dot lock and has
// read the tail.
func (l *uidlist) rewrite(dir durable.Dir, edit func(uidRecord) (r uidRecord, keep bool), perm fs.FileMode) error {
	h := l.header
	h.version, h.next = 3, l.next()
	_ = dir.Remove(uidlistTemp)
	out, err := dir.Create(uidlistTemp, perm)
	if err != nil {
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	w := lineWriter{out: out}
	w.write([]byte(h.String()))
	fresh := uidlist{header: h}
	old, err := dir.Open(uidlistFile)
	if err == nil {
		copied := uidlist{}
		err = copied.scan(old, uidlistChunk, func(r uidRecord) error {
			n, keep := edit(r)
			if !keep {
				return nil
			}
			if n.uid == 0 {
				n = r
			}
			fresh.lines++
			fresh.last = n.uid
			return w.write(n.appendTo(nil))
		})
		old.Close()
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = w.flush()
	}
	return l.replace(dir, out, fresh, w.written, err)
}

// replace makes the file that was written the uidlist: fsync, rename, fsync of
// the folder.
func (l *uidlist) replace(dir durable.Dir, out durable.File, fresh uidlist, size int64, err error) error {
	var in durable.Info
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Replace(uidlistTemp, uidlistFile)
	}
	if err != nil {
		_ = dir.Remove(uidlistTemp)
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	if in, err = dir.Stat(uidlistFile); err != nil {
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	fresh.stamp, fresh.parsed = stampOf(in), size
	*l = fresh
	return nil
}

// create writes a uidlist from records alone.
func (l *uidlist) create(dir durable.Dir, h uidHeader, records func(write func(uidRecord) error) error, perm fs.FileMode) error {
	h.version = 3
	_ = dir.Remove(uidlistTemp)
	out, err := dir.Create(uidlistTemp, perm)
	if err != nil {
		return fmt.Errorf("create uidlist: %w", err)
	}
	w := lineWriter{out: out}
	w.write([]byte(h.String()))
	fresh := uidlist{header: h}
	err = records(func(r uidRecord) error {
		fresh.lines++
		fresh.last = r.uid
		return w.write(r.appendTo(nil))
	})
	if err == nil {
		err = w.flush()
	}
	return l.replace(dir, out, fresh, w.written, err)
}

// lineWriter gathers lines into large writes and keeps the first error.
type lineWriter struct {
	out     io.Writer
	buf     []byte
	written int64
	err     error
}

func (w *lineWriter) write(line []byte) error {
	w.buf = append(w.buf, line...)
	if len(w.buf) >= uidlistChunk {
		return w.flush()
	}
	return w.err
}

func (w *lineWriter) flush() error {
	if w.err == nil {
		var n int
		n, w.err = w.out.Write(w.buf)
		w.written += int64(n)
	}
	w.buf = w.buf[:0]
	return w.err
}
