package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"buzon/internal/durable"
)

// CheckOptions says how a tree is looked at.
type CheckOptions struct {
	Repair bool // mend what can be mended without a risk for any message
	Deep   bool // read every message, too
	// Progress, where it is set, is told now and then how many files of a mailbox
	// were looked at.
	Progress func(mailbox string, files int)
}

// Finding is something that a tree should not have, in plain words.
type Finding struct {
	Mailbox string // "" for the tree as a whole
	File    string // below the mailbox's folder; "" for the folder itself
	Problem string
	Remedy  string // what a repair does; "": nothing, it is only told
	Mended  bool   // the repair did it
	Err     error  // why the repair could not
	// Note says that it is legal, and of interest only to those who ask.
	Note bool
}

// Check looks for everything in the tree that docs/maildir.md does not allow and
// that shows from outside, and calls report for each finding. The server may be at
// work meanwhile: what it renames or removes during the check is no finding. No
// message is ever removed or written to. The error is of the check itself.
func (v *Visitor) Check(ctx context.Context, o CheckOptions, report func(Finding)) error {
	c := &treeCheck{u: v.u, ctx: ctx, options: o, report: report}
	self, err := v.u.root.Self()
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	c.owner = self.UID
	folders, err := c.folders()
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	for _, f := range folders {
		dir, err := v.u.openFolder(f.dir)
		if errors.Is(err, ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			c.tell(Finding{Mailbox: f.name, Problem: fmt.Sprintf("the folder cannot be opened: %v", err)})
			continue
		}
		err = (&folderCheck{treeCheck: c, mailbox: f.name, dir: dir}).run()
		if f.dir != "" {
			_ = dir.Close()
		}
		if err != nil {
			return fmt.Errorf("check %.80q: %w", f.name, err)
		}
	}
	c.subscriptions(folders)
	return nil
}

// treeCheck is a check under way.
type treeCheck struct {
	u       *User
	ctx     context.Context
	options CheckOptions
	report  func(Finding)
	owner   uint32 // of the tree's root
}

// tell reports a finding that nothing is done about.
func (c *treeCheck) tell(f Finding) { c.report(f) }

// mend reports a finding, and mends it first where that is asked for. What is gone
// when the repair comes to it was no finding.
func (c *treeCheck) mend(f Finding, repair func() error) {
	if c.options.Repair {
		err := repair()
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		f.Mended, f.Err = err == nil, err
	}
	c.report(f)
}

// old reports that a file was not changed for long.
func (c *treeCheck) old(in durable.Info, age time.Duration) bool {
	return c.u.store.now().Sub(time.Unix(0, in.Ctime)) > age
}

// folders lists INBOX and the tree's folders, and tells of what looks like one and
// is none.
func (c *treeCheck) folders() ([]folder, error) {
	list := []folder{{name: inbox}}
	err := c.u.root.Scan(func(e durable.Entry) error {
		dir := string(e.Name)
		if dir[0] != '.' || strings.HasPrefix(dir, "..") {
			return nil
		}
		in, err := c.u.root.Stat(dir)
		name, ok := folderName(dir)
		switch {
		case err != nil || in.Mode.IsRegular():
		case in.Mode.Type() == fs.ModeSymlink:
			c.tell(Finding{File: dir, Problem: "is a symbolic link: it is not followed, so it is no mailbox"})
		case !in.Mode.IsDir():
		case !ok:
			c.tell(Finding{File: dir, Problem: "is a directory whose name cannot be a mailbox's: nobody sees its mail"})
		default:
			list = append(list, folder{name: name, dir: dir})
		}
		return nil
	})
	slices.SortFunc(list, func(a, b folder) int {
		if c := compareNames(a.name, b.name); c != 0 {
			return c
		}
		if a.dir == folderDir(a.name) {
			return -1
		}
		return strings.Compare(a.dir, b.dir)
	})
	return slices.CompactFunc(list, func(f, before folder) bool {
		if f.name != before.name {
			return false
		}
		c.tell(Finding{Mailbox: f.name, File: f.dir, Problem: fmt.Sprintf("has the same mailbox name as %s, which alone is served", before.dir)})
		return true
	}), err
}

// subscriptions tells of lines that are no names, and of names without a mailbox:
// IMAP allows these (RFC 9051 6.3.9).
func (c *treeCheck) subscriptions(folders []folder) {
	data, _, err := readSmallFile(c.u.root, subscriptionsFile, maxSubscriptionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.tell(Finding{File: subscriptionsFile, Problem: fmt.Sprintf("cannot be read: %v", err)})
		return
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		c.tell(Finding{File: subscriptionsFile, Problem: "its last line is cut off"})
	}
	for _, name := range parseSubscriptions(data) {
		if !slices.ContainsFunc(folders, func(f folder) bool { return f.name == name }) {
			c.tell(Finding{File: subscriptionsFile, Note: true, Problem: fmt.Sprintf("%q is subscribed to and does not exist", name)})
		}
	}
}
