package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/xdg-go/scram"

	"buzon/internal/durable"
)

// What a SCRAM key costs to guess at. A telephone needs some hundredths of a second
// for it at each login; RFC 7677 4 wants 4096 at least, and Cyrus SASL, which mbsync
// and mutt have, refuses more than 65 536. It is weaker at rest than
// argon2id: who would rather not keep such keys sets auth.scram to false.
const (
	scramIterations    = 50_000
	maxScramIterations = 10_000_000 // of a file that somebody else wrote
	minScramIterations = 4096
	scramName          = "SCRAM-SHA-256"
)

// SCRAMKey is what a server must know of a password to take part in
// SCRAM-SHA-256 (RFC 5802 3, RFC 7677). It does not open the account at any
// other server, nor here without its password.
type SCRAMKey struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte

	device string // the app password that it is of; "" is the account's own password
}

// newSCRAMKey derives the key of a prepared password.
func newSCRAMKey(password string, salt []byte, iterations int) SCRAMKey {
	// RFC 5802 5.1: SASLprep. What is too new for its tables of 2003 is taken as
	// it is, as clients do.
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		client, _ = scram.SHA256.NewClientUnprepped("", password, "") // has no error to return
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return SCRAMKey{}
	}
	return SCRAMKey{Salt: salt, Iterations: iterations, StoredKey: stored.StoredKey, ServerKey: stored.ServerKey}
}

func (k SCRAMKey) isZero() bool { return k.StoredKey == nil }

// String is the key as RFC 5803 3 and PostgreSQL write it.
func (k SCRAMKey) String() string {
	b64 := base64.StdEncoding
	return fmt.Sprintf("%s$%d:%s$%s:%s", scramName, k.Iterations,
		b64.EncodeToString(k.Salt), b64.EncodeToString(k.StoredKey), b64.EncodeToString(k.ServerKey))
}

// parseSCRAMKey reads what String writes.
func parseSCRAMKey(s string) (k SCRAMKey, err error) {
	bad := errors.New("this is not a key like SCRAM-SHA-256$50000:salt$stored:server")
	name, rest, _ := strings.Cut(s, "$")
	factors, keys, _ := strings.Cut(rest, "$")
	iterations, salt, _ := strings.Cut(factors, ":")
	stored, server, _ := strings.Cut(keys, ":")
	if k.Iterations, err = strconv.Atoi(iterations); err != nil || name != scramName {
		return SCRAMKey{}, bad
	}
	for _, field := range []struct {
		into *[]byte
		text string
	}{{&k.Salt, salt}, {&k.StoredKey, stored}, {&k.ServerKey, server}} {
		if *field.into, err = base64.StdEncoding.DecodeString(field.text); err != nil {
			return SCRAMKey{}, bad
		}
	}
	switch {
	case len(k.StoredKey) != sha256.Size || len(k.ServerKey) != sha256.Size, len(k.Salt) < 8 || len(k.Salt) > 64:
		return SCRAMKey{}, bad
	case k.Iterations < minScramIterations || k.Iterations > maxScramIterations:
		return SCRAMKey{}, errors.New("the key has an iteration count that is out of bounds")
	}
	return k, nil
}

// fingerprint ties a SCRAM key to the hash of the same password: where a person
// writes another hash into the file, the key must not go on to open the account.
func fingerprint(phc string) string {
	sum := sha256.Sum256([]byte(phc))
	return hex.EncodeToString(sum[:8])
}

// formatMainKey is the value of "scram" in an account's file.
func formatMainKey(k SCRAMKey, phc string) string { return k.String() + " of " + fingerprint(phc) }

// parseMainKey reads it. The key is zero when it is of another password.
func parseMainKey(s, phc string) (SCRAMKey, error) {
	text, of, _ := strings.Cut(s, " of ")
	k, err := parseSCRAMKey(text)
	if err != nil || of != fingerprint(phc) {
		return SCRAMKey{}, err
	}
	return k, nil
}

// SCRAM returns the keys that a client which says it is login may prove to know
// the password of, at least one, all with the same salt and count. For an
// account that cannot log in this way, and for one that does not exist, there
// is one that no password fits; its salt is always the same, so that nobody
// learns from it who is a user here (RFC 5802 9).
func (d *Directory) SCRAM(login string) []SCRAMKey {
	e := d.login(login)
	if keys := e.scramKeys(); len(keys) > 0 && !e.Disabled {
		return keys
	}
	name := strings.ToLower(login)
	if e != nil {
		name = string(e.ID)
	} else if id, err := ParseID(login); err == nil {
		name = string(id)
	} else if id, err := ParseID(login + "@" + d.snapshot().firstDomain().name); err == nil {
		name = string(id)
	}
	nobody := SCRAMKey{Salt: d.salt(name), Iterations: d.scramCost, StoredKey: make([]byte, sha256.Size), ServerKey: make([]byte, sha256.Size)}
	_, _ = rand.Read(nobody.StoredKey) // never fails since Go 1.24
	_, _ = rand.Read(nobody.ServerKey)
	return []SCRAMKey{nobody}
}

// scramKeys are the keys of an entry that a client can be asked for together.
func (e *entry) scramKeys() []SCRAMKey {
	if e == nil {
		return nil
	}
	var keys []SCRAMKey
	add := func(k SCRAMKey) {
		if !k.isZero() && (len(keys) == 0 || string(keys[0].Salt) == string(k.Salt) && keys[0].Iterations == k.Iterations) {
			keys = append(keys, k)
		}
	}
	add(e.scram)
	for _, p := range e.apps {
		k := p.scram
		k.device = p.Name
		add(k)
	}
	return keys
}

// Proved returns the account of login after a client has proved that it knows
// the password of the key, one of those that SCRAM returned.
func (d *Directory) Proved(login string, key SCRAMKey) (Account, error) {
	e := d.login(login)
	if e == nil || e.Disabled {
		return Account{}, ErrBadCredentials
	}
	for _, k := range e.scramKeys() { // it may have been revoked in between
		if k.device == key.device && hmac.Equal(k.StoredKey, key.StoredKey) {
			return e.as(k.device), nil
		}
	}
	return Account{}, ErrBadCredentials
}

// newKey derives the key of a new password for the account id, with the salt
// and count of those that it has. It is zero where none are to be kept.
func (d *Directory) newKey(id ID, e *entry, password string) SCRAMKey {
	if d.noSCRAM {
		return SCRAMKey{}
	}
	if keys := e.scramKeys(); len(keys) > 0 {
		return newSCRAMKey(password, keys[0].Salt, keys[0].Iterations)
	}
	return newSCRAMKey(password, d.salt(string(id)), d.scramCost)
}

// saltSecretName is the file with the key that salts are made with: that of an
// account stays the same when it gets another password, and one that does not
// exist has its own.
const saltSecretName = "accounts/.salts"

// salt is the SCRAM salt for a name, whether there is such an account or not.
func (d *Directory) salt(name string) []byte {
	secret, err := d.saltSecret()
	if err != nil {
		d.log.Error("the key of salts cannot be kept, unknown users get other salts after a restart", "err", err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(name))
	return mac.Sum(nil)[:saltSize]
}

// saltSecret reads the secret, or makes it.
func (d *Directory) saltSecret() ([]byte, error) {
	d.salts.Lock()
	defer d.salts.Unlock()
	if d.salts.secret != nil {
		return d.salts.secret, nil
	}
	secret, err := d.readSaltSecret()
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret)
		text := hex.EncodeToString(secret) + "\n"
		err = durable.WriteFile(d.root, saltSecretName, []byte(text), 0o600)
	}
	if err != nil {
		secret = d.verified.key[:] // for this run
	}
	d.salts.secret = secret
	return secret, err
}

func (d *Directory) readSaltSecret() ([]byte, error) {
	text, err := d.readAll(saltSecretName)
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err == nil && len(secret) != sha256.Size {
		err = fs.ErrNotExist // damaged: a new one only changes the salts of nobody
	}
	return secret, err
}

// adoptTime is how long the first login of an account that has no SCRAM key yet
// may take longer for that.
const adoptTime = 2 * time.Second

// adopt keeps the SCRAM key of a password that has just been found right, where
// the account has none: it was made before there were such keys, or by hand.
func (d *Directory) adopt(ctx context.Context, e *entry, password string) {
	if d.noSCRAM || !e.scram.isZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adoptTime)
	defer cancel()
	key := d.newKey(e.ID, e, password)
	err := d.change(ctx, func(s *snapshot) error {
		if now, ok := s.accounts[e.ID]; !ok || now.phc != e.phc {
			return nil // changed in between
		}
		return d.edit(e.ID.path(), setting{"scram", strconv.Quote(formatMainKey(key, e.phc))})
	})
	if err != nil {
		d.log.Warn("the SCRAM key of an account cannot be kept", "user", string(e.ID), "err", err)
	}
}
