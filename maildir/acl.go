package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// Who may do what with a mailbox stands in the folder's file dovecot-acl, in Dovecot's format
// (its vfile backend), so that either server can take the tree over:
//
//	["-"] <identifier> [SP <letters>] [SP ":" <names>] LF
//
// as in "user=luis@example.org lrs", "-user=eva@example.org r" or "anyone l". Names are words for
// the letters. An identifier with a space is in quotes. Lines that begin with "#" are comments; what
// we do not understand is kept, and gives nobody a right. Without the file the mailbox is its
// owner's alone.
const (
	aclFile    = "dovecot-acl"
	maxACLFile = 256 << 10
	maxACL     = 500 // lines
)

// An ACL is a mailbox's access control list.
type ACL struct {
	Entries []ACLEntry
	rest    []string // lines that are not entries
}

// An ACLEntry gives an identifier rights, or where Negative takes them from it.
type ACLEntry struct {
	// Identifier is "anyone", "authenticated", "owner", or "user=" and an account; "group=" and
	// "group-override=" name what we have none of.
	Identifier string
	Negative   bool
	Rights     Rights
	unknown    string // rights that we do not know
}

// Identifiers that are not of one account.
const (
	ACLAnyone        = "anyone"
	ACLAuthenticated = "authenticated"
	ACLOwner         = "owner"
)

// ACLUser is the identifier of an account.
func ACLUser(id string) string { return "user=" + id }

func parseACL(data []byte) ACL {
	var a ACL
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
		e, ok := parseACLEntry(line)
		switch {
		case ok && len(a.Entries) < maxACL:
			a.Entries = append(a.Entries, e)
		case line != "":
			a.rest = append(a.rest, line)
		}
	}
	return a
}

func parseACLEntry(line string) (e ACLEntry, ok bool) {
	if line == "" || line[0] == '#' || strings.ContainsRune(line, '\r') {
		return e, false
	}
	var letters string
	if quoted, is := strings.CutPrefix(line, `"`); is {
		id, tail, closed := cutQuoted(quoted)
		if !closed || tail != "" && tail[0] != ' ' {
			return e, false
		}
		e.Identifier, letters = id, strings.TrimPrefix(tail, " ")
	} else {
		e.Identifier, letters, _ = strings.Cut(line, " ")
	}
	e.Identifier, e.Negative = strings.CutPrefix(e.Identifier, "-")
	if e.Identifier == "" {
		return e, false
	}
	letters, names, named := strings.Cut(letters, ":")
	for _, c := range strings.TrimSpace(letters) {
		if n := strings.IndexRune(rightLetters, c); n >= 0 {
			e.Rights |= 1 << n
		} else if c != ' ' && !strings.ContainsRune(e.unknown, c) {
			e.unknown += string(c)
		}
	}
	if named {
		e.readNames(names)
	}
	return e, true
}

// readNames reads rights in words.
func (e *ACLEntry) readNames(names string) {
	var unknown []string
	for _, name := range strings.Fields(names) {
		if n := slices.Index(rightNames[:], name); n >= 0 {
			e.Rights |= 1 << n
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		e.unknown += " :" + strings.Join(unknown, " ")
	}
}

// cutQuoted cuts behind the closing quote; \ takes the next character as it is.
func cutQuoted(s string) (text, tail string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func (a ACL) format() []byte {
	var b strings.Builder
	for _, line := range a.rest {
		b.WriteString(line + "\n")
	}
	for _, e := range a.Entries {
		id := e.Identifier
		if e.Negative {
			id = "-" + id
		}
		if strings.ContainsAny(id, " \"\\") || id[0] == '#' {
			id = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(id) + `"`
		}
		b.WriteString(id)
		if letters := e.Rights.String() + e.unknown; letters != "" {
			b.WriteString(" " + letters)
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// ownersRights are what the owner of a mailbox cannot lose: he must be able to see it and to get
// the others back.
const ownersRights = RightLookup | RightAdmin

// Rights returns what the account may do. As in Dovecot, of several entries that fit the most exact
// one counts: anyone, authenticated, owner, user. Negative entries take away from that.
func (a ACL) Rights(id string, owner bool) Rights {
	order := []string{ACLAnyone, ACLAuthenticated}
	if owner {
		order = append(order, ACLOwner)
	}
	order = append(order, ACLUser(id))
	var have, taken Rights
	for _, identifier := range order {
		var given Rights
		found := owner && identifier == ACLOwner
		if found {
			given = AllRights
		}
		said := false
		for _, e := range a.Entries {
			switch {
			case e.Identifier != identifier:
			case e.Negative:
				taken |= e.Rights
			case !said:
				given, found, said = e.Rights, true, true
			default:
				given |= e.Rights
			}
		}
		if found {
			have = given
		}
	}
	have &^= taken
	if owner {
		have |= ownersRights
	}
	return have
}

// Set gives an identifier rights in the place of those that it had, or takes its entry away where
// remove is set.
func (a *ACL) Set(identifier string, negative bool, rights Rights, remove bool) {
	is := func(e ACLEntry) bool { return e.Identifier == identifier && e.Negative == negative }
	i := slices.IndexFunc(a.Entries, is)
	switch {
	case remove:
		a.Entries = slices.DeleteFunc(a.Entries, is)
	case i < 0:
		a.Entries = append(a.Entries, ACLEntry{Identifier: identifier, Negative: negative, Rights: rights})
	default:
		a.Entries[i].Rights = rights
		rest := slices.DeleteFunc(a.Entries[i+1:], is)
		a.Entries = a.Entries[:i+1+len(rest)]
	}
}

// Find returns the rights of an identifier's entry.
func (a ACL) Find(identifier string, negative bool) (r Rights, ok bool) {
	for _, e := range a.Entries {
		if e.Identifier == identifier && e.Negative == negative {
			r |= e.Rights
			ok = true
		}
	}
	return r, ok
}

// ACL returns the access control list of a mailbox. ErrNotFound.
func (u *User) ACL(_ context.Context, mailbox string) (ACL, error) {
	dir, done, err := u.folderOf(mailbox)
	if err != nil {
		return ACL{}, err
	}
	defer done()
	a, err := readACL(dir)
	if err != nil {
		return ACL{}, fmt.Errorf("access control list of %.80q: %w", mailbox, err)
	}
	return a, nil
}

// ACL returns the access control list as it is on the disk now.
func (m *Mailbox) ACL() (ACL, error) {
	a, err := readACL(m.dir.folder)
	if err != nil {
		return ACL{}, m.fail("access control list of", err)
	}
	return a, nil
}

// readACL reads the file. What cannot be read gives nobody a right: it is an error.
func readACL(dir durable.Dir) (ACL, error) {
	data, _, err := readSmallFile(dir, aclFile, maxACLFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ACL{}, nil
	}
	if err != nil {
		return ACL{}, err
	}
	return parseACL(data), nil
}

// EditACL changes the access control list of a mailbox, durably. ErrNotFound; ErrLimit: too many
// entries; and whatever edit returns.
func (u *User) EditACL(_ context.Context, mailbox string, edit func(*ACL) error) error {
	u.notes.Lock()
	defer u.notes.Unlock()
	dir, done, err := u.folderOf(mailbox)
	if err != nil {
		return err
	}
	defer done()
	a, err := readACL(dir)
	if err != nil {
		return fmt.Errorf("access control list of %.80q: %w", mailbox, err)
	}
	before := a.format()
	if err := edit(&a); err != nil {
		return err
	}
	data := a.format()
	switch {
	case string(data) == string(before):
		return nil
	case len(a.Entries) > maxACL || len(data) > maxACLFile:
		return fmt.Errorf("access control list of %.80q: %w", mailbox, ErrLimit)
	}
	defer u.store.forgetShares(u.id)
	if err := durable.WriteFileIn(dir, aclFile, data, u.filePerm); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound // deleted in this moment
		}
		return fmt.Errorf("access control list of %.80q: %w", mailbox, diskError(err))
	}
	return nil
}

// InheritACL gives a new mailbox the access control list of the one above it (RFC 4314 4, CREATE).
func (u *User) InheritACL(ctx context.Context, parent, mailbox string) error {
	from, err := u.ACL(ctx, parent)
	if err != nil || len(from.Entries) == 0 {
		return err
	}
	return u.EditACL(ctx, mailbox, func(a *ACL) error {
		a.Entries = from.Entries
		return nil
	})
}
