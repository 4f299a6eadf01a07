package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"buzon/internal/smtp"
)

// hashWait is how long a login waits for a free hash worker. Clients give up
// after about 30 s; telling them to come again is better than that.
const hashWait = 10 * time.Second

// Authenticate checks a password. login is an address in any case, or a name
// alone for the first domain. The error is ErrBadCredentials, ErrBusy or that
// of ctx.
//
// Nothing in the answer or the time that it takes tells whether the user
// exists, is disabled or gave a wrong password: every refusal costs one hash.
// The password may be the account's own or an app password.
func (d *Directory) Authenticate(ctx context.Context, login, password string) (Account, error) {
	password, err := preparePassword(password)
	if err != nil {
		return Account{}, ErrBadCredentials // by the password alone, whoever the user is
	}
	e := d.login(login)
	if d.verified.has(e, password, d.now()) {
		return e.Account, nil
	}
	if device, ok := e.device(password); ok && !e.Disabled {
		return e.as(device), nil
	}
	if err := d.hashWorker(ctx); err != nil {
		return Account{}, err
	}
	defer func() { <-d.workers }()
	// A mail program opens many connections at once: while this one waited,
	// the first may have been verified.
	if d.verified.has(e, password, d.now()) {
		return e.Account, nil
	}
	hash := decoyHash()
	if e != nil && e.phc != "" {
		hash = e.hash
	}
	if !hash.matches(password) || e == nil || e.Disabled {
		return Account{}, ErrBadCredentials
	}
	d.adopt(ctx, e, password)
	d.verified.add(e, password, d.now())
	return e.Account, nil
}

// Identity returns the account with the address that somebody else has vouched
// for: a certificate, an identity provider. Aliases and details do not count.
// The error is ErrBadCredentials.
func (d *Directory) Identity(address string) (Account, error) {
	e := d.login(address)
	if e == nil || e.Disabled || !strings.Contains(address, "@") {
		return Account{}, ErrBadCredentials
	}
	return e.Account, nil
}

// SameLogin reports whether two logins mean the same account, existing or not.
func (d *Directory) SameLogin(a, b string) bool {
	x, okX := d.loginKey(a)
	y, okY := d.loginKey(b)
	return okX && okY && x == y
}

// login finds the account that a person means, or nil.
func (d *Directory) login(login string) *entry {
	k, ok := d.loginKey(login)
	if !ok {
		return nil
	}
	return d.snapshot().accounts[ID(k)]
}

// loginKey is the address that a login means: a name alone is one of the first
// domain.
func (d *Directory) loginKey(login string) (key, bool) {
	if !strings.Contains(login, "@") {
		login += "@" + d.snapshot().firstDomain().name
	}
	a, err := smtp.ParseAddress(login)
	if err != nil {
		return "", false
	}
	return keyOf(a), true
}

// hashWorker waits for one of the few that may hash at a time: each takes
// 19 MiB and a CPU. The caller gives it back.
func (d *Directory) hashWorker(ctx context.Context) error {
	select {
	case d.workers <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case d.workers <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verifiedFor is how long a password that was right needs no argon2 again.
const verifiedFor = 15 * time.Minute

// verified remembers the last right password of each account, so that clients
// that log in for every folder do not cost a hash each. What it keeps is a MAC,
// under a key of this process, over account, stored hash and password: it
// never fits another account, nor the same one after a change.
type verified struct {
	key [32]byte

	mu   sync.Mutex
	last map[ID]proof
}

type proof struct {
	mac   [sha256.Size]byte
	until time.Time
}

func (v *verified) mac(e *entry, password string) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, v.key[:])
	for _, field := range []string{string(e.ID), e.phc, password} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		h.Write([]byte(field))
	}
	h.Sum(mac[:0])
	return mac
}

// has reports whether this password was right a short while ago.
func (v *verified) has(e *entry, password string, now time.Time) bool {
	if e == nil || e.Disabled || e.phc == "" {
		return false
	}
	v.mu.Lock()
	p, ok := v.last[e.ID]
	v.mu.Unlock()
	if !ok || !now.Before(p.until) {
		return false
	}
	mac := v.mac(e, password)
	return hmac.Equal(mac[:], p.mac[:])
}

func (v *verified) add(e *entry, password string, now time.Time) {
	p := proof{v.mac(e, password), now.Add(verifiedFor)}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last == nil {
		v.last = make(map[ID]proof)
	}
	v.last[e.ID] = p
}
