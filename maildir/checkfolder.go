package maildir

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"strings"

	"buzon/internal/durable"
)

// folderCheck is the check of one mailbox.
type folderCheck struct {
	*treeCheck
	mailbox  string
	dir      durable.Dir
	keywords keywordTable

	bases   map[uint64]baseSight // by the hash of a base
	doubles map[string]bool      // bases of which two files were seen
	counts  fileCounts
	files   int
}

// baseSight says where a base was seen.
type baseSight uint8

const (
	inUIDList baseSight = 1 << iota
	inFiles
)

// sight notes that a base was seen, and returns where it had been seen before.
func (c *folderCheck) sight(base string, where baseSight) (before baseSight) {
	hash := maphash.String(nameSeed, base)
	before = c.bases[hash]
	c.bases[hash] = before | where
	return before
}

func (c *folderCheck) finding(file, format string, args ...any) Finding {
	return Finding{Mailbox: c.mailbox, File: file, Problem: fmt.Sprintf(format, args...)}
}

func (c *folderCheck) note(file, format string, args ...any) {
	f := c.finding(file, format, args...)
	f.Note = true
	c.tell(f)
}

func (c *folderCheck) run() error {
	c.bases, c.doubles = map[uint64]baseSight{}, map[string]bool{}
	if !c.directories() {
		return nil
	}
	c.leftovers()
	c.checkKeywords()
	if err := c.uidlist(); err != nil {
		return err
	}
	for _, sub := range []string{"new", "cur"} {
		if err := c.messages(sub); err != nil {
			return err
		}
	}
	c.tellCounts()
	if err := c.tellDoubles(); err != nil {
		return err
	}
	return c.litter()
}

// directories wants cur, new, tmp and the sign of a folder; false: it is something
// else that lies in the tree.
func (c *folderCheck) directories() bool {
	var missing []string
	signs := 0
	for _, name := range []string{"cur", "new", "tmp", "maildirfolder", uidlistFile} {
		in, err := c.dir.Stat(name)
		switch {
		case err == nil:
			signs++
		case errors.Is(err, fs.ErrNotExist) && name != uidlistFile && (name != "maildirfolder" || c.mailbox != inbox):
			missing = append(missing, name)
		}
		if err == nil && name != "maildirfolder" && name != uidlistFile {
			c.directory(name, in)
		}
	}
	if signs == 0 && c.mailbox != inbox {
		c.note("", "is no mailbox, only a directory of somebody else")
		return false
	}
	for _, name := range missing {
		f := c.finding(name, "is missing")
		f.Remedy = "make it"
		c.mend(f, func() error { return c.make(name) })
	}
	return true
}

func (c *folderCheck) directory(name string, in durable.Info) {
	switch {
	case !in.Mode.IsDir():
		c.tell(c.finding(name, "is no directory"))
	case in.UID != c.owner:
		c.tell(c.finding(name, "belongs to user %d, the tree to user %d", in.UID, c.owner))
	case in.Mode.Perm()&0o700 != 0o700:
		c.tell(c.finding(name, "its owner may not read, write and enter it: mode %04o", in.Mode.Perm()))
	}
}

func (c *folderCheck) make(name string) error {
	if name == "maildirfolder" {
		if err := durable.CreateFile(c.dir, name, nil, c.u.filePerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return c.dir.Sync()
	}
	d, err := openOrMake(c.dir, name, c.u.dirPerm)
	if err != nil {
		return err
	}
	return d.Close()
}

// leftovers looks for locks and half-written control files of crashed processes.
func (c *folderCheck) leftovers() {
	var names []string
	_ = c.dir.Scan(func(e durable.Entry) error {
		name := string(e.Name)
		switch {
		case name == uidlistLock, name == uidlistTemp, name == keywordsFile+".lock",
			strings.HasPrefix(name, uidlistLock+"."):
			names = append(names, name)
		case strings.HasPrefix(name, uidlistFile+".broken."):
			c.note(name, "is a damaged uidlist that was set aside; it can be removed")
		}
		return nil
	})
	for _, name := range names {
		if in, err := c.dir.Stat(name); err == nil && name == uidlistLock {
			c.lockFile()
		} else if err == nil && c.old(in, dotLockStale) {
			f := c.finding(name, "was left by a process that was stopped at work")
			f.Remedy = "remove it"
			c.mend(f, func() error { return c.underLock(func() error { return c.removeOld(name) }) })
		}
	}
}

// removeOld removes a control file's temporary while nobody can be writing it.
func (c *folderCheck) removeOld(name string) error {
	in, err := c.dir.Stat(name)
	if err != nil {
		return err
	}
	if !c.old(in, dotLockStale) || in.Mode.Type() != 0 {
		return fs.ErrNotExist
	}
	return c.dir.Remove(name)
}

func (c *folderCheck) lockFile() {
	l := c.u.store.dotLock()
	content, st, err := readSmallFile(c.dir, uidlistLock, 256)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.tell(c.finding(uidlistLock, "cannot be read: %v", err))
		return
	}
	in := durable.Info{Ctime: st.Ctime}
	if !l.holderIsDead(string(content)) && !l.isLeftover(st, len(content) == 0) && !c.old(in, dotLockStale) {
		return
	}
	f := c.finding(uidlistLock, "is the lock of %.60q, which is gone", content)
	f.Remedy = "remove it"
	c.mend(f, func() error { return c.underLock(func() error { return nil }) })
}

// underLock calls fn with the folder's lock, against the server and Dovecot.
func (c *folderCheck) underLock(fn func() error) error {
	release, err := c.u.store.dotLock().take(c.ctx, c.dir, c.u.filePerm)
	if err != nil {
		return err
	}
	defer release()
	return fn()
}

// checkKeywords reads the names of the letters, and tells of lines that are none.
func (c *folderCheck) checkKeywords() {
	data, _, err := readSmallFile(c.dir, keywordsFile, maxKeywordsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.tell(c.finding(keywordsFile, "cannot be read: %v", err))
		return
	}
	c.keywords = parseKeywords(data)
	named := 0
	for _, name := range c.keywords {
		if name != "" {
			named++
		}
	}
	if lines := strings.Count(string(data), "\n"); lines > named {
		c.tell(c.finding(keywordsFile, "%d of its %d lines give no letter a name: they are not understood, or say again what is there", lines-named, lines))
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		c.tell(c.finding(keywordsFile, "its last line is cut off"))
	}
}

// litter looks for what was given up in tmp/.
func (c *folderCheck) litter() error {
	tmp, err := c.dir.OpenDir("tmp")
	if err != nil {
		return nil // told already
	}
	defer tmp.Close()
	var old []string
	err = tmp.Scan(func(e durable.Entry) error {
		name := string(e.Name)
		in, err := tmp.Stat(name)
		switch {
		case err != nil || !c.old(in, tmpMaxAge):
		case in.Mode.Type() == 0:
			old = append(old, name)
		case in.Mode.IsDir() && c.mailbox == inbox && isStageDir(name):
			c.note("tmp/"+name, "is a folder that was never finished: the server removes it when it opens the tree")
		default:
			c.tell(c.finding("tmp/"+name, "is %s, which does not belong there", kindOf(in.Mode)))
		}
		return nil
	})
	for _, name := range old {
		f := c.finding("tmp/"+name, "was given up by its writer: it was not changed for more than 36 hours")
		f.Remedy = "remove it"
		c.mend(f, func() error {
			in, err := tmp.Stat(name)
			if err == nil && (in.Mode.Type() != 0 || !c.old(in, tmpMaxAge)) {
				err = fs.ErrNotExist
			}
			if err != nil {
				return err
			}
			return tmp.Remove(name)
		})
	}
	return err
}

// kindOf says what something is that is no regular file.
func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
