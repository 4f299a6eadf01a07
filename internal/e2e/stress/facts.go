package stress

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
)

// message is one message for ever (RFC 9051 2.3.1.1).
type message struct {
	box           string
	validity, uid uint32
}

// change is one state of a message's flags (RFC 7162 3).
type change struct {
	message
	modseq uint64
}

// facts are what holds for all sessions at once.
type facts struct {
	mu         sync.Mutex
	content    map[message][sha256.Size]byte
	recent     map[message]int   // the session that was shown \Recent
	flags      map[change]string // without \Recent
	next       map[string]uint32 // UIDNEXT by mailbox
	highest    map[string]uint64 // HIGHESTMODSEQ by mailbox
	violations []string
}

func newFacts() facts {
	return facts{
		content: map[message][sha256.Size]byte{}, recent: map[message]int{}, flags: map[change]string{},
		next: map[string]uint32{}, highest: map[string]uint64{},
	}
}

func (f *facts) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.violations) > 0
}

func (f *facts) violate(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

// hasContent remembers a message's content; it must not change.
func (f *facts) hasContent(m message, content string) error {
	sum := sha256.Sum256([]byte(content))
	f.mu.Lock()
	defer f.mu.Unlock()
	if before, ok := f.content[m]; ok && before != sum {
		return violation("the content of %s %d is not what it was", m.box, m.uid)
	}
	f.content[m] = sum
	return nil
}

// copied says that two messages have the same content.
func (f *facts) copied(from, to message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum, ok := f.content[from]
	if !ok {
		return nil
	}
	if other, ok := f.content[to]; ok && other != sum {
		return violation("%s %d is not the copy of %s %d that COPYUID calls it", to.box, to.uid, from.box, from.uid)
	}
	f.content[to] = sum
	return nil
}

// isRecent says that a session was shown \Recent. No other may be (RFC 3501 2.3.2).
func (f *facts) isRecent(m message, session int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, ok := f.recent[m]; ok && other != session {
		return violation("%s %d is \\Recent in two sessions", m.box, m.uid)
	}
	f.recent[m] = session
	return nil
}

// hasFlags says that a message had these flags at a MODSEQ: it can have no others there.
func (f *facts) hasFlags(c change, flags string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before, ok := f.flags[c]; ok && before != flags {
		return violation("%s %d has the flags (%s) at MODSEQ %d, and had (%s)", c.box, c.uid, flags, c.modseq, before)
	}
	f.flags[c] = flags
	return nil
}

// seen returns the greatest UIDNEXT and HIGHESTMODSEQ so far: a later answer must not be less.
func (f *facts) seen(box string) (next uint32, highest uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next[box], f.highest[box]
}

func (f *facts) raise(box string, next uint32, highest uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next[box] = max(f.next[box], next)
	f.highest[box] = max(f.highest[box], highest)
}

// violationError is something that the server must not do.
type violationError string

func (v violationError) Error() string { return string(v) }

func violation(format string, args ...any) error {
	return violationError(fmt.Sprintf(format, args...))
}

// report keeps what went wrong, with the end of the dialogue.
func (s *session) report(err error) {
	s.facts.violate("session %d (%s): %v\n\t%s", s.number, s.view.box, err, strings.Join(s.conn.last(), "\n\t"))
}
