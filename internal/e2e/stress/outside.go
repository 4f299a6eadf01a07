package stress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// outside is another program on the same Maildir, such as mutt: it changes \Seen, removes and delivers messages, each by the rules of Maildir.
type outside struct {
	*run
	random *rand.Rand
	done   int
}

func folder(tree, box string) string {
	if box == "INBOX" {
		return tree
	}
	return filepath.Join(tree, "."+box)
}

func (o *outside) work(ctx context.Context) int {
	for ctx.Err() == nil && !o.facts.failed() {
		dir := folder(o.Tree, boxes[o.random.IntN(len(boxes))])
		if err := o.step(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // the server, or a client, was faster
			o.facts.violate("outside: %v", err)
			break
		}
		o.done++
		pause(ctx, 1+o.random.IntN(15))
	}
	return o.done
}

func (o *outside) step(dir string) error {
	if o.random.IntN(4) == 0 {
		return o.deliver(dir)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "cur"))
	if err != nil || len(entries) == 0 {
		return err
	}
	name := filepath.Join(dir, "cur", entries[o.random.IntN(len(entries))].Name())
	if o.random.IntN(6) == 0 {
		return os.Remove(name)
	}
	return os.Rename(name, toggleSeen(name))
}

// toggleSeen adds or removes the letter S of a file name.
func toggleSeen(name string) string {
	base, letters, ok := strings.Cut(name, ":2,")
	if !ok {
		return name + ":2,S"
	}
	all := []byte(letters)
	if i := bytes.IndexByte(all, 'S'); i >= 0 {
		all = slices.Delete(all, i, i+1)
	} else {
		all = append(all, 'S')
		slices.Sort(all)
	}
	return base + ":2," + string(all)
}

// deliver adds a message, every other one with the line ends of Unix.
func (o *outside) deliver(dir string) error {
	text := content(o.random.Int(), o.random.IntN(50))
	if o.random.IntN(2) == 0 {
		text = strings.ReplaceAll(text, "\r\n", "\n")
	}
	name := fmt.Sprintf("%d.P%dQ%d.outside", 1_700_000_000+o.done, os.Getpid(), o.done)
	tmp := filepath.Join(dir, "tmp", name)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "new", name))
}

// readTree returns the contents of a mailbox's files, as IMAP has them.
func readTree(tree, box string) (sums [][sha256.Size]byte, err error) {
	for _, sub := range []string{"new", "cur"} {
		dir := filepath.Join(folder(tree, box), sub)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
			sums = append(sums, sha256.Sum256(text))
		}
	}
	return sums, nil
}
