package migrate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"buzon/imapd/wire"
)

// Maildirs is a tree of Maildirs as a Source: the directory itself is INBOX, and
// folders are its subdirectories, ".Archive.2025" as in Maildir++, whose names are
// in modified UTF-7, or "Archive/2025" as mbsync has them.
type Maildirs struct{ Dir string }

// Mailboxes implements Source.
func (s Maildirs) Mailboxes(context.Context) ([]Mailbox, error) {
	var boxes []Mailbox
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if name := d.Name(); path != s.Dir && (name == "cur" || name == "new" || name == "tmp") {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "cur")); err != nil {
			return nil
		}
		rel, err := filepath.Rel(s.Dir, path)
		if err != nil {
			return err
		}
		box := Mailbox{id: rel, Name: s.name(rel), Subscribed: true}
		for _, sub := range []string{"cur", "new"} {
			entries, _ := os.ReadDir(filepath.Join(path, sub)) // read again later, with its errors
			box.Messages += len(entries)
		}
		boxes = append(boxes, box)
		return nil
	})
	if err == nil && len(boxes) == 0 {
		err = fmt.Errorf("there is no Maildir in %s: one has the directories cur, new and tmp", s.Dir)
	}
	return boxes, err
}

// name is what a directory below the tree is called as a mailbox.
func (s Maildirs) name(rel string) []string {
	if rel == "." {
		return []string{"INBOX"}
	}
	var parts []string
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		folder, dotted := strings.CutPrefix(part, ".")
		if !dotted {
			parts = append(parts, part)
			continue
		}
		for name := range strings.SplitSeq(folder, ".") {
			if decoded, err := wire.DecodeUTF7(name); err == nil {
				name = decoded
			}
			parts = append(parts, name)
		}
	}
	return parts
}

// letters are the flags in a file's name (cr.yp.to/proto/maildir.html).
var letters = map[rune]imap.Flag{
	'D': imap.FlagDraft, 'F': imap.FlagFlagged, 'R': imap.FlagAnswered, 'S': imap.FlagSeen, 'T': imap.FlagDeleted, 'P': imap.FlagForwarded,
}

// Each implements Source. A message is known by its unique name, its date is the
// file's.
func (s Maildirs) Each(ctx context.Context, box Mailbox, known func(string) bool, fn func(Message) error) error {
	dir := filepath.Join(s.Dir, box.id)
	keywords := readKeywords(filepath.Join(dir, "dovecot-keywords"))
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub)) // by name, and so by age
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			base, info, _ := strings.Cut(e.Name(), ":2,")
			key := strings.ReplaceAll(base, " ", "_")
			if strings.HasPrefix(base, ".") || !e.Type().IsRegular() || known(key) {
				continue
			}
			path := filepath.Join(dir, sub, e.Name())
			body, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // another program has renamed it; the next run finds it
			}
			if err != nil {
				return err
			}
			m := Message{Key: key, Body: crlf(body)}
			if st, err := os.Stat(path); err == nil {
				m.Time = st.ModTime()
			}
			for _, letter := range info {
				if f, ok := letters[letter]; ok {
					m.Flags = append(m.Flags, f)
				} else if word := keywords[letter]; word != "" {
					m.Flags = append(m.Flags, imap.Flag(word))
				}
			}
			if err := fn(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// readKeywords reads which letters are which keywords, where Dovecot has said so.
func readKeywords(path string) map[rune]string {
	words := make(map[rune]string)
	f, err := os.Open(path)
	if err != nil {
		return words
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		number, word, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < 26 {
			words['a'+rune(n)] = word
		}
	}
	return words
}

// flagLetters is the opposite of letters, in the order that names have them.
func flagLetters(flags []imap.Flag) string {
	var list []rune
	for letter, flag := range letters {
		if slices.ContainsFunc(flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), string(flag)) }) {
			list = append(list, letter)
		}
	}
	slices.Sort(list)
	return string(list)
}
