package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"
)

// What a new password costs to check: argon2id with 19 MiB of memory and two
// passes, the OWASP recommendation that fits a small machine.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	saltSize    = 16
	keySize     = 32
)

// What a hash that somebody else made may cost at most, so that one login
// cannot take the machine.
const (
	maxHashMemory  = 1 << 20 // KiB: 1 GiB
	maxHashTime    = 16
	maxHashThreads = 16
)

// maxPassword is the longest password in bytes: more is not typed by anyone,
// and hashing without a limit is work for an attacker to give.
const maxPassword = 1024

// ErrPassword is wrapped by the errors of passwords that cannot be set.
var ErrPassword = errors.New("this password cannot be used")

// preparePassword maps what a person means by the same password to the same
// bytes, on every keyboard (RFC 8265 4.2, which replaces SASLprep).
func preparePassword(password string) (string, error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrPassword, maxPassword)
	}
	p, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", fmt.Errorf("%w: it is empty or holds control characters", ErrPassword)
	}
	return p, nil
}

// passwordHash is an argon2id hash with what it was made from.
type passwordHash struct {
	memory, time uint32 // memory in KiB
	threads      uint8
	salt, key    []byte
}

// newHash hashes a prepared password.
func newHash(password string) passwordHash {
	h := passwordHash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, saltSize)}
	_, _ = rand.Read(h.salt) // never fails since Go 1.24
	h.key = h.derive(password, keySize)
	return h
}

// decoyHash costs as much as a real one, and no password matches it.
func decoyHash() passwordHash {
	return passwordHash{
		memory: hashMemory, time: hashTime, threads: hashThreads,
		salt: make([]byte, saltSize), key: make([]byte, keySize),
	}
}

func (h passwordHash) derive(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(size))
}

// matches reports whether the prepared password is the one.
func (h passwordHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1
}

// String writes the hash as PHC string.
func (h passwordHash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, h.memory, h.time, h.threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// parseHash reads a PHC string of argon2id.
func parseHash(s string) (passwordHash, error) {
	bad := errors.New("this is not an argon2id hash like $argon2id$v=19$m=19456,t=2,p=1$…")
	var h passwordHash
	fields := strings.Split(s, "$")
	if len(fields) != 6 {
		return h, bad
	}
	var threads uint32
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &threads); err != nil {
		return h, bad
	}
	var errSalt, errKey error
	h.salt, errSalt = base64.RawStdEncoding.DecodeString(fields[4])
	h.key, errKey = base64.RawStdEncoding.DecodeString(fields[5])
	h.threads = uint8(threads)
	switch {
	case threads < 1 || threads > maxHashThreads || h.time < 1 || h.time > maxHashTime,
		h.memory < 8*threads || h.memory > maxHashMemory:
		return h, errors.New("the hash has parameters that are out of bounds")
	case errSalt != nil || errKey != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64:
		return h, bad
	case h.String() != s: // another version, leading zeros, trailing words
		return h, bad
	}
	return h, nil
}

// GeneratePassword returns a random password of 99 bits that is easy to copy
// from paper: four groups of five letters and digits without look-alikes.
func GeneratePassword() string {
	const alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
	var b strings.Builder
	for i := range 20 {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails since Go 1.24
		b.WriteByte(alphabet[n.Int64()])
	}
	return b.String()
}
