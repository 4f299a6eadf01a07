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

// Subscriptions are Dovecot's file "subscriptions" in the tree's root. Version 2
// is written:
//
//	"V" TAB "2" LF LF, then one mailbox per line, its parts joined by TAB
//
// with TAB, CR, LF and \001 inside a part escaped. Version 1 is read: plain names,
// parts joined by the storage separator ".". Parts are in modified UTF-7.
const (
	subscriptionsFile = "subscriptions"
	// maxSubscriptionsFile allows 10 000 names of 200 bytes.
	maxSubscriptionsFile = 2 << 20
	subscriptionsHeader  = "V\t2\n\n"
)

// parseSubscriptions returns the names, UTF-8 and "/" separated, sorted, once
// each. Names that are none are skipped.
func parseSubscriptions(data []byte) []string {
	text, v2 := strings.CutPrefix(string(data), subscriptionsHeader)
	if !v2 {
		text, v2 = strings.CutPrefix(string(data), "V\t2\n")
	}
	var names []string
	for line := range strings.SplitSeq(text, "\n") {
		sep := "."
		if v2 {
			sep = "\t"
		}
		if line == "" {
			continue
		}
		parts := strings.Split(line, sep)
		for i, p := range parts {
			if v2 {
				p = tabUnescape.Replace(p)
			}
			parts[i] = decodeFolderPart(p)
		}
		if name := strings.Join(parts, "/"); checkSubscription(name) == nil {
			names = append(names, canonicalName(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkSubscription is checkMailboxName for a name that need not be one of this tree: those of other
// accounts' mailboxes have addresses in them.
func checkSubscription(name string) error {
	return checkMailboxName(strings.ReplaceAll(name, ".", "_"))
}

func formatSubscriptions(names []string) []byte {
	b := []byte(subscriptionsHeader)
	for _, name := range names {
		for i, p := range strings.Split(name, "/") {
			if i > 0 {
				b = append(b, '\t')
			}
			b = append(b, tabEscape.Replace(encodeFolderPart(p))...)
		}
		b = append(b, '\n')
	}
	return b
}

// Dovecot's escaping of fields that are joined by TAB.
var (
	tabEscape   = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
	tabUnescape = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
)

// Subscriptions returns the subscribed names, sorted; they need not exist
// (RFC 9051 6.3.9).
func (u *User) Subscriptions(context.Context) ([]string, error) {
	data, _, err := readSmallFile(u.root, subscriptionsFile, maxSubscriptionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	return parseSubscriptions(data), nil
}

// Subscribe adds a name, durably. It need not exist.
func (u *User) Subscribe(ctx context.Context, name string) error {
	if err := checkSubscription(name); err != nil {
		return err
	}
	name = canonicalName(name)
	return u.editSubscriptions(ctx, func(names []string) []string {
		if slices.Contains(names, name) {
			return names
		}
		return append(names, name)
	})
}

// Unsubscribe removes a name, durably; one that is not subscribed is no error.
func (u *User) Unsubscribe(ctx context.Context, name string) error {
	name = canonicalName(name)
	return u.editSubscriptions(ctx, func(names []string) []string {
		return slices.DeleteFunc(names, func(n string) bool { return n == name })
	})
}

func (u *User) editSubscriptions(ctx context.Context, edit func([]string) []string) error {
	u.subs.Lock()
	defer u.subs.Unlock()
	names, err := u.Subscriptions(ctx)
	if err != nil {
		return err
	}
	before := slices.Clone(names)
	names = edit(names)
	slices.Sort(names)
	if slices.Equal(before, names) {
		return nil
	}
	data := formatSubscriptions(names)
	if len(data) > maxSubscriptionsFile {
		return fmt.Errorf("too many subscriptions: %w", ErrLimit)
	}
	if err := durable.WriteFileIn(u.root, subscriptionsFile, data, u.filePerm); err != nil {
		return fmt.Errorf("write subscriptions: %w", diskError(err))
	}
	return nil
}
