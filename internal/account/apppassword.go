package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"buzon/internal/durable"
	"buzon/internal/tomlfile"
)

// AppPassword is one of an account's passwords for a single device or program.
// It opens what the account's own password opens, and can be taken back alone.
type AppPassword struct {
	Name    string // "phone"; unique within the account
	Created time.Time
	Used    time.Time // when it was last used, within usedEvery; zero for never
	UsedBy  string    // from where, as "imap 192.0.2.1"; "" for never
}

// appPassword is an app password as the account's file has it. It is made by
// us, 99 random bits, so that a fast hash keeps it as well as a slow one.
type appPassword struct {
	AppPassword
	sum   [sha256.Size]byte
	scram SCRAMKey // zero where there is none
}

const (
	maxAppPasswords    = 50 // more devices than anyone has; each costs a comparison at login
	maxAppPasswordName = 40
	sumPrefix          = "sha256:"
)

// String is "NAME CREATED sha256:SUM [SCRAMKEY]".
func (p appPassword) String() string {
	s := p.Name + " " + p.Created.UTC().Format(time.RFC3339) + " " + sumPrefix + hex.EncodeToString(p.sum[:])
	if !p.scram.isZero() {
		s += " " + p.scram.String()
	}
	return s
}

// parseAppPassword reads what String writes.
func parseAppPassword(s string) (p appPassword, err error) {
	fields := strings.Fields(s)
	if len(fields) < 3 || len(fields) > 4 || checkDevice(fields[0]) != nil {
		return p, fmt.Errorf("%q is not an app password like \"phone 2026-01-31T12:00:00Z sha256:…\"", clip(s))
	}
	p.Name = fields[0]
	if p.Created, err = time.Parse(time.RFC3339, fields[1]); err != nil {
		return p, fmt.Errorf("app password %s: %q is not a time", p.Name, clip(fields[1]))
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(fields[2], sumPrefix))
	if err != nil || len(sum) != len(p.sum) || !strings.HasPrefix(fields[2], sumPrefix) {
		return p, fmt.Errorf("app password %s: the third word must be sha256: and 64 hexadecimal digits", p.Name)
	}
	copy(p.sum[:], sum)
	if len(fields) == 4 {
		if p.scram, err = parseSCRAMKey(fields[3]); err != nil {
			return p, fmt.Errorf("app password %s: %w", p.Name, err)
		}
	}
	return p, nil
}

func clip(s string) string { return s[:min(len(s), 40)] }

// checkDevice tells whether an app password may have the name.
func checkDevice(name string) error {
	bad := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
	}
	if name == "" || len(name) > maxAppPasswordName || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("the name %q must have letters, digits, hyphen, dot and underscore only, at most %d of them", name, maxAppPasswordName)
	}
	return nil
}

// device returns the app password that the prepared password is.
func (e *entry) device(password string) (name string, ok bool) {
	if e == nil {
		return "", false
	}
	sum := sha256.Sum256([]byte(password))
	for _, p := range e.apps {
		if subtle.ConstantTimeCompare(sum[:], p.sum[:]) == 1 {
			return p.Name, true
		}
	}
	return "", false
}

// AddAppPassword makes a password for a device and returns it, the only time
// that anybody sees it. The error wraps ErrNotFound or ErrExists, or tells what
// is wrong with the name.
func (d *Directory) AddAppPassword(ctx context.Context, id ID, name string) (password string, err error) {
	password = GeneratePassword()
	err = d.change(ctx, func(s *snapshot) error {
		e, ok := s.accounts[id]
		switch {
		case !ok:
			return fmt.Errorf("account %s: %w", id, ErrNotFound)
		case checkDevice(name) != nil:
			return checkDevice(name)
		case slices.ContainsFunc(e.apps, func(p appPassword) bool { return p.Name == name }):
			return fmt.Errorf("an app password %s of %s %w", name, id, ErrExists)
		case len(e.apps) >= maxAppPasswords:
			return fmt.Errorf("%s has %d app passwords already: remove one first", id, len(e.apps))
		}
		p := appPassword{AppPassword: AppPassword{Name: name, Created: d.now()}, sum: sha256.Sum256([]byte(password))}
		p.scram = d.newKey(id, e, password)
		return d.setAppPasswords(id, append(slices.Clone(e.apps), p))
	})
	if err != nil {
		return "", err
	}
	return password, nil
}

// RemoveAppPassword takes a device's password back, which ends the account's
// sessions: those of other devices log in again by themselves.
func (d *Directory) RemoveAppPassword(ctx context.Context, id ID, name string) error {
	return d.change(ctx, func(s *snapshot) error {
		e, ok := s.accounts[id]
		if !ok {
			return fmt.Errorf("account %s: %w", id, ErrNotFound)
		}
		left := slices.DeleteFunc(slices.Clone(e.apps), func(p appPassword) bool { return p.Name == name })
		if len(left) == len(e.apps) {
			return fmt.Errorf("app password %s of %s: %w", name, id, ErrNotFound)
		}
		return d.setAppPasswords(id, left)
	})
}

func (d *Directory) setAppPasswords(id ID, list []appPassword) error {
	if len(list) == 0 {
		return d.edit(id.path(), setting{"app_passwords", ""})
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, p := range list {
		b.WriteString("  " + strconv.Quote(p.String()) + ",\n")
	}
	b.WriteString("]")
	return d.edit(id.path(), setting{"app_passwords", b.String()})
}

// AppPasswords lists those of an account by age.
func (d *Directory) AppPasswords(id ID) ([]AppPassword, error) {
	e, ok := d.snapshot().accounts[id]
	if !ok {
		return nil, fmt.Errorf("account %s: %w", id, ErrNotFound)
	}
	used := d.readUses(id)
	list := make([]AppPassword, len(e.apps))
	for i, p := range e.apps {
		list[i] = p.AppPassword
		when, by, _ := strings.Cut(used[p.Name], " ")
		if t, err := time.Parse(time.RFC3339, when); err == nil {
			list[i].Used, list[i].UsedBy = t, by
		}
	}
	return list, nil
}

// usedEvery is how often the use of an app password is written down, at most.
const usedEvery = 10 * time.Minute

// usesPath is where the last uses of an account's app passwords are kept. It is
// not the account's file, which people edit; it may be deleted.
func (id ID) usesPath() string { return "accounts/" + id.Domain() + "/." + id.User() + ".used" }

// Used notes that a login was made with one of the account's app passwords, by
// a client that is described in words. What cannot be noted is only logged.
func (d *Directory) Used(a Account, by string) {
	if a.Device == "" {
		return
	}
	now := d.now()
	d.uses.Lock()
	defer d.uses.Unlock()
	key := string(a.ID) + " " + a.Device
	if last, ok := d.uses.last[key]; ok && now.Sub(last) < usedEvery {
		return
	}
	if d.uses.last == nil {
		d.uses.last = make(map[string]time.Time)
	}
	d.uses.last[key] = now
	if err := d.writeUse(a, now.UTC().Format(time.RFC3339)+" "+by); err != nil {
		d.log.Warn("the use of an app password cannot be noted", "user", string(a.ID), "err", err)
	}
}

func (d *Directory) writeUse(a Account, value string) error {
	data, err := d.readAll(a.ID.usesPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data, err = tomlfile.Set(d.full(a.ID.usesPath()), data, a.Device, strconv.Quote(value)); err != nil {
		data = nil // damaged: begin again
		if data, err = tomlfile.Set(d.full(a.ID.usesPath()), data, a.Device, strconv.Quote(value)); err != nil {
			return err
		}
	}
	return durable.WriteFile(d.root, a.ID.usesPath(), data, 0o600)
}

func (d *Directory) readUses(id ID) map[string]string {
	uses := make(map[string]string)
	if data, err := d.readAll(id.usesPath()); err == nil {
		_, _ = tomlfile.Decode(d.full(id.usesPath()), data, &uses) // what is damaged is not known
	}
	return uses
}
