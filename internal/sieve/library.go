package sieve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"buzon/internal/durable"
)

// Limits of one user's scripts.
const (
	MaxScripts = 32
	MaxStored  = 1 << 20 // bytes of all of them
	maxTitle   = 128     // bytes of a script's name; RFC 5804 1.6 wants 128 characters at the most
)

// What callers of Library branch on.
var (
	ErrNoScript = errors.New("there is no such script")
	ErrExists   = errors.New("there is a script of this name")
	ErrActive   = errors.New("the active script cannot be deleted")
	ErrQuota    = errors.New("there is no room for this script")
	ErrTitle    = errors.New("a script cannot have this name")
)

const (
	suffix     = ".sieve"
	activeName = "active" // holds the name of the active script
)

// Library keeps the scripts of every user, as files that a person can read
// and edit, beside the user's Maildir:
//
//	<mail>/<domain>/<user>/sieve/<name>.sieve
//	<mail>/<domain>/<user>/sieve/active        the name of the one that runs
//	<mail>/<domain>/<user>/sieve/known         see Remember
//
// It is safe for concurrent use.
type Library struct {
	mail *os.Root
	dir  durable.Dir // mail, too

	mu       sync.Mutex // held while files are changed
	compiled map[string]compiledScript
}

type compiledScript struct {
	name   string
	file   fs.FileInfo
	script *Script
}

// OpenLibrary opens the scripts below mail, a directory that exists.
func OpenLibrary(mail string) (*Library, error) {
	root, err := os.OpenRoot(mail)
	if err != nil {
		return nil, err
	}
	dir, err := durable.OpenRoot(root)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Library{mail: root, dir: dir, compiled: map[string]compiledScript{}}, nil
}

// Close gives the directory back.
func (l *Library) Close() error { return errors.Join(l.dir.Close(), l.mail.Close()) }

// Entry is a script in a list.
type Entry struct {
	Name   string
	Active bool
	Size   int64
}

// folder is where the scripts of a user, as "ana@buzon.test", are.
func folder(user string) string {
	i := strings.LastIndexByte(user, '@')
	return path.Join(user[i+1:], user[:max(i, 0)], "sieve")
}

// List returns a user's scripts by name.
func (l *Library) List(user string) ([]Entry, error) {
	dir, err := l.mail.OpenRoot(folder(user))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	return list(dir)
}

func list(dir *os.Root) (entries []Entry, err error) {
	active, err := readActive(dir)
	if err != nil {
		return nil, err
	}
	files, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		info, err := f.Info()
		if ok && err == nil && info.Mode().IsRegular() && checkTitle(name) == nil {
			entries = append(entries, Entry{Name: name, Active: name == active, Size: info.Size()})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func readActive(dir *os.Root) (string, error) {
	b, err := readLimited(dir, activeName, maxTitle+2)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

func readLimited(dir *os.Root, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return b, err
}

// checkTitle allows what RFC 5804 1.6 does, as far as it can be the name of a
// file.
func checkTitle(name string) error {
	if name == "" || len(name) > maxTitle || !utf8.ValidString(name) || name[0] == '.' ||
		strings.ContainsFunc(name, func(c rune) bool { return c == '/' || unicode.IsControl(c) || c == '\u2028' || c == '\u2029' }) {
		return ErrTitle
	}
	return nil
}

// Get returns the source of a script.
func (l *Library) Get(user, name string) ([]byte, error) {
	if checkTitle(name) != nil {
		return nil, ErrNoScript
	}
	b, err := readIn(l.mail, folder(user), name+suffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoScript
	}
	return b, err
}

func readIn(mail *os.Root, folder, name string) ([]byte, error) {
	dir, err := mail.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return readLimited(dir, name, MaxScript)
}

// change runs do with the user's folder, which is made where it is missing.
func (l *Library) change(user string, do func(dir *os.Root, entries []Entry) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := folder(user)
	if err := l.mail.MkdirAll(name, 0o700); err != nil {
		return err
	}
	dir, err := l.mail.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := durable.SyncDir(l.mail, path.Dir(name)); err != nil {
		return err
	}
	entries, err := list(dir)
	if err != nil {
		return err
	}
	return do(dir, entries)
}

func find(entries []Entry, name string) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

// room says whether a script of size bytes may be put beside entries.
func room(entries []Entry, name string, size int64) error {
	others, stored := 0, size
	for _, e := range entries {
		if e.Name != name {
			others++
			stored += e.Size
		}
	}
	if others >= MaxScripts || size > MaxScript || stored > MaxStored {
		return ErrQuota
	}
	return nil
}

// HaveSpace returns ErrQuota when a script of that many bytes could not be
// put under name (RFC 5804 2.5).
func (l *Library) HaveSpace(user, name string, size int64) error {
	if err := checkTitle(name); err != nil {
		return err
	}
	entries, err := l.List(user)
	if err != nil {
		return err
	}
	return room(entries, name, size)
}

// Put stores a script under a name, in place of what had it. It is durable
// then. A script that does not compile is refused with its *Error.
func (l *Library) Put(user, name string, source []byte) error {
	if err := checkTitle(name); err != nil {
		return err
	}
	if _, err := Compile(source); err != nil {
		return err
	}
	return l.change(user, func(dir *os.Root, entries []Entry) error {
		if err := room(entries, name, int64(len(source))); err != nil {
			return err
		}
		return durable.WriteFile(dir, name+suffix, source, 0o600)
	})
}

// Activate makes a script the one that runs; "" means that none does.
func (l *Library) Activate(user, name string) error {
	return l.change(user, func(dir *os.Root, entries []Entry) error {
		if name == "" {
			if err := dir.Remove(activeName); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return durable.SyncDir(dir, ".")
		}
		if _, ok := find(entries, name); !ok {
			return ErrNoScript
		}
		return durable.WriteFile(dir, activeName, []byte(name+"\n"), 0o600)
	})
}

// Delete removes a script that is not active.
func (l *Library) Delete(user, name string) error {
	return l.change(user, func(dir *os.Root, entries []Entry) error {
		switch e, ok := find(entries, name); {
		case !ok:
			return ErrNoScript
		case e.Active:
			return ErrActive
		}
		if err := dir.Remove(name + suffix); err != nil {
			return err
		}
		return durable.SyncDir(dir, ".")
	})
}

// Rename gives a script another name. The active one stays active.
func (l *Library) Rename(user, from, to string) error {
	if err := checkTitle(to); err != nil {
		return err
	}
	return l.change(user, func(dir *os.Root, entries []Entry) error {
		e, ok := find(entries, from)
		if !ok {
			return ErrNoScript
		}
		if _, taken := find(entries, to); taken {
			return ErrExists
		}
		if e.Active {
			// For a moment both names are good, so that no crash leaves the user
			// without a filter.
			if err := dir.Link(from+suffix, to+suffix); err != nil {
				return err
			}
			if err := durable.WriteFile(dir, activeName, []byte(to+"\n"), 0o600); err != nil {
				return err
			}
			if err := dir.Remove(from + suffix); err != nil {
				return err
			}
		} else if err := dir.Rename(from+suffix, to+suffix); err != nil {
			return err
		}
		return durable.SyncDir(dir, ".")
	})
}

// Active returns the script that runs for a user's mail, nil where there is
// none. It is compiled again only when its file has changed.
func (l *Library) Active(user string) (*Script, error) {
	where := folder(user)
	if durable.Missing(l.dir, where) { // as with most users, at each delivery
		return nil, nil
	}
	dir, err := l.mail.OpenRoot(where)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	name, err := readActive(dir)
	if err != nil || name == "" {
		return nil, err
	}
	if err := checkTitle(name); err != nil {
		return nil, fmt.Errorf("the active script %q: %w", name, err)
	}
	info, err := dir.Stat(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("the active script: %w", err)
	}
	l.mu.Lock()
	known, ok := l.compiled[user]
	l.mu.Unlock()
	if ok && known.name == name && os.SameFile(known.file, info) && known.file.Size() == info.Size() && known.file.ModTime().Equal(info.ModTime()) {
		return known.script, nil
	}
	source, err := readLimited(dir, name+suffix, MaxScript)
	if err != nil {
		return nil, fmt.Errorf("the active script: %w", err)
	}
	script, err := Compile(source)
	if err != nil {
		return nil, fmt.Errorf("the active script %q: %w", name, err)
	}
	l.mu.Lock()
	l.compiled[user] = compiledScript{name: name, file: info, script: script}
	l.mu.Unlock()
	return script, nil
}
