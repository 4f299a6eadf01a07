package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// readOverflow returns the keywords of each base that has any. A missing file is
// an empty one.
func readOverflow(dir durable.Dir) (map[string][]string, fileStamp, error) {
	data, st, err := readSmallFile(dir, overflowFile, maxOverflowFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fileStamp{}, nil
	}
	if err != nil {
		return nil, fileStamp{}, err
	}
	byBase := map[string][]string{}
	parseOverflow(data, func(base string, keywords []string) {
		if len(keywords) == 0 {
			delete(byBase, base)
		} else {
			byBase[base] = keywords
		}
	})
	return byBase, st, nil
}

// appendLines appends whole lines to a text file of the folder and makes them
// durable. A last line without its end, left by a crash, gets one first, so that
// ours does not become its rest; made says that the file is new.
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
