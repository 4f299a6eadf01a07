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

// Annotations are what clients note about a mailbox, or about the account as a whole (RFC 5464).
// They stand in the file "annotations" of the folder, those of the account in the file
// "account-annotations" of the tree's root, so they go where the folder goes. One line each:
//
//	<owner> TAB <name> TAB <value> LF
//
// where owner is the account whose private note it is, or "*" for one that all share, and TAB, CR,
// LF, NUL and \001 are escaped as Dovecot does it in its files. Lines that begin with "#", and lines
// that make no sense, are passed over and kept.
const (
	annotationsFile        = "annotations"
	accountAnnotationsFile = "account-annotations"
	sharedAnnotation       = "*"
	maxAnnotationsFile     = 4 << 20
)

// Limits on annotations. RFC 5464 4.1 asks for at least 1024 bytes and 10 annotations.
const (
	MaxAnnotationValue = 64 << 10 // bytes
	MaxAnnotationName  = 255      // bytes
	maxAnnotations     = 200      // of one owner, in one mailbox
	maxAnnotationBytes = 1 << 20  // of all, in one mailbox
)

// An Annotation is a note about a mailbox.
type Annotation struct {
	Owner string // the account whose it is; "" when it is shared
	Name  string // "/comment"; lower case
	Value string // any bytes
}

// An AnnotationChange sets an annotation, or removes it.
type AnnotationChange struct {
	Annotation
	Remove bool
}

func parseAnnotations(data []byte) (notes []Annotation, rest []string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
		owner, tail, ok1 := strings.Cut(line, "\t")
		name, value, ok2 := strings.Cut(tail, "\t")
		if !ok1 || !ok2 || strings.HasPrefix(line, "#") || owner == "" || !strings.HasPrefix(name, "/") || strings.Contains(value, "\t") {
			if line != "" {
				rest = append(rest, line)
			}
			continue
		}
		if owner == sharedAnnotation {
			owner = ""
		}
		notes = append(notes, Annotation{noteUnescape.Replace(owner), noteUnescape.Replace(name), noteUnescape.Replace(value)})
	}
	return notes, rest
}

func formatAnnotations(notes []Annotation, rest []string) []byte {
	var b []byte
	for _, line := range rest {
		b = append(append(b, line...), '\n')
	}
	for _, n := range notes {
		owner := n.Owner
		if owner == "" {
			owner = sharedAnnotation
		}
		b = append(b, noteEscape.Replace(owner)+"\t"+noteEscape.Replace(n.Name)+"\t"+noteEscape.Replace(n.Value)+"\n"...)
	}
	return b
}

// Dovecot's escaping, as tabEscape, and of NUL.
var (
	noteEscape   = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
	noteUnescape = strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
)

// Annotations returns the annotations of a mailbox, of all owners; those of the account for the
// name "". ErrNotFound.
func (u *User) Annotations(_ context.Context, mailbox string) ([]Annotation, error) {
	dir, file, done, err := u.notesOf(mailbox)
	if err != nil {
		return nil, err
	}
	defer done()
	notes, _, err := readAnnotations(dir, file)
	if err != nil {
		return nil, fmt.Errorf("annotations of %.80q: %w", mailbox, err)
	}
	return notes, nil
}

func readAnnotations(dir durable.Dir, file string) ([]Annotation, []string, error) {
	data, _, err := readSmallFile(dir, file, maxAnnotationsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	notes, rest := parseAnnotations(data)
	return notes, rest, nil
}

// Annotate makes all changes, durably, or none of them, and returns those that changed anything.
// ErrNotFound; ErrLimit: too many.
func (u *User) Annotate(_ context.Context, mailbox string, changes []AnnotationChange) ([]Annotation, error) {
	u.notes.Lock()
	defer u.notes.Unlock()
	dir, file, done, err := u.notesOf(mailbox)
	if err != nil {
		return nil, err
	}
	defer done()
	notes, rest, err := readAnnotations(dir, file)
	if err != nil {
		return nil, fmt.Errorf("annotate %.80q: %w", mailbox, err)
	}
	var changed []Annotation
	for _, c := range changes {
		i := slices.IndexFunc(notes, func(n Annotation) bool { return n.Owner == c.Owner && n.Name == c.Name })
		switch {
		case c.Remove && i < 0, !c.Remove && i >= 0 && notes[i].Value == c.Value:
			continue
		case c.Remove:
			notes = slices.Delete(notes, i, i+1)
		case i >= 0:
			notes[i].Value = c.Value
		default:
			notes = append(notes, c.Annotation)
		}
		changed = append(changed, c.Annotation)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	if err := checkAnnotations(notes); err != nil {
		return nil, fmt.Errorf("annotate %.80q: %w", mailbox, err)
	}
	if err := durable.WriteFileIn(dir, file, formatAnnotations(notes, rest), u.filePerm); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound // deleted in this moment
		}
		return nil, fmt.Errorf("annotate %.80q: %w", mailbox, diskError(err))
	}
	return changed, nil
}

func checkAnnotations(notes []Annotation) error {
	count := map[string]int{}
	size := 0
	for _, n := range notes {
		count[n.Owner]++
		size += len(n.Owner) + len(n.Name) + len(n.Value)
		if count[n.Owner] > maxAnnotations || size > maxAnnotationBytes || len(n.Value) > MaxAnnotationValue || len(n.Name) > MaxAnnotationName {
			return ErrLimit
		}
	}
	return nil
}

// notesOf opens the directory of a mailbox's small files; done gives it back.
func (u *User) notesOf(mailbox string) (dir durable.Dir, file string, done func(), err error) {
	if mailbox == "" {
		return u.root, accountAnnotationsFile, func() {}, nil
	}
	dir, done, err = u.folderOf(mailbox)
	return dir, annotationsFile, done, err
}

// folderOf opens the directory of a mailbox.
func (u *User) folderOf(mailbox string) (dir durable.Dir, done func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, err := u.findLocked(mailbox)
	if err != nil {
		return nil, nil, err
	}
	if dir, err = u.openFolder(f.dir); err != nil {
		return nil, nil, err
	}
	if f.dir == "" {
		return dir, func() {}, nil
	}
	return dir, func() { _ = dir.Close() }, nil
}

// copyAnnotations gives a mailbox the annotations of another: RENAME of INBOX leaves INBOX its own
// (RFC 5464 4.1).
func (u *User) copyAnnotations(ctx context.Context, from, to string) error {
	notes, err := u.Annotations(ctx, from)
	if err != nil || len(notes) == 0 {
		return err
	}
	changes := make([]AnnotationChange, len(notes))
	for i, n := range notes {
		changes[i].Annotation = n
	}
	_, err = u.Annotate(ctx, to, changes)
	return err
}
