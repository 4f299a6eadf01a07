package account

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// snapshot is what the files said at one moment. It never changes.
type snapshot struct {
	separator string
	domains   domains
	files     map[string]*file // by path
	accounts  map[ID]*entry    // of the configured domains
	aliases   map[key]alias
	oldest    map[string]ID // the oldest account of each domain, and of all under ""

	problems []string // what cannot be used as it is
	warnings []string // what leads nowhere
}

// file is one account or alias file as it was last read.
type file struct {
	stamp   stamp
	problem string // why the newest contents do not count
	entry   *entry
	aliases map[key]alias
}

// stamp tells whether a file changed. A file changed again within the clock's
// grain keeps its time: until it is settled it is read again.
type stamp struct {
	mtime, ctime time.Time
	size         int64
	inode        uint64
	settled      bool
}

// settling is longer than the grain of any file system's clock.
const settling = 2 * time.Second

// maxFile bounds an account or alias file, in bytes: 20 000 aliases fit.
const maxFile = 1 << 20

// err is every problem of the snapshot, one a line.
func (s *snapshot) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(s.problems, "\n"))
}

// load reads what changed since old, which is nil at first. The error means
// that the files could not be looked at; nothing is to be concluded from that.
// The caller holds mu.
func (d *Directory) load(old *snapshot) (*snapshot, error) {
	s := &snapshot{
		separator: d.separator, domains: d.domains, files: make(map[string]*file),
		accounts: make(map[ID]*entry), aliases: make(map[key]alias), oldest: make(map[string]ID),
	}
	if old == nil {
		old = &snapshot{}
	}
	paths, err := d.paths()
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		f, err := d.read(p, old.files[p], !maps.Equal(old.domains, s.domains))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since we listed it
		}
		if err != nil {
			return nil, err
		}
		s.add(p, f)
	}
	s.check()
	return s, nil
}

// paths lists the files there are.
func (d *Directory) paths() ([]string, error) {
	var paths []string
	list := func(dir string, add func(fs.DirEntry)) error {
		entries, err := fs.ReadDir(d.root.FS(), dir)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				add(e)
			}
		}
		return err
	}
	toml := func(dir string) func(fs.DirEntry) {
		return func(e fs.DirEntry) {
			if strings.HasSuffix(e.Name(), ".toml") {
				paths = append(paths, dir+"/"+e.Name())
			}
		}
	}
	if err := list("aliases", toml("aliases")); err != nil {
		return nil, err
	}
	var dirs []string
	err := list("accounts", func(e fs.DirEntry) {
		if e.IsDir() {
			dirs = append(dirs, "accounts/"+e.Name())
		}
	})
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := list(dir, toml(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return paths, nil
}

// read returns the file at p: old itself when it did not change.
func (d *Directory) read(p string, old *file, domainsChanged bool) (*file, error) {
	info, err := d.root.Stat(p)
	if err != nil {
		return nil, err
	}
	now := stampOf(info)
	if old != nil && old.stamp == now && now.settled && !domainsChanged {
		return old, nil
	}
	f := &file{stamp: now}
	if old != nil { // stays in force unless the new contents are good
		f.entry, f.aliases = old.entry, old.aliases
	}
	data, err := d.readAll(p)
	if err == nil {
		err = d.parse(p, data, f)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case errors.Is(err, fs.ErrPermission):
		f.problem = d.full(p) + ": this user may not read it: give it the owner of the data directory"
	case err != nil:
		f.problem = err.Error()
	}
	return f, nil
}

// full is the path of a file as a person looks for it.
func (d *Directory) full(p string) string { return path.Join(d.root.Name(), p) }

func stampOf(info fs.FileInfo) stamp {
	s := stamp{mtime: info.ModTime(), ctime: info.ModTime(), size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.inode = time.Unix(st.Ctim.Unix()), st.Ino
	}
	s.settled = time.Since(s.ctime) > settling
	return s
}

func (d *Directory) readAll(p string) ([]byte, error) {
	f, err := d.root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", d.full(p), maxFile)
	}
	return data, err
}

// parse reads the contents of the file at p into f.
func (d *Directory) parse(p string, data []byte, f *file) error {
	if name, ok := strings.CutPrefix(p, "aliases/"); ok {
		aliases, err := parseAliases(d.full(p), strings.TrimSuffix(name, ".toml"), data, d.domains)
		if err == nil {
			f.aliases = aliases
		}
		return err
	}
	dir, name := path.Split(strings.TrimPrefix(p, "accounts/"))
	id := ID(strings.TrimSuffix(name, ".toml") + "@" + strings.TrimSuffix(dir, "/"))
	if err := checkName(id.User()); err != nil {
		return fmt.Errorf("%s: %w", d.full(p), err)
	}
	e, err := parseAccount(d.full(p), id, data)
	if err != nil {
		return err
	}
	// Sessions go on when nothing that they rest on has changed.
	if f.entry != nil && f.entry.phc == e.phc && f.entry.Disabled == e.Disabled && !revokes(f.entry, e) {
		e.Generation = f.entry.Generation
	} else {
		d.lastGen++
		e.Generation = d.lastGen
	}
	f.entry = e
	return nil
}

// revokes reports whether an app password of before is not in after.
func revokes(before, after *entry) bool {
	return slices.ContainsFunc(before.apps, func(p appPassword) bool {
		return !slices.ContainsFunc(after.apps, func(q appPassword) bool { return p.sum == q.sum })
	})
}

// add takes a file into the snapshot.
func (s *snapshot) add(p string, f *file) {
	s.files[p] = f
	if f.problem != "" {
		s.problems = append(s.problems, f.problem)
	}
	if e := f.entry; e != nil {
		if _, ours := s.domains[e.ID.Domain()]; ours {
			s.accounts[e.ID] = e
			s.older(e.ID.Domain(), e)
			s.older("", e)
		}
	}
	maps.Copy(s.aliases, f.aliases)
}

func (s *snapshot) older(of string, e *entry) {
	if o, ok := s.accounts[s.oldest[of]]; !ok || e.Created.Before(o.Created) ||
		e.Created.Equal(o.Created) && e.ID < o.ID {
		s.oldest[of] = e.ID
	}
}

// check looks at the aliases and domains as a whole.
func (s *snapshot) check() {
	c := climb{s: s, heights: make(map[key]int)}
	for _, name := range slices.Sorted(maps.Keys(s.aliases)) {
		a := s.aliases[name]
		if way := c.loop(name); way != nil {
			c.way = nil
			s.problems = append(s.problems, a.problem("the alias leads back to itself or goes too deep: %s", arrows(way)))
		}
		for _, member := range a.members {
			_, account := s.accounts[ID(member)]
			if !account && (member == name || !s.exists(member)) {
				s.warnings = append(s.warnings, a.problem("there is no %s", member))
			}
		}
	}
}
