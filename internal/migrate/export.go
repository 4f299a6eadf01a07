package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"buzon/imapd/wire"
)

// A Target takes messages out of an account.
type Target interface {
	// Open begins a mailbox; messages up to the next one are of it.
	Open(box Mailbox) error
	Write(m Message) error
	// Close makes everything durable.
	Close() error
}

// Export writes every message of an account to a target.
func Export(ctx context.Context, src IMAP, to Target, progress Progress) (res Result, err error) {
	defer func() { err = errors.Join(err, to.Close()) }()
	boxes, err := src.Mailboxes(ctx)
	if err != nil {
		return res, err
	}
	for _, box := range boxes {
		name := strings.Join(box.Name, "/")
		if err := to.Open(box); err != nil {
			return res, fmt.Errorf("mailbox %s: %w", name, err)
		}
		n := 0
		err := src.Each(ctx, box, func(string) bool { return false }, func(m Message) error {
			n++
			progress.Mailbox(name, n, max(box.Messages, n), n)
			return to.Write(m)
		})
		if err != nil {
			return res, fmt.Errorf("mailbox %s: %w", name, err)
		}
		progress.Mailbox(name, n, n, n)
		res.Mailboxes++
		res.New += n
	}
	return res, nil
}

// MboxTarget writes a directory with an mbox file for each mailbox, "Archive/2025.mbox",
// in the mboxrd form, flags in the fields Status, X-Status and X-Keywords as
// mutt reads them. Files that are there already are an error.
type MboxTarget struct {
	Dir  string
	file *os.File
	w    *bufio.Writer
}

// Open implements Target.
func (t *MboxTarget) Open(box Mailbox) error {
	if err := t.Close(); err != nil {
		return err
	}
	path := filepath.Join(t.Dir, filepath.Join(safeNames(box.Name)...)+".mbox")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	t.file, t.w = f, bufio.NewWriterSize(f, 256<<10)
	return nil
}

// safeNames are file names for the parts of a mailbox's name.
func safeNames(parts []string) []string {
	names := make([]string, len(parts))
	for i, part := range parts {
		if names[i] = strings.NewReplacer("/", "_", "\x00", "_").Replace(part); names[i] == "." || names[i] == ".." || names[i] == "" {
			names[i] = "_"
		}
	}
	return names
}

// Write implements Target.
func (t *MboxTarget) Write(m Message) error {
	fmt.Fprintf(t.w, "From MAILER-DAEMON %s\n", m.Time.UTC().Format(time.ANSIC))
	t.w.WriteString(statusFields(m.Flags))
	body := bytes.ReplaceAll(m.Body, []byte("\r\n"), []byte("\n"))
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			t.w.WriteByte('>')
		}
		t.w.Write(line)
	}
	if !bytes.HasSuffix(body, []byte("\n")) {
		t.w.WriteByte('\n')
	}
	return t.w.WriteByte('\n') // and with it whatever failed before
}

func statusFields(flags []imap.Flag) string {
	has := func(f imap.Flag) bool {
		return slices.ContainsFunc(flags, func(g imap.Flag) bool { return strings.EqualFold(string(f), string(g)) })
	}
	status, more := "O", ""
	if has(imap.FlagSeen) {
		status = "RO"
	}
	for _, k := range []struct {
		flag   imap.Flag
		letter string
	}{{imap.FlagAnswered, "A"}, {imap.FlagFlagged, "F"}, {imap.FlagDeleted, "D"}, {imap.FlagDraft, "T"}} {
		if has(k.flag) {
			more += k.letter
		}
	}
	fields := "Status: " + status + "\n"
	if more != "" {
		fields += "X-Status: " + more + "\n"
	}
	var words []string
	for _, f := range flags {
		if !strings.HasPrefix(string(f), `\`) {
			words = append(words, string(f))
		}
	}
	if len(words) > 0 {
		fields += "X-Keywords: " + strings.Join(words, " ") + "\n"
	}
	return fields
}

// Close implements Target.
func (t *MboxTarget) Close() error {
	if t.file == nil {
		return nil
	}
	err := errors.Join(t.w.Flush(), t.file.Sync(), t.file.Close())
	t.file = nil
	return err
}

// MaildirTarget writes a tree of Maildirs in the form of Maildir++: INBOX in Dir
// itself, folders in ".Archive.2025", with dovecot-keywords.
type MaildirTarget struct {
	Dir string

	at       string
	serial   int
	keywords []string
}

// Open implements Target.
func (t *MaildirTarget) Open(box Mailbox) error {
	if err := t.Close(); err != nil {
		return err
	}
	t.at = t.Dir
	if name := strings.Join(box.Name, "/"); !strings.EqualFold(name, "INBOX") {
		folder := ""
		for _, part := range box.Name {
			folder += "." + strings.NewReplacer("/", "_", ".", "_").Replace(wire.EncodeUTF7(part))
		}
		t.at = filepath.Join(t.Dir, folder)
	}
	if entries, err := os.ReadDir(filepath.Join(t.at, "cur")); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s has messages already: %w", t.at, fs.ErrExist)
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(t.at, sub), 0o700); err != nil {
			return err
		}
	}
	t.keywords = nil
	return nil
}

// Write implements Target.
func (t *MaildirTarget) Write(m Message) error {
	t.serial++
	name := fmt.Sprintf("%d.M%dP%dQ%d.export,S=%d", m.Time.Unix(), t.serial, os.Getpid(), t.serial, len(m.Body))
	tmp := filepath.Join(t.at, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(m.Body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(tmp, m.Time, m.Time); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(t.at, "cur", name+":2,"+flagLetters(m.Flags)+t.keywordLetters(m.Flags)))
}

// keywordLetters are those of the keywords; a folder has room for 26.
func (t *MaildirTarget) keywordLetters(flags []imap.Flag) string {
	var list []rune
	for _, f := range flags {
		word := string(f)
		if strings.HasPrefix(word, `\`) || strings.EqualFold(word, string(imap.FlagForwarded)) {
			continue
		}
		i := slices.Index(t.keywords, word)
		if i < 0 && len(t.keywords) < 26 {
			t.keywords = append(t.keywords, word)
			i = len(t.keywords) - 1
		}
		if i >= 0 {
			list = append(list, 'a'+rune(i))
		}
	}
	slices.Sort(list)
	return string(list)
}

// Close implements Target.
func (t *MaildirTarget) Close() error {
	if t.at == "" {
		return nil
	}
	var b strings.Builder
	for i, word := range t.keywords {
		fmt.Fprintf(&b, "%d %s\n", i, word)
	}
	var err error
	if b.Len() > 0 {
		err = os.WriteFile(filepath.Join(t.at, "dovecot-keywords"), []byte(b.String()), 0o600)
	}
	dir, e := os.Open(filepath.Join(t.at, "cur"))
	if e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, dir.Sync(), dir.Close())
}
