package ledger

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// A Report compares acknowledged messages with what is there.
type Report struct {
	Acknowledged int
	Missing      []Entry // the host answered for it, and it is gone
	Torn         []Entry // there, with another body
	Duplicates   int     // copies beyond the first
	Unanswered   int     // there, although the answer never came: allowed
}

// Lost tells whether the host broke its word.
func (r Report) Lost() bool { return len(r.Missing)+len(r.Torn) > 0 }

// String says it in one line.
func (r Report) String() string {
	return fmt.Sprintf("%d acknowledged, %d missing, %d torn, %d duplicates, %d there without an answer",
		r.Acknowledged, len(r.Missing), len(r.Torn), r.Duplicates, r.Unanswered)
}

// holding is what one mailbox holds: sums of bodies by Message-ID.
type holding map[string][]string

func (h holding) add(raw string) {
	id, sum := identify(raw)
	h[id] = append(h[id], sum)
}

// compare judges the entries that belong into one mailbox.
func (h holding) compare(entries []Entry) Report {
	r := Report{Acknowledged: len(entries)}
	noted := make(map[string]bool, len(entries))
	for _, e := range entries {
		noted[e.ID] = true
		sums := h[e.ID]
		if len(sums) == 0 {
			r.Missing = append(r.Missing, e)
			continue
		}
		r.Duplicates += len(sums) - 1
		for _, sum := range sums {
			if sum != e.Sum {
				r.Torn = append(r.Torn, e)
				break
			}
		}
	}
	for id := range h {
		if !noted[id] {
			r.Unanswered++
		}
	}
	return r
}

// For returns the entries of one mailbox.
func For(entries []Entry, account, mailbox string) []Entry {
	var mine []Entry
	for _, e := range entries {
		if e.Account == account && e.Mailbox == mailbox {
			mine = append(mine, e)
		}
	}
	return mine
}

// CheckMaildir compares entries with the files in dir/new and dir/cur.
func CheckMaildir(entries []Entry, dir string) (Report, error) {
	found := holding{}
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Report{}, err
		}
		for _, file := range files {
			raw, err := os.ReadFile(filepath.Join(dir, sub, file.Name()))
			if err != nil {
				return Report{}, err
			}
			found.add(string(raw))
		}
	}
	return found.compare(entries), nil
}

// A Mailbox is one mailbox as a fresh IMAP session sees it.
type Mailbox struct {
	Addr           string // TLS from the start
	TLS            *tls.Config
	User, Password string
	Name           string
}

// CheckIMAP compares entries with what an IMAP session fetches.
func CheckIMAP(ctx context.Context, entries []Entry, m Mailbox) (Report, error) {
	found := holding{}
	err := m.fetch(ctx, &imap.FetchItemBodySection{Peek: true}, func(_ imap.UID, _ []imap.Flag, raw string) { found.add(raw) })
	return found.compare(entries), err
}

// UIDs returns the mailbox's UIDVALIDITY and the Message-ID of every UID; messages
// that are expunged meanwhile may be left out.
func (m Mailbox) UIDs(ctx context.Context) (validity uint32, ids map[imap.UID]string, err error) {
	ids = map[imap.UID]string{}
	client, selected, err := m.open(ctx)
	if err != nil {
		return 0, nil, err
	}
	client.Close()
	section := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader}
	err = m.fetch(ctx, section, func(uid imap.UID, _ []imap.Flag, raw string) { ids[uid], _ = identify(raw) })
	var no *imap.Error
	if errors.As(err, &no) && no.Code == "EXPUNGEISSUED" { // RFC 5530
		err = nil
	}
	return selected.UIDValidity, ids, err
}

func (m Mailbox) open(ctx context.Context) (*imapclient.Client, *imap.SelectData, error) {
	t := Append{Addr: m.Addr, TLS: m.TLS, User: m.User, Password: m.Password}
	if err := t.connect(ctx); err != nil {
		return nil, nil, fmt.Errorf("log in as %s: %w", m.User, err)
	}
	selected, err := t.client.Select(m.Name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.client.Close()
		return nil, nil, fmt.Errorf("examine %s: %w", m.Name, err)
	}
	return t.client, selected, nil
}

// fetch hands one section of every message to each.
func (m Mailbox) fetch(ctx context.Context, section *imap.FetchItemBodySection, each func(imap.UID, []imap.Flag, string)) error {
	client, selected, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	if selected.NumMessages == 0 {
		return nil
	}
	all := imap.SeqSet{{Start: 1, Stop: 0}}
	cmd := client.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{section}})
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		buffer, err := msg.Collect()
		if err != nil {
			cmd.Close()
			return err
		}
		each(buffer.UID, buffer.Flags, string(buffer.FindBodySection(section)))
	}
	return cmd.Close()
}
