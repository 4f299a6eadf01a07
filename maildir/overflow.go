package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// Keywords without a letter are kept in dovecot-keywords-more, beside the
// uidlist, as text:
//
//	<base> SP <keyword> (SP <keyword>)* LF
//
// The last line of a base counts; a line without keywords takes them away. It is
// appended to under the folder's lock, synced before a change is answered, and
// rewritten when most of its lines are history.
//
// The index has these keywords, too, and is a second behind after a power cut: what
// the file says of a base is so, and only where it says nothing the index is asked.
const (
	overflowFile = "dovecot-keywords-more"
	// maxOverflowFile bounds what is read: a million messages' worth of lines.
	maxOverflowFile = 512 << 20
)

// parseOverflow calls fn for every whole line. The keywords are valid ones only.
func parseOverflow(data []byte, fn func(base string, keywords []string)) {
	for line := range bytes.Lines(data) {
		if line[len(line)-1] != '\n' {
			return // a write that was cut
		}
		fields := strings.Split(string(line[:len(line)-1]), " ")
		if fields[0] == "" {
			continue
		}
		var keywords []string
		for _, k := range fields[1:] {
			if validKeyword(k) {
				keywords = append(keywords, k)
			}
		}
		fn(fields[0], keywords)
	}
}

// appendOverflow appends the line of one message. A base with a space in it
// cannot stand there; the caller keeps such keywords in the index alone.
func appendOverflow(b []byte, base string, keywords []string) []byte {
	if strings.ContainsAny(base, " \r\n") {
		return b
	}
	b = append(b, base...)
	for _, k := range keywords {
		b = append(append(b, ' '), k...)
	}
	return append(b, '\n')
}

// readOverflow returns what the file says of each base, and of how many lines it is.
// A missing file is an empty one.
func readOverflow(dir durable.Dir) (byBase map[string][]string, lines int, err error) {
	data, _, err := readSmallFile(dir, overflowFile, maxOverflowFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	byBase = map[string][]string{}
	parseOverflow(data, func(base string, keywords []string) {
		byBase[base] = keywords
		lines++
	})
	return byBase, lines, nil
}

// believeOverflow gives messages the keywords that the file has for them, where a
// crash took those from the index. The caller holds the lock.
func (m *Mailbox) believeOverflow() {
	d := m.draft()
	modseq := m.nextModSeq()
	for _, base := range slices.Sorted(maps.Keys(m.overflow)) {
		sl, known := m.names.find(m.State(), []byte(base))
		if !known {
			continue
		}
		i, _ := d.rowOf(sl)
		set := m.overflowSet(d, m.overflow[base])
		d.set(i, d.blocks[sl.block()].where[sl.row()], set, modseq)
	}
	if len(d.touched) > 0 || d.keywordsChanged {
		m.publish(d)
	}
}

// moveOverflow writes lines for messages that have another base now, and for those
// that are gone: their base may come back as another message's. Should it fail, the
// index still knows.
func (m *Mailbox) moveOverflow(d *draft) {
	if len(d.before.keywords) <= letterKeywords || len(d.rebased)+len(d.gone) == 0 {
		return
	}
	var lines []byte
	for _, uid := range slices.Concat(d.gone, d.rebased) {
		i, ok := d.before.Find(uid)
		if !ok {
			continue
		}
		base, keywords := d.before.overflowOf(i)
		if len(keywords) == 0 {
			continue
		}
		lines = appendOverflow(lines, base, nil)
		m.setOverflow(base, nil)
		if j, ok := d.Find(uid); ok {
			base, keywords = d.overflowOf(j)
			lines = appendOverflow(lines, base, keywords)
			m.setOverflow(base, keywords)
		}
	}
	if len(lines) == 0 {
		return
	}
	if _, err := appendLines(m.dir.folder, overflowFile, lines, m.user.filePerm); err != nil {
		m.log("keywords stay under a name that is gone", "err", err)
	}
}

// overflowOf returns the base of row i and its keywords without a letter.
func (s *State) overflowOf(i int) (base string, keywords []string) {
	sl := s.slot(i)
	b := s.blocks[sl.block()]
	name, _ := b.name(sl.row())
	return string(name), s.keywords.names(b.keywords[sl.row()] &^ letterMask)
}

// compactOverflow writes the file again when most of its lines are history. The
// caller holds the lock.
func (m *Mailbox) compactOverflow(lines int) {
	live := 0
	for _, keywords := range m.overflow {
		if len(keywords) > 0 {
			live++
		}
	}
	if lines < 2*live+overflowHistory {
		return
	}
	// What the file no longer says, the index must.
	if err := m.index.Load().syncLog(); err != nil {
		return
	}
	var text []byte
	for _, base := range slices.Sorted(maps.Keys(m.overflow)) {
		if _, known := m.names.find(m.State(), []byte(base)); known && len(m.overflow[base]) > 0 {
			text = appendOverflow(text, base, m.overflow[base])
		} else {
			delete(m.overflow, base)
		}
	}
	if err := durable.WriteFileIn(m.dir.folder, overflowFile, text, m.user.filePerm); err != nil {
		m.log("keywords not written again", "err", err)
	}
}

// overflowHistory is how many lines of history are worth another file.
const overflowHistory = 1000

// appendLines appends whole lines to a text file of the folder and makes them
// durable. A last line without its end, left by a crash, gets one first, so that
// ours does not become its rest.
func appendLines(dir durable.Dir, name string, lines []byte, perm fs.FileMode) (st fileStamp, err error) {
	_, statErr := dir.Stat(name)
	f, err := dir.Append(name, perm)
	if err != nil {
		return fileStamp{}, err
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return fileStamp{}, err
	}
	if in.Size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], in.Size-1); err != nil && !errors.Is(err, io.EOF) {
			return fileStamp{}, err
		}
		if last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := f.Write(lines); err != nil {
		// What was written of the lines must not stay: half of it would be
		// a line with another meaning.
		_ = f.Truncate(in.Size)
		return fileStamp{}, err
	}
	if err := f.Sync(); err != nil {
		return fileStamp{}, fmt.Errorf("%s: %w", name, err)
	}
	if in, err = f.Stat(); err != nil {
		return fileStamp{}, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		err = dir.Sync()
	}
	return stampOf(in), err
}
