package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"buzon/internal/durable"
	"buzon/mx/dns"
)

// State says what a key is used for. It is part of the name of the key's file,
// so that a change of it is one rename.
type State string

// A key is announced as Next before it signs, and as Old for a while after:
// messages that it has signed are on their way.
const (
	Active State = ""     // SELECTOR.pem
	Next   State = "next" // SELECTOR.next.pem
	Old    State = "old"  // SELECTOR.old.pem
)

const (
	newRSABits  = 2048     // what everybody verifies; the record fits into one UDP answer
	maxKeyFile  = 16 << 10 // bytes
	maxKeyFiles = 32       // in the directory of one domain

	// settled is how old the last change of a directory must be for its time to
	// tell the next one.
	settled = 2 * time.Second
)

// ErrNoKey is the answer for a domain without an active key.
var ErrNoKey = errors.New("there is no DKIM key; buzon domain add makes one")

// StoredKey is a key with what its file says of it.
type StoredKey struct {
	Key
	State   State
	Changed time.Time // of the file
}

// Store is a directory of keys: one directory for each domain, one PEM file
// for each key. It is safe for concurrent use, by several processes too.
type Store struct {
	root *os.Root
	rand interface{ Read([]byte) (int, error) }

	mu    sync.Mutex // guards cache
	cache map[string]cached
}

// cached are the keys of a domain as of a state of its directory.
type cached struct {
	changed time.Time
	keys    []StoredKey
}

// OpenStore opens the directory at path, and makes it where there is none.
func OpenStore(path string) (*Store, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of DKIM keys: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open directory of DKIM keys: %w", err)
	}
	return &Store{root: root, rand: rand.Reader, cache: make(map[string]cached)}, nil
}

// Close gives the directory back.
func (s *Store) Close() error { return s.root.Close() }

// Active returns the keys that sign for a domain: RSA first, for everybody can
// verify its signature, and some look only at the one on top. The error is ErrNoKey,
// or names the file that cannot be used.
func (s *Store) Active(domain string) ([]Key, error) {
	all, err := s.List(domain)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, k := range all {
		if k.State == Active {
			keys = append(keys, k.Key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w", domain, ErrNoKey)
	}
	slices.Reverse(keys)
	return keys, nil
}

// List returns every key of a domain, by algorithm and selector. A domain that
// has none is no error.
func (s *Store) List(domain string) ([]StoredKey, error) {
	domain, err := dns.Name(domain)
	if err != nil {
		return nil, err
	}
	info, err := s.root.Stat(domain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Every change is a rename or a new name, which changes the directory.
	if c, ok := s.cache[domain]; ok && c.changed.Equal(info.ModTime()) {
		return slices.Clone(c.keys), nil
	}
	keys, err := s.read(domain)
	if err != nil {
		delete(s.cache, domain)
		return nil, err
	}
	if time.Since(info.ModTime()) > settled {
		s.cache[domain] = cached{info.ModTime(), keys}
	}
	return slices.Clone(keys), nil
}

func (s *Store) read(domain string) ([]StoredKey, error) {
	dir, err := s.root.Open(domain)
	if err != nil {
		return nil, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxKeyFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("DKIM keys of %s: %w", domain, err)
	}
	if len(entries) > maxKeyFiles {
		return nil, fmt.Errorf("DKIM keys of %s: more than %d files", domain, maxKeyFiles)
	}
	var keys []StoredKey
	for _, e := range entries {
		selector, state, ok := parseFileName(e.Name())
		if !ok {
			continue
		}
		k, err := s.readFile(domain, e.Name())
		if err != nil {
			return nil, fmt.Errorf("DKIM key %s/%s: %w", domain, e.Name(), err)
		}
		k.Domain, k.Selector, k.State = domain, selector, state
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b StoredKey) int {
		if c := strings.Compare(a.Algorithm(), b.Algorithm()); c != 0 {
			return c
		}
		return strings.Compare(a.Selector, b.Selector)
	})
	return keys, nil
}

func (s *Store) readFile(domain, name string) (StoredKey, error) {
	path := domain + "/" + name
	info, err := s.root.Lstat(path)
	switch {
	case err != nil:
		return StoredKey{}, err
	case !info.Mode().IsRegular():
		return StoredKey{}, errors.New("is no regular file")
	case info.Mode().Perm()&0o077 != 0:
		return StoredKey{}, fmt.Errorf("others can read it: chmod 600 (it is %04o)", info.Mode().Perm())
	case info.Size() > maxKeyFile:
		return StoredKey{}, errors.New("is too large for a key")
	}
	text, err := s.root.ReadFile(path)
	if err != nil {
		return StoredKey{}, err
	}
	private, err := parsePrivate(text)
	if err != nil {
		return StoredKey{}, err
	}
	return StoredKey{Key: Key{Private: private}, Changed: info.ModTime()}, nil
}

// parsePrivate reads a private key as OpenSSL and OpenDKIM write it.
func parsePrivate(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, errors.New("is not a private key in PKCS #8 or PKCS #1")
		}
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < 1024 || bits > maxRSABits {
			return nil, fmt.Errorf("is an RSA key of %d bits; 1024 to %d are verified by others", bits, maxRSABits)
		}
		return key, nil
	}
	return nil, fmt.Errorf("is a key of type %T; RSA and Ed25519 are possible", key)
}

// Ensure returns the keys of a domain, and makes an active pair when it has
// none. made tells the two cases apart. Of several processes that do it at
// once, one makes them.
func (s *Store) Ensure(domain string, now time.Time) (keys []StoredKey, made bool, err error) {
	err = s.locked(domain, func(domain string) error {
		if keys, err = s.List(domain); err != nil || len(keys) > 0 {
			return err
		}
		made = true
		keys, err = s.makePair(domain, Active, now)
		return err
	})
	return keys, made, err
}

// Make makes a pair of keys for a domain, ed25519 and RSA, in the given state.
// Their selectors are the day and a letter, e or r, and a number when the day
// has had some before.
func (s *Store) Make(domain string, state State, now time.Time) (keys []StoredKey, err error) {
	err = s.locked(domain, func(domain string) error {
		keys, err = s.makePair(domain, state, now)
		return err
	})
	return keys, err
}

// lockWait is how long a change waits for another process that makes one; to
// make an RSA key takes a second on a slow machine.
const lockWait = 20 * time.Second

// locked calls f with the cleaned name of a domain whose directory is there,
// while no other process makes keys for it.
func (s *Store) locked(domain string, f func(domain string) error) error {
	domain, err := dns.Name(domain)
	if err != nil {
		return err
	}
	if err := s.root.Mkdir(domain, 0o700); err == nil {
		if err := durable.SyncDir(s.root, "."); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make DKIM keys: %w", err)
	}
	deadline := time.Now().Add(lockWait)
	for {
		unlock, err := durable.Lock(filepath.Join(s.root.Name(), domain, ".lock"))
		if err == nil {
			return errors.Join(f(domain), unlock())
		}
		if !errors.Is(err, durable.ErrLocked) || time.Now().After(deadline) {
			return fmt.Errorf("make DKIM keys: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Store) makePair(domain string, state State, now time.Time) ([]StoredKey, error) {
	have, err := s.List(domain)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(s.rand, newRSABits)
	if err != nil {
		return nil, fmt.Errorf("make DKIM keys: %w", err)
	}
	_, edKey, err := ed25519.GenerateKey(s.rand)
	if err != nil {
		return nil, fmt.Errorf("make DKIM keys: %w", err)
	}
	var made []StoredKey
	for _, k := range []struct {
		letter  string
		private crypto.Signer
	}{{"e", edKey}, {"r", rsaKey}} {
		key := StoredKey{Key: Key{domain, freeSelector(have, now, k.letter), k.private}, State: state, Changed: now}
		if err := s.write(key); err != nil {
			return nil, fmt.Errorf("make DKIM keys: %w", err)
		}
		made = append(made, key)
	}
	return made, nil
}

func freeSelector(have []StoredKey, now time.Time, letter string) string {
	base := now.UTC().Format("20060102") + letter
	for n := 1; ; n++ {
		selector := base
		if n > 1 {
			selector = fmt.Sprintf("%s%d", base, n)
		}
		if !slices.ContainsFunc(have, func(k StoredKey) bool { return k.Selector == selector }) {
			return selector
		}
	}
}

func (s *Store) write(k StoredKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return durable.WriteFile(s.root, k.path(), text, 0o600)
}

// Set changes the state of a key.
func (s *Store) Set(k StoredKey, state State) error {
	to := k
	to.State = state
	if err := s.root.Rename(k.path(), to.path()); err != nil {
		return err
	}
	now := time.Now()
	if err := s.root.Chtimes(to.path(), now, now); err != nil { // when it became so
		return err
	}
	return durable.SyncDir(s.root, k.Domain)
}

// Remove forgets a key.
func (s *Store) Remove(k StoredKey) error {
	if err := s.root.Remove(k.path()); err != nil {
		return err
	}
	return durable.SyncDir(s.root, k.Domain)
}

func (k StoredKey) path() string {
	name := k.Selector + ".pem"
	if k.State != Active {
		name = k.Selector + "." + string(k.State) + ".pem"
	}
	return k.Domain + "/" + name
}

// parseFileName is the inverse of path's last element.
func parseFileName(name string) (selector string, state State, ok bool) {
	name, ok = strings.CutSuffix(name, ".pem")
	if !ok || strings.HasPrefix(name, ".") {
		return "", "", false
	}
	for _, s := range []State{Next, Old} {
		if base, is := strings.CutSuffix(name, "."+string(s)); is {
			name, state = base, s
		}
	}
	if _, err := dns.Name(name); err != nil {
		return "", "", false
	}
	return name, state, true
}

// Name is where the key's record stands.
func (k Key) Name() string { return k.Selector + "._domainkey." + k.Domain }
