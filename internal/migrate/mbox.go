package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// Mbox is an mbox file (RFC 4155) as a Source with one mailbox.
type Mbox struct {
	Path string
	Name []string // of the mailbox; default INBOX
}

// longestMbox bounds one message of an mbox file, in bytes.
const longestMbox = 1 << 30

// Mailboxes implements Source.
func (s Mbox) Mailboxes(context.Context) ([]Mailbox, error) {
	if _, err := os.Stat(s.Path); err != nil {
		return nil, err
	}
	name := s.Name
	if len(name) == 0 {
		name = []string{"INBOX"}
	}
	return []Mailbox{{id: "mbox", Name: name, Subscribed: true}}, nil
}

// Each implements Source. A message is known by its content and by how often
// that has come before.
func (s Mbox) Each(ctx context.Context, _ Mailbox, known func(string) bool, fn func(Message) error) error {
	f, err := os.Open(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	times := make(map[string]int)
	separator, err := r.ReadBytes('\n')
	if len(separator) == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	if !bytes.HasPrefix(separator, []byte("From ")) {
		return fmt.Errorf("%s is no mbox file: its first line does not begin with \"From \"", s.Path)
	}
	for separator != nil {
		body, next, err := readMbox(r)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
		rest, flags := takeStatus(body)
		m := Message{Body: crlf(rest), Time: separatorTime(separator), Flags: flags}
		sum := sumOf(m.Body)
		times[sum]++
		m.Key = fmt.Sprintf("%s.%d", sum[:32], times[sum])
		separator = next
		if known(m.Key) {
			continue
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// readMbox reads up to the next separator, which it returns, too, or nil at the
// end. ">From " loses its ">", and so does ">>From " (mboxrd).
func readMbox(r *bufio.Reader) (body, separator []byte, err error) {
	blank := false
	for {
		line, err := r.ReadBytes('\n')
		if blank && bytes.HasPrefix(line, []byte("From ")) {
			// The empty line before it belongs to the separator.
			return trimBlank(body), line, nil
		}
		if quoted := bytes.TrimLeft(line, ">"); len(quoted) < len(line) && bytes.HasPrefix(quoted, []byte("From ")) {
			line = line[1:]
		}
		body = append(body, line...)
		blank = len(bytes.TrimRight(line, "\r\n")) == 0
		switch {
		case errors.Is(err, io.EOF):
			if blank {
				body = trimBlank(body)
			}
			return body, nil, nil
		case err != nil:
			return nil, nil, err
		case len(body) > longestMbox:
			return nil, nil, fmt.Errorf("a message is larger than %d bytes", longestMbox)
		}
	}
}

func trimBlank(body []byte) []byte {
	if b, ok := bytes.CutSuffix(body, []byte("\r\n")); ok {
		return b
	}
	return bytes.TrimSuffix(body, []byte("\n"))
}

// separatorTime is the time of "From ana@example.org Sat Jan 31 12:00:00 2026", UTC.
func separatorTime(line []byte) time.Time {
	words := strings.Fields(string(line))
	if len(words) < 7 {
		return time.Time{}
	}
	t, err := time.Parse("Mon Jan 2 15:04:05 2006", strings.Join(words[len(words)-5:], " "))
	if err != nil {
		return time.Time{}
	}
	return t
}

// takeStatus takes the fields out of a header in which mutt and others keep
// flags, and reads them: the message is again what it was.
func takeStatus(body []byte) (rest []byte, flags []imap.Flag) {
	end := 0
	for line := range bytes.Lines(body) {
		end += len(line)
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			return append(append(rest, line...), body[end:]...), flags
		}
		name, value, _ := strings.Cut(text, ":")
		switch strings.ToLower(name) {
		case "status":
			flags = append(flags, lettersOf(value, [2]string{"R", string(imap.FlagSeen)})...)
		case "x-status":
			flags = append(flags, lettersOf(value, [2]string{"A", string(imap.FlagAnswered)}, [2]string{"F", string(imap.FlagFlagged)},
				[2]string{"D", string(imap.FlagDeleted)}, [2]string{"T", string(imap.FlagDraft)})...)
		case "x-keywords":
			for word := range strings.FieldsSeq(strings.ReplaceAll(value, ",", " ")) {
				flags = append(flags, imap.Flag(word))
			}
		default:
			rest = append(rest, line...)
		}
	}
	return rest, flags
}

func lettersOf(value string, known ...[2]string) (flags []imap.Flag) {
	for _, k := range known {
		if strings.Contains(value, k[0]) {
			flags = append(flags, imap.Flag(k[1]))
		}
	}
	return flags
}
