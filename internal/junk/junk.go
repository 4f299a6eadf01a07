// Package junk learns from what people call junk and what they do not, and says
// of a new message which of the two it looks like: one memory for each account,
// kept in one file that may be lost without harm.
//
// It counts in how many messages of either kind a word was, and combines what the
// words say as Robinson and Fisher do (score.go). It knows no mailbox: what becomes
// a lesson is the business of package lessons.
package junk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"

	"buzon/internal/durable"
)

const (
	defaultMinimum = 50 // of either kind: with fewer, one odd message would decide
	maxOpen        = 16 // memories that are held, of some 3 MB each at most
)

// Config is what a Library is made of.
type Config struct {
	Dir     string // <Dir>/<domain>/<user> is an account's memory; made where it is missing
	Minimum int    // messages of either kind before a verdict is given; default 50
	Log     *slog.Logger
}

// Library has the memories of all accounts. It is safe for concurrent use.
type Library struct {
	cfg  Config
	root *os.Root

	mu   sync.Mutex
	open map[string]*holder
	tick uint64
}

// holder is a memory that is open.
type holder struct {
	mu     sync.Mutex // guards memory
	memory *Memory    // nil: not read yet

	users int    // guarded by Library.mu, as is the next
	used  uint64 // when, in ticks
}

// ErrName is the error of an account that cannot have a memory.
var ErrName = errors.New("no name of an account")

// Open opens the library.
func Open(cfg Config) (*Library, error) {
	if cfg.Minimum == 0 {
		cfg.Minimum = defaultMinimum
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &Library{cfg: cfg, root: root, open: map[string]*holder{}}, nil
}

// Close saves what was not saved.
func (l *Library) Close() error {
	l.mu.Lock()
	var ids []string
	for id := range l.open {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, l.Save(id))
	}
	return errors.Join(append(errs, l.root.Close())...)
}

// With calls f with the memory of an account, "ana@example.org". f must not keep
// it, and must not take long: a delivery may wait for the same memory.
func (l *Library) With(id string, f func(*Memory) error) error {
	name, err := fileName(id)
	if err != nil {
		return err
	}
	h := l.take(id)
	defer l.giveBack(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory == nil {
		if h.memory, err = l.read(name); err != nil {
			return err
		}
	}
	return f(h.memory)
}

// Save makes durable what the account's memory has learned.
func (l *Library) Save(id string) error {
	name, err := fileName(id)
	if err != nil {
		return err
	}
	return l.With(id, func(m *Memory) error {
		if !m.dirty {
			return nil
		}
		if err := l.root.MkdirAll(path.Dir(name), 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(l.root, name, m.encode(), 0o600); err != nil {
			return fmt.Errorf("save what is learned of %s: %w", id, err)
		}
		m.dirty = false
		return nil
	})
}

// Verdict is what an account's memory says of a message.
type Verdict struct {
	Known bool    // false: too little was learned to say anything
	Score float64 // from 0, like what the account keeps, to 1, like its junk
}

// Classify says how much a message looks like what the account calls junk.
func (l *Library) Classify(id string, content io.ReaderAt, size int64) (v Verdict, err error) {
	enough := false
	err = l.With(id, func(m *Memory) error {
		enough = m.good >= l.cfg.Minimum && m.junk >= l.cfg.Minimum
		return nil
	})
	if err != nil || !enough {
		return v, err
	}
	sample, err := Read(content, size)
	if err != nil {
		return v, err
	}
	err = l.With(id, func(m *Memory) error {
		v = Verdict{true, m.score(sample)}
		return nil
	})
	return v, err
}

// Filed has it remembered that a message, which nobody sees yet, is put into the
// junk mailbox by us: that it lies there is no lesson.
func (l *Library) Filed(id string, content io.ReaderAt, size int64) error {
	message, err := Identify(content, size)
	if err != nil {
		return err
	}
	return l.With(id, func(m *Memory) error {
		if m.Class(message) == Unknown {
			m.Learn(Sample{ID: message, Size: size}, Filed)
		}
		return nil
	})
}

// take holds a place for an account, and lets go of one that was not used for long.
func (l *Library) take(id string) *holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.open[id]
	if h == nil {
		l.dropOne()
		h = &holder{}
		l.open[id] = h
	}
	l.tick++
	h.users++
	h.used = l.tick
	return h
}

// dropOne makes room for one more, if it can: what is not saved stays.
func (l *Library) dropOne() {
	if len(l.open) < maxOpen {
		return
	}
	oldest := ""
	for id, h := range l.open {
		if h.users == 0 && (h.memory == nil || !h.memory.dirty) && (oldest == "" || h.used < l.open[oldest].used) {
			oldest = id
		}
	}
	delete(l.open, oldest)
}

func (l *Library) giveBack(h *holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.users--
}

// read reads a memory. A file that is damaged is as good as none.
func (l *Library) read(name string) (*Memory, error) {
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newMemory(), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(maxFile)+1))
	if err != nil {
		return nil, err
	}
	m, err := decode(data)
	if err != nil {
		l.cfg.Log.Warn("what was learned of junk is lost", "user", strings.TrimSuffix(name, suffix), "err", err)
		return newMemory(), nil
	}
	return m, nil
}

const suffix = ".learned"

// fileName is where an account's memory is, below Dir.
func fileName(id string) (string, error) {
	at := strings.LastIndexByte(id, '@')
	if at < 1 {
		return "", fmt.Errorf("%.100q: %w", id, ErrName)
	}
	user, domain := id[:at], id[at+1:]
	if !durable.ValidName(user) || !durable.ValidName(domain) || user[0] == '.' || domain[0] == '.' || len(user) > 200 {
		return "", fmt.Errorf("%.100q: %w", id, ErrName)
	}
	return domain + "/" + user + suffix, nil
}
