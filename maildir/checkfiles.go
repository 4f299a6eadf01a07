package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// fileCounts gathers what many files of a folder can have in common: it is told
// once for all of them.
type fileCounts struct {
	noUID    int
	foreign  sameFault                 // another owner than the tree
	wideOpen sameFault                 // rights for more than the tree
	unnamed  [letterKeywords]sameFault // a letter without a name
}

// sameFault is a fault of several files.
type sameFault struct {
	files int
	first string
}

func (s *sameFault) add(file string) {
	if s.files++; s.files == 1 {
		s.first = file
	}
}

func (s *sameFault) String() string {
	if s.files == 1 {
		return s.first
	}
	return fmt.Sprintf("%d files, the first is %s", s.files, s.first)
}

// progressEvery is after how many files Progress is told.
const progressEvery = 5000

// messages looks at every file of new/ or cur/.
func (c *folderCheck) messages(sub string) error {
	dir, err := c.dir.OpenDir(sub)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.tell(c.finding(sub, "cannot be opened: %v", err))
		}
		return nil
	}
	defer dir.Close()
	var unsorted []string
	err = dir.Scan(func(e durable.Entry) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.files++; c.options.Progress != nil && c.files%progressEvery == 0 {
			c.options.Progress(c.mailbox, c.files)
		}
		name := string(e.Name)
		if in, ok := c.isMessage(dir, sub, name); ok && c.message(dir, sub, name, in) {
			unsorted = append(unsorted, name)
		}
		return nil
	})
	for _, name := range unsorted {
		base, raw := splitName(name)
		in := parseInfo(raw)
		to := base + in.with(in.flags, in.letters)
		f := c.finding(sub+"/"+name, "its flags are not sorted, or stand twice")
		f.Remedy = "rename it to " + to
		c.mend(f, func() error { return dir.Rename(name, dir, to) })
	}
	if err == nil && c.options.Repair && len(unsorted) > 0 {
		err = dir.Sync()
	}
	return err
}

// isMessage tells of everything in new/ and cur/ that cannot be served.
func (c *folderCheck) isMessage(dir durable.Dir, sub, name string) (in durable.Info, ok bool) {
	in, err := dir.Stat(name)
	file := sub + "/" + name
	switch {
	case errors.Is(err, fs.ErrNotExist): // renamed meanwhile
	case err != nil:
		c.tell(c.finding(file, "cannot be looked at: %v", err))
	case in.Mode.Type() != 0:
		c.tell(c.finding(file, "is %s: it is never followed, opened or touched", kindOf(in.Mode)))
	case name[0] == '.':
		c.note(file, "begins with a dot: it is no message")
	case !usableName([]byte(name)):
		c.tell(c.finding(file, "its name holds a line break or no base: it gets another one when the mailbox is opened"))
	default:
		return in, true
	}
	return in, false
}

// message looks at one message; unsorted reports that its flags are not as they
// should be written.
func (c *folderCheck) message(dir durable.Dir, sub, name string, in durable.Info) (unsorted bool) {
	file := sub + "/" + name
	base, raw := splitName(name)
	switch before := c.sight(base, inFiles); {
	case before&inFiles != 0:
		c.doubles[base] = true
	case before&inUIDList == 0:
		c.counts.noUID++
	}
	if in.UID != c.owner {
		c.counts.foreign.add(file)
	}
	if in.Mode.Perm()&^c.u.filePerm&0o077 != 0 {
		c.counts.wideOpen.add(file)
	}
	c.contents(dir, file, name, in)

	flags := parseInfo(raw)
	for set := flags.letters &^ c.keywords.named(); set != 0; set &= set - 1 {
		c.counts.unnamed[bits.TrailingZeros64(uint64(set))].add(file)
	}
	if strings.HasPrefix(raw, ":2,") && strings.Count(raw, ":") == 1 {
		return flags.with(flags.flags, flags.letters) != raw
	}
	if raw != "" {
		c.note(file, "its name has another end than \":2,\" and flags: it counts as without flags")
	}
	return false
}

// contents compares the sizes in the name with the file, which is read for that
// only when the check is a deep one.
func (c *folderCheck) contents(dir durable.Dir, file, name string, in durable.Info) {
	base, _ := splitName(name)
	stored, virtual := nameSizes(base)
	switch {
	case in.Size == 0:
		c.tell(c.finding(file, "is empty"))
		return
	case stored >= 0 && stored != in.Size:
		c.tell(c.finding(file, "S=%d in its name is wrong: it has %d bytes", stored, in.Size))
	case virtual >= 0 && virtual < in.Size:
		c.tell(c.finding(file, "W=%d in its name is wrong: it has %d bytes", virtual, in.Size))
		virtual = -1
	}
	if in.Mode.Perm()&0o400 == 0 {
		c.tell(c.finding(file, "its owner may not read it: mode %04o", in.Mode.Perm()))
		return
	}
	if !c.options.Deep {
		return
	}
	f, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var bare int64
	if err == nil {
		bare, err = countBareLF(f)
		_ = f.Close()
	}
	switch {
	case err != nil:
		c.tell(c.finding(file, "cannot be read: %v", err))
	case virtual >= 0 && virtual != in.Size+bare:
		c.tell(c.finding(file, "W=%d in its name is wrong: it has %d bytes with CRLF line ends", virtual, in.Size+bare))
	}
}

// tellCounts tells what files have in common.
func (c *folderCheck) tellCounts() {
	n := &c.counts
	for i := range n.unnamed {
		if n.unnamed[i].files > 0 {
			c.tell(c.finding(keywordsFile, "gives no name to the letter %c of %s", 'a'+i, &n.unnamed[i]))
		}
	}
	if n.foreign.files > 0 {
		c.tell(c.finding("", "the tree belongs to user %d, and not so %s", c.owner, &n.foreign))
	}
	if n.wideOpen.files > 0 {
		c.note("", "more users than the tree's may read %s", &n.wideOpen)
	}
	if n.noUID > 0 {
		c.note("", "files without a UID: %d; the next open gives them one", n.noUID)
	}
}

// tellDoubles looks again at the bases of which two files were seen: one may have
// been renamed while we looked.
func (c *folderCheck) tellDoubles() error {
	if len(c.doubles) == 0 {
		return nil
	}
	type name struct {
		file string
		ino  uint64
	}
	found := map[string][]name{}
	for _, sub := range []string{"cur", "new"} {
		dir, err := c.dir.OpenDir(sub)
		if err != nil {
			continue
		}
		names := slices.DeleteFunc(namesIn(dir), func(n string) bool {
			base, _ := splitName(n)
			return !c.doubles[base]
		})
		for _, n := range names {
			if in, err := dir.Stat(n); err == nil && in.Mode.Type() == 0 {
				base, _ := splitName(n)
				found[base] = append(found[base], name{sub + "/" + n, in.Ino})
			}
		}
		_ = dir.Close()
	}
	for _, names := range found {
		for _, other := range names[1:] {
			if other.ino == names[0].ino {
				c.tell(c.finding(other.file, "is a second name of %s: the server removes one when it has seen both for 30 seconds", names[0].file))
			} else {
				c.tell(c.finding(other.file, "has the same base as %s, another message: the server gives one of them another base", names[0].file))
			}
		}
	}
	return nil
}
