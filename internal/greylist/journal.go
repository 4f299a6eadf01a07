package greylist

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"buzon/internal/durable"
)

const (
	flushEvery = 10 * time.Second
	// maxPending bounds the changes that wait to be written, in octets; with
	// more of them the whole file is written anew.
	maxPending = 1 << 20
	// slack is how many lines beyond twice the entries a file may have.
	slack = 10_000
)

// journal is the file: a line "key first last passes" for each change, the last
// one of a key counts. Nobody waits for it, and nothing is lost with it that
// senders do not make good by coming again.
type journal struct {
	path    string
	lines   int    // in the file
	pending []byte // changes that are not in it yet
	count   int    // of these
	anew    bool   // pending is not all of them
}

// note remembers a change until it is written.
func (j *journal) note(key uint64, e entry) {
	switch {
	case j.path == "" || j.anew:
		return
	case len(j.pending) > maxPending:
		j.pending, j.count, j.anew = nil, 0, true
		return
	}
	j.pending = appendLine(j.pending, key, e)
	j.count++
}

func appendLine(dst []byte, key uint64, e entry) []byte {
	return fmt.Appendf(dst, "%016x %d %d %d\n", key, e.first, e.last, e.passes)
}

// parseLine reads what appendLine writes, and nothing else.
func parseLine(line string) (key uint64, e entry, ok bool) {
	n, err := fmt.Sscanf(line, "%016x %d %d %d", &key, &e.first, &e.last, &e.passes)
	if err != nil || n != 4 || e.first < 0 || e.last < e.first || e.passes < 0 {
		return 0, entry{}, false
	}
	return key, e, string(appendLine(nil, key, e)) == line+"\n"
}

// load reads the file.
func (l *List) load() error {
	if l.file.path == "" {
		return nil
	}
	f, err := os.Open(l.file.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now().Unix()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		l.file.lines++
		key, e, ok := parseLine(lines.Text())
		// A clock that was wrong must not make entries that never end.
		if ok && e.last <= now+seconds(l.cfg.Remember) && l.alive(e, now) && (len(l.entries) < maxEntries || l.entries[key] != entry{}) {
			l.entries[key] = e
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	return nil
}

// Flush writes what has changed.
func (l *List) Flush() error {
	l.mu.Lock()
	if l.file.path == "" || l.file.count == 0 && !l.file.anew {
		l.mu.Unlock()
		return nil
	}
	text, lines := l.file.pending, l.file.lines+l.file.count
	anew := l.file.anew || lines > 2*len(l.entries)+slack
	if anew {
		text, lines = l.snapshot()
	}
	l.file.pending, l.file.count, l.file.anew = nil, 0, false
	l.mu.Unlock()

	err := l.write(text, anew)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.lines = lines
	l.file.anew = l.file.anew || err != nil // what is in the file now nobody knows
	return err
}

// snapshot is the whole memory as lines.
func (l *List) snapshot() (text []byte, lines int) {
	now := time.Now().Unix()
	for key, e := range l.entries {
		if l.alive(e, now) {
			text = appendLine(text, key, e)
			lines++
		} else {
			delete(l.entries, key)
		}
	}
	return text, lines
}

func (l *List) write(text []byte, anew bool) error {
	if anew {
		return durable.WriteFileAt(l.file.path, text, 0o600)
	}
	f, err := os.OpenFile(l.file.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// Close writes what has changed last.
func (l *List) Close() error {
	err := l.Flush()
	if err != nil {
		err = fmt.Errorf("greylist: %s: %w", strings.TrimSpace(l.file.path), err)
	}
	return err
}
