package migrate

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"buzon/internal/durable"
)

// Ledger knows which messages of a source have been copied. It is a file with a
// line before each message is copied, durable before the message is sent, and
// another one after it has arrived:
//
//	begin "Archive" 17.42 "Archive" 1795321603 12 9f86d081…
//	done "Archive" 17.42
//
// that is, the source's mailbox and key; and the account's mailbox, its
// UIDVALIDITY, the least UID that the message can get there, and its SHA-256. What
// was begun and is not done is looked for there before anything else is copied.
// A Ledger is for one goroutine.
type Ledger struct {
	file   *os.File
	unlock func() error
	has    map[string]bool
	begun  map[string]attempt
	order  []string // of begun
}

// attempt is a message that is being copied.
type attempt struct {
	box, key string
	to       string
	validity uint32
	next     uint32
	sum      string
}

// OpenLedger opens the ledger at path, which is made where it is missing, for
// this process alone: the error is durable.ErrLocked while another one has it.
func OpenLedger(path string) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &Ledger{unlock: unlock, has: make(map[string]bool), begun: make(map[string]attempt)}
	if err := l.load(path); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return l, nil
}

// load reads the lines. What a crash has left of the last one is cut off.
func (l *Ledger) load(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	for line := range bytes.Lines(whole) {
		var word string
		var a attempt
		n, err := fmt.Sscanf(string(line), "%s %q %s %q %d %d %s", &word, &a.box, &a.key, &a.to, &a.validity, &a.next, &a.sum)
		switch id := a.box + "\x00" + a.key; {
		case word == "begin" && n == 7:
			l.begun[id] = a
			l.order = append(l.order, id)
		case word == "done" && n == 3:
			l.has[id] = true
			delete(l.begun, id)
		default:
			return fmt.Errorf("%s: %q is not a line of a ledger: %v", path, line, err)
		}
	}
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := l.file.Truncate(int64(len(whole))); err != nil {
		return err
	}
	if _, err := l.file.Seek(0, 2); err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return durable.SyncDir(dir, ".")
}

// Has reports whether a message was copied.
func (l *Ledger) Has(box, key string) bool { return l.has[box+"\x00"+key] }

// pending are the messages that an earlier run had begun to copy.
func (l *Ledger) pending() (list []attempt) {
	for _, id := range l.order {
		if a, ok := l.begun[id]; ok {
			list = append(list, a)
		}
	}
	return list
}

func (l *Ledger) begin(a attempt) error {
	_, err := fmt.Fprintf(l.file, "begin %s %s %s %d %d %s\n", strconv.Quote(a.box), a.key, strconv.Quote(a.to), a.validity, a.next, a.sum)
	if err != nil {
		return err
	}
	return l.file.Sync()
}

// done needs no sync: what is lost of it is found again by its begin.
func (l *Ledger) done(box, key string) error {
	l.has[box+"\x00"+key] = true
	_, err := fmt.Fprintf(l.file, "done %s %s\n", strconv.Quote(box), key)
	return err
}

// Close gives the ledger back.
func (l *Ledger) Close() error { return errors.Join(l.file.Close(), l.unlock()) }

func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// crlf gives lines the ends that mail has on the wire.
func crlf(text []byte) []byte {
	if !bytes.Contains(text, []byte("\n")) {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/32)
	lines := bufio.NewReader(bytes.NewReader(text))
	for {
		line, err := lines.ReadBytes('\n')
		if end := len(line) - 1; end >= 0 && line[end] == '\n' && (end == 0 || line[end-1] != '\r') {
			line = append(line[:end], '\r', '\n')
		}
		out = append(out, line...)
		if err != nil {
			return out
		}
	}
}
