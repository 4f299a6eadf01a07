package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
)

// A folder's keywords are numbered. Numbers 0 to 25 are the letters a to z of
// the file names and stand in dovecot-keywords, in Dovecot's format:
//
//	<number> SP <name> LF
//
// A number is never given to another name: files may carry its letter. Numbers
// 26 to 63 have no letter; which message has them is in dovecot-keywords-more
// (overflow.go).
const (
	keywordsFile = "dovecot-keywords"
	// keywordsTemp is Dovecot's own name for the new file, so that it is a lock, too.
	keywordsTemp = keywordsFile + ".lock"
	// maxKeywordLen bounds a keyword's name. Dovecot allows 50 by default,
	// Gmail labels as keywords are longer.
	maxKeywordLen = 200
	// maxKeywordsFile is far beyond 26 names of maxKeywordLen.
	maxKeywordsFile = 64 << 10
)

// keywordTable is the numbered list, "" for gaps. It is copied before a change:
// States share it.
type keywordTable []string

// parseKeywords reads dovecot-keywords. Lines that are not a number and a name,
// numbers out of range and a name's second number are skipped, as Dovecot does.
func parseKeywords(data []byte) keywordTable {
	var t keywordTable
	for line := range bytes.Lines(data) {
		num, name, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		n, err := strconv.Atoi(num)
		if !ok || err != nil || n < 0 || n >= letterKeywords || !validKeyword(name) || t.find(name) >= 0 {
			continue
		}
		t = t.set(n, name)
	}
	return t
}

// format writes the letters' part of the table as dovecot-keywords has it.
func (t keywordTable) format() []byte {
	var b []byte
	for i, name := range t[:min(len(t), letterKeywords)] {
		if name != "" {
			b = strconv.AppendInt(b, int64(i), 10)
			b = append(append(append(b, ' '), name...), '\n')
		}
	}
	return b
}

func (t keywordTable) set(n int, name string) keywordTable {
	out := make(keywordTable, max(len(t), n+1))
	copy(out, t)
	out[n] = name
	return out
}

// find returns the number of a keyword, or -1. Keywords are compared without
// case (RFC 9051 2.3.2: flags are case-insensitive).
func (t keywordTable) find(name string) int {
	if name == "" {
		return -1
	}
	for i, k := range t {
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return i
		}
	}
	return -1
}

// named is the set of numbers that have a name.
func (t keywordTable) named() (set KeywordSet) {
	for i, k := range t {
		if k != "" {
			set |= 1 << i
		}
	}
	return set
}

// names returns the names of a set.
func (t keywordTable) names(set KeywordSet) []string {
	var out []string
	for i, k := range t {
		if k != "" && set&(1<<i) != 0 {
			out = append(out, k)
		}
	}
	return out
}

// validKeyword reports whether a name can stand in dovecot-keywords and on the
// wire: an atom (RFC 9051 9, flag-keyword).
func validKeyword(name string) bool {
	if name == "" || len(name) > maxKeywordLen {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// with returns the table with every name in it, and the set of their numbers.
// added says that names are new. ErrLimit: no number is left.
func (t keywordTable) with(names []string) (out keywordTable, set KeywordSet, added bool, err error) {
	out = t
	for _, name := range names {
		if !validKeyword(name) {
			return t, 0, false, fmt.Errorf("keyword %.40q: %w", name, ErrBadName)
		}
		n := out.find(name)
		if n < 0 {
			if n = out.free(); n < 0 {
				return t, 0, false, fmt.Errorf("keyword %.40q is one more than %d: %w", name, maxKeywords, ErrLimit)
			}
			out, added = out.set(n, name), true
		}
		set |= 1 << n
	}
	return out, set, added, nil
}

func (t keywordTable) free() int {
	for i, k := range t {
		if k == "" {
			return i
		}
	}
	if len(t) < maxKeywords {
		return len(t)
	}
	return -1
}

// readKeywords reads the folder's dovecot-keywords; a missing file is an empty
// table.
func readKeywords(dir durable.Dir) (keywordTable, fileStamp, error) {
	data, st, err := readSmallFile(dir, keywordsFile, maxKeywordsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fileStamp{}, nil
	}
	if err != nil {
		return nil, fileStamp{}, err
	}
	return parseKeywords(data), st, nil
}

// writeKeywords replaces dovecot-keywords, durably. The caller holds the uidlist
// lock. Dovecot compares the modification time in seconds: it must grow.
func writeKeywords(dir durable.Dir, t keywordTable, perm fs.FileMode, before fileStamp, now time.Time) error {
	_ = dir.Remove(keywordsTemp)
	f, err := dir.Create(keywordsTemp, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(t.format())
	if sec := before.Mtime / 1e9; err == nil && now.Unix() <= sec {
		err = f.SetTime(time.Unix(sec+1, 0))
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = dir.Replace(keywordsTemp, keywordsFile)
	}
	if err != nil {
		_ = dir.Remove(keywordsTemp)
		return err
	}
	return dir.Sync()
}

// fileStamp tells one version of a control file from another.
type fileStamp struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64
}

func stampOf(in durable.Info) fileStamp {
	return fileStamp{in.Dev, in.Ino, in.Size, in.Mtime, in.Ctime}
}

// readSmallFile reads a control file of at most limit bytes.
func readSmallFile(dir durable.Dir, name string, limit int64) ([]byte, fileStamp, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, fileStamp{}, err
	}
	defer f.Close()
	in, err := f.Stat()
	if err != nil {
		return nil, fileStamp{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return data, stampOf(in), err
}
