package maildir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"buzon/internal/durable"
)

// The keys with which an account signs URLs of its messages (RFC 4467 2) stand in the file
// "url-keys" of its tree's root, which nobody else may read: one line for each mailbox that it ever
// did so for,
//
//	<GUID of the mailbox> TAB <key in hex> LF
//
// A mailbox keeps its key under a new name, and one that is made anew has none.
const (
	urlKeysFile    = "url-keys"
	maxURLKeysFile = 1 << 20
	urlKeySize     = 32 // bytes, as much as the hash that it is for
)

type urlKey struct{ mailbox, key string }

func parseURLKeys(data []byte) (keys []urlKey) {
	for line := range strings.Lines(string(data)) {
		mailbox, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		key, err := hex.DecodeString(text)
		if ok && err == nil && len(key) == urlKeySize && validGUID(mailbox) {
			keys = append(keys, urlKey{mailbox, string(key)})
		}
	}
	return keys
}

func formatURLKeys(keys []urlKey) []byte {
	var b []byte
	for _, k := range keys {
		b = fmt.Appendf(b, "%s\t%x\n", k.mailbox, k.key)
	}
	return b
}

func (u *User) readURLKeys() ([]urlKey, error) {
	data, _, err := readSmallFile(u.root, urlKeysFile, maxURLKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read URL keys: %w", err)
	}
	return parseURLKeys(data), nil
}

// URLKey returns the account's key for a mailbox, which need not be one of its own, by the mailbox's
// ID; nil where there is none. With make, a new one is made then, durably.
func (u *User) URLKey(_ context.Context, mailboxID string, make bool) ([]byte, error) {
	u.notes.Lock()
	defer u.notes.Unlock()
	keys, err := u.readURLKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.mailbox == mailboxID {
			return []byte(k.key), nil
		}
	}
	if !make {
		return nil, nil
	}
	var fresh [urlKeySize]byte
	_, _ = rand.Read(fresh[:])
	keys = append(keys, urlKey{mailboxID, string(fresh[:])})
	if err := u.writeURLKeys(keys); err != nil {
		return nil, err
	}
	return fresh[:], nil
}

// ResetURLKey forgets the account's key for a mailbox, or with "" all its keys: the URLs that were
// signed with them lead nowhere from now on, durably (RFC 4467 7, RESETKEY).
func (u *User) ResetURLKey(_ context.Context, mailboxID string) error {
	u.notes.Lock()
	defer u.notes.Unlock()
	keys, err := u.readURLKeys()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(keys), func(k urlKey) bool { return mailboxID == "" || k.mailbox == mailboxID })
	if len(left) == len(keys) {
		return nil
	}
	return u.writeURLKeys(left)
}

func (u *User) writeURLKeys(keys []urlKey) error {
	data := formatURLKeys(keys)
	if len(data) > maxURLKeysFile {
		return fmt.Errorf("URL keys: %w", ErrLimit)
	}
	if err := durable.WriteFileIn(u.root, urlKeysFile, data, 0o600); err != nil {
		return fmt.Errorf("write URL keys: %w", diskError(err))
	}
	return nil
}

// HasURLKeys says whether the account ever signed a URL. Its tree is neither opened nor made.
func (s *Store) HasURLKeys(owner string) (bool, error) {
	dir, err := s.openTree(owner)
	if dir == nil || err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Stat(urlKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
