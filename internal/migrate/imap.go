package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// batch is how many messages one FETCH asks for.
const batch = 100

// IMAP is another server as a Source, or the account itself when it is exported.
type IMAP struct {
	Client *imapclient.Client // logged in
}

// virtual mailboxes show messages that are in others, too (RFC 6154 2).
var virtual = []imap.MailboxAttr{imap.MailboxAttrAll, imap.MailboxAttrFlagged, `\Important`}

// Mailboxes implements Source.
func (s IMAP) Mailboxes(context.Context) ([]Mailbox, error) {
	prefix, err := s.prefix()
	if err != nil {
		return nil, err
	}
	var opts imap.ListOptions
	extended := s.Client.Caps().Has(imap.CapListExtended)
	opts.ReturnSubscribed = extended
	opts.ReturnSpecialUse = extended && s.Client.Caps().Has(imap.CapSpecialUse)
	list, err := s.Client.List("", "*", &opts).Collect()
	if err != nil {
		return nil, fmt.Errorf("list the mailboxes: %w", err)
	}
	var boxes []Mailbox
	for _, l := range list {
		has := func(attrs ...imap.MailboxAttr) bool {
			return slices.ContainsFunc(attrs, func(a imap.MailboxAttr) bool { return slices.Contains(l.Attrs, a) })
		}
		if has(imap.MailboxAttrNoSelect, imap.MailboxAttrNonExistent) || has(virtual...) {
			continue
		}
		box := Mailbox{id: l.Mailbox, Subscribed: !extended || has(imap.MailboxAttrSubscribed)}
		name := strings.TrimPrefix(l.Mailbox, prefix)
		if box.Name = []string{name}; l.Delim != 0 {
			box.Name = strings.Split(name, string(l.Delim))
		}
		for _, use := range specialUses {
			if has(use) {
				box.SpecialUse = use
			}
		}
		status, err := s.Client.Status(l.Mailbox, &imap.StatusOptions{NumMessages: true}).Wait()
		if err != nil {
			return nil, fmt.Errorf("status of %s: %w", l.Mailbox, err)
		}
		if status.NumMessages != nil {
			box.Messages = int(*status.NumMessages)
		}
		boxes = append(boxes, box)
	}
	return boxes, nil
}

// prefix is what the server puts before the user's own mailboxes, "INBOX." on
// some (RFC 2342).
func (s IMAP) prefix() (string, error) {
	if !s.Client.Caps().Has(imap.CapNamespace) {
		return "", nil
	}
	data, err := s.Client.Namespace().Wait()
	if err != nil || len(data.Personal) == 0 {
		return "", err
	}
	return data.Personal[0].Prefix, nil
}

// Each implements Source. A message is known by UIDVALIDITY and UID.
func (s IMAP) Each(ctx context.Context, box Mailbox, known func(string) bool, fn func(Message) error) error {
	selected, err := s.Client.Select(box.id, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || selected.NumMessages == 0 {
		return err
	}
	found, err := s.Client.UIDSearch(&imap.SearchCriteria{}, nil).Wait()
	if err != nil {
		return err
	}
	key := func(uid imap.UID) string { return fmt.Sprintf("%d.%d", selected.UIDValidity, uid) }
	uids := slices.DeleteFunc(found.AllUIDs(), func(uid imap.UID) bool { return known(key(uid)) })
	for part := range slices.Chunk(uids, batch) {
		if err := s.fetch(ctx, part, func(uid imap.UID, m Message) error { m.Key = key(uid); return fn(m) }); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads some messages, one in memory at a time.
func (s IMAP) fetch(ctx context.Context, uids []imap.UID, fn func(imap.UID, Message) error) error {
	cmd := s.Client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	})
	var failed error
	for failed == nil {
		next := cmd.Next()
		if next == nil {
			break
		}
		uid, m, err := collect(next)
		switch {
		case err != nil:
			failed = err
		case m.Body == nil: // it was expunged, or this is only about its flags
		case ctx.Err() != nil:
			failed = ctx.Err()
		default:
			failed = fn(uid, m)
		}
	}
	if failed != nil {
		_ = s.Client.Close() // rather than read what nobody wants
		return failed
	}
	return errors.Join(failed, cmd.Close())
}

// collect reads a message. The library takes the end of the connection for the
// end of a literal: what is shorter than was announced is an error.
func collect(data *imapclient.FetchMessageData) (uid imap.UID, m Message, err error) {
	for item := data.Next(); item != nil; item = data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = item.UID
		case imapclient.FetchItemDataInternalDate:
			m.Time = item.Time
		case imapclient.FetchItemDataFlags:
			m.Flags = slices.DeleteFunc(item.Flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), `\Recent`) })
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil || err != nil {
				continue
			}
			m.Body, err = io.ReadAll(item.Literal)
			if err == nil && int64(len(m.Body)) != item.Literal.Size() {
				err = io.ErrUnexpectedEOF
			}
		}
	}
	return uid, m, err
}
