// Package ledger shows whether a mail host loses what it acknowledged. Writers
// hand messages to the host and note each one that was answered with 250 or OK
// in a Ledger, which lives outside the host's crash domain. Whatever was done to
// the host meanwhile, afterwards every noted message must be there, and whole.
//
// The package knows the host by its protocols and its Maildir trees only.
package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// An Entry is one acknowledged message.
type Entry struct {
	ID      string // Message-ID, without angle brackets; unique in the ledger
	Account string // whose mailbox must hold it, "ana@a.test"
	Mailbox string // IMAP name of the mailbox
	Sum     string // SHA-256 of the body as sent, in hexadecimal
	// Queued: the host delivers it after its answer, from a queue, and again when
	// it died in between.
	Queued bool `json:",omitempty"`
}

// A Ledger holds the entries of one run, in a file of one JSON object per line, and
// in memory the fates of the messages that keepers look after. It is safe for
// concurrent use.
type Ledger struct {
	mu      sync.Mutex
	file    *os.File
	entries []Entry
	grown   chan struct{} // closed and replaced when something was acknowledged

	fates      map[string]*Fate // by ID
	uids       map[told]string  // what clients were told of each UID
	gone       map[told]bool    // UIDs that were told to be gone
	operations int
}

// Open reads the ledger at path, or begins it.
func Open(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{file: file, grown: make(chan struct{}), fates: map[string]*Fate{}, uids: map[told]string{}, gone: map[told]bool{}}
	lines := json.NewDecoder(bufio.NewReader(file))
	for {
		var e Entry
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("read ledger %s: %w", path, err)
		}
		l.entries = append(l.entries, e)
	}
}

// Record notes one acknowledged message.
func (l *Ledger) Record(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	l.entries = append(l.entries, e)
	l.wake()
	return nil
}

// wake tells those who wait for more. The lock is held.
func (l *Ledger) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// Len tells how much was acknowledged, messages and operations, and gives a channel
// that is closed as soon as there is more.
func (l *Ledger) Len() (n int, grown <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries) + l.operations, l.grown
}

// Entries returns what is noted so far. The caller must not change it.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}

// Close ends the ledger. Its file stays.
func (l *Ledger) Close() error {
	err := l.file.Close()
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}
