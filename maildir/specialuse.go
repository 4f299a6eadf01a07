package maildir

import (
	"context"
	"fmt"
	"strings"

	"buzon/internal/durable"
)

// A folder's special use (RFC 6154) is its file "special-use": one line with the
// attribute, as in "\Sent". A folder without the file has the use that its name
// says in defaultUses, unless another folder claims it with a file. An empty file
// is no use at all.
const (
	specialUseFile    = "special-use"
	maxSpecialUseFile = 256
)

var defaultUses = map[string]string{
	"Archive": `\Archive`, "Drafts": `\Drafts`, "Junk": `\Junk`, "Sent": `\Sent`, "Trash": `\Trash`,
}

// specialUses are the attributes that CREATE accepts. \All and \Flagged would be
// views, which Maildir has not.
var specialUses = map[string]string{
	`\archive`: `\Archive`, `\drafts`: `\Drafts`, `\junk`: `\Junk`, `\sent`: `\Sent`, `\trash`: `\Trash`,
	`\important`: `\Important`,
}

// CheckSpecialUse returns the attribute as it is written; ErrBadName when no
// mailbox can have it.
func CheckSpecialUse(attr string) (string, error) {
	if use, ok := specialUses[strings.ToLower(attr)]; ok {
		return use, nil
	}
	return "", fmt.Errorf("special use %.40q: %w", attr, ErrBadName)
}

func (u *User) readSpecialUses(folders []folder) {
	claimed := map[string]bool{}
	said := make([]bool, len(folders))
	for i := range folders {
		dir, err := u.root.OpenDir(folders[i].dir)
		if err != nil {
			continue
		}
		data, _, err := readSmallFile(dir, specialUseFile, maxSpecialUseFile)
		_ = dir.Close()
		if err != nil {
			continue
		}
		said[i] = true
		if use, err := CheckSpecialUse(strings.TrimSpace(string(data))); err == nil {
			folders[i].specialUse, claimed[use] = use, true
		}
	}
	for i := range folders {
		if use := defaultUses[folders[i].name]; !said[i] && !claimed[use] {
			folders[i].specialUse = use
		}
	}
}

// writeSpecialUse gives a folder that nobody sees yet its use.
func writeSpecialUse(dir durable.Dir, use string, u *User) error {
	return durable.CreateFile(dir, specialUseFile, []byte(use+"\n"), u.filePerm)
}

// SetSpecialUse gives a mailbox another use, or none for "". INBOX has none: ErrInbox.
func (u *User) SetSpecialUse(_ context.Context, mailbox, use string) error {
	if canonicalName(mailbox) == inbox {
		return fmt.Errorf("special use: %w", ErrInbox)
	}
	if use != "" {
		var err error
		if use, err = CheckSpecialUse(use); err != nil {
			return err
		}
	}
	u.notes.Lock()
	defer u.notes.Unlock()
	dir, done, err := u.folderOf(mailbox)
	if err != nil {
		return err
	}
	defer done()
	if err := durable.WriteFileIn(dir, specialUseFile, []byte(use+"\n"), u.filePerm); err != nil {
		return fmt.Errorf("special use of %.80q: %w", mailbox, diskError(err))
	}
	u.mu.Lock()
	u.forgetTree()
	u.mu.Unlock()
	return nil
}

// SpecialUse returns the mailbox's use, as in Info.
func (u *User) SpecialUse(mailbox string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := u.findLocked(mailbox)
	return f.specialUse, err
}
