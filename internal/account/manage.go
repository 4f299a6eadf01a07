package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
)

// Add makes an account. quota is in bytes, 0 for the default. The error wraps
// ErrExists, ErrNotLocal or ErrPassword, or tells what is wrong with the name.
func (d *Directory) Add(ctx context.Context, id ID, password string, quota int64) error {
	return d.change(ctx, func(s *snapshot) error {
		if err := s.free(key(id)); err != nil {
			return err
		}
		password, err := preparePassword(password)
		if err != nil {
			return err
		}
		e := entry{phc: newHash(password).String(), scram: d.newKey(id, nil, password)}
		e.ID, e.Quota, e.Created = id, quota, d.now()
		return d.write(id.path(), e.format())
	})
}

// CanAdd says why an account of this name cannot be made, or nil: to be asked
// before a person is asked for a password.
func (d *Directory) CanAdd(id ID) error { return d.snapshot().free(key(id)) }

// SetPassword gives an account a new password, which ends its sessions.
func (d *Directory) SetPassword(ctx context.Context, id ID, password string) error {
	return d.change(ctx, func(s *snapshot) error {
		password, err := preparePassword(password)
		if err != nil {
			return err
		}
		phc := newHash(password).String()
		scram := setting{name: "scram"}
		if key := d.newKey(id, s.accounts[id], password); !key.isZero() {
			scram.value = strconv.Quote(formatMainKey(key, phc))
		}
		return d.edit(id.path(), setting{"password", strconv.Quote(phc)}, scram)
	})
}

// SetDisabled forbids an account to log in, or allows it again.
func (d *Directory) SetDisabled(ctx context.Context, id ID, disabled bool) error {
	return d.change(ctx, func(s *snapshot) error {
		return d.edit(id.path(), setting{"disabled", strconv.FormatBool(disabled)})
	})
}

// Remove forgets an account. Its mail stays where it is.
func (d *Directory) Remove(ctx context.Context, id ID) error {
	return d.change(ctx, func(s *snapshot) error {
		err := d.root.Remove(id.path())
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("account %s: %w", id, ErrNotFound)
		}
		if err != nil {
			return err
		}
		_ = d.root.Remove(id.usesPath())
		return durable.SyncDir(d.root, "accounts/"+id.Domain())
	})
}

// Alias is another name for local addresses.
type Alias struct {
	Name    smtp.Address
	Members []smtp.Address
}

// Aliases returns every alias of the configured domains, by domain and name.
func (d *Directory) Aliases() []Alias {
	s := d.snapshot()
	var list []Alias
	for _, name := range slices.SortedFunc(maps.Keys(s.aliases), compareKeys) {
		a := Alias{Name: name.address()}
		for _, m := range s.aliases[name].members {
			a.Members = append(a.Members, m.address())
		}
		list = append(list, a)
	}
	return list
}

func compareKeys(a, b key) int {
	if c := strings.Compare(a.domain(), b.domain()); c != 0 {
		return c
	}
	return strings.Compare(string(a), string(b))
}

func (k key) address() smtp.Address { return smtp.Address{Local: k.local(), Domain: k.domain()} }

// AddAlias makes an alias, or adds members to one that exists. An alias with
// the name of an account takes its mail over; it must have the account itself
// among its members, or nobody would get it.
func (d *Directory) AddAlias(ctx context.Context, name smtp.Address, members []string) error {
	k := keyOf(name)
	return d.change(ctx, func(s *snapshot) error {
		if _, ours := s.domains[name.Domain]; !ours {
			return fmt.Errorf("%s is not one of our domains", name.Domain)
		}
		if err := checkAlias(k.local()); err != nil {
			return err
		}
		added, err := parseMembers(members, name.Domain, s.domains)
		if err != nil {
			return err
		}
		for _, m := range added {
			if m != k && !s.exists(m) {
				return fmt.Errorf("member %s does not exist: add the account first", m)
			}
		}
		all := slices.Clone(s.aliases[k].members)
		for _, m := range added {
			if !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
		if _, account := s.accounts[ID(k)]; account && !slices.Contains(all, k) {
			return fmt.Errorf("%s is an account: name it among the members to keep its mail going there too", k)
		}
		return d.setAlias(s, k, all)
	})
}

// RemoveAlias takes members out of an alias, or removes it altogether when
// none are given or none is left.
func (d *Directory) RemoveAlias(ctx context.Context, name smtp.Address, members []string) error {
	k := keyOf(name)
	return d.change(ctx, func(s *snapshot) error {
		a, ok := s.aliases[k]
		if !ok {
			return fmt.Errorf("alias %s: %w", k, ErrNotFound)
		}
		var left []key
		if len(members) > 0 {
			gone, err := parseMembers(members, name.Domain, s.domains)
			if err != nil {
				return err
			}
			for _, m := range gone {
				if !slices.Contains(a.members, m) {
					return fmt.Errorf("alias %s has no member %s: %w", k, m, ErrNotFound)
				}
			}
			left = slices.DeleteFunc(slices.Clone(a.members), func(m key) bool { return slices.Contains(gone, m) })
		}
		return d.setAlias(s, k, left)
	})
}

// setAlias writes an alias into its domain's file; without members it goes.
func (d *Directory) setAlias(s *snapshot, k key, members []key) error {
	trial := *s
	trial.aliases = maps.Clone(s.aliases)
	trial.aliases[k] = alias{members: members}
	c := climb{s: &trial, heights: make(map[key]int)}
	if way := c.loop(k); way != nil {
		return fmt.Errorf("the alias would lead back to itself or go too deep: %s", arrows(way))
	}
	var value string
	if len(members) > 0 {
		quoted := make([]string, len(members))
		for i, m := range members {
			quoted[i] = strconv.Quote(string(m))
		}
		value = "[" + strings.Join(quoted, ", ") + "]"
	}
	p := "aliases/" + k.domain() + ".toml"
	if _, err := d.root.Stat(p); errors.Is(err, fs.ErrNotExist) {
		head := fmt.Sprintf("# Aliases of %s: name = [members]. A change counts within a second.\n", k.domain())
		if err := d.write(p, []byte(head)); err != nil {
			return err
		}
	}
	return d.edit(p, setting{k.local(), value})
}

// free reports what stands in the way of a new account with this address.
func (s *snapshot) free(k key) error {
	if _, ours := s.domains[k.domain()]; !ours {
		return fmt.Errorf("%s is not one of our domains: add it to domains in the configuration first", k.domain())
	}
	if err := checkName(k.local()); err != nil {
		return err
	}
	if _, ok := s.files[ID(k).path()]; ok {
		return fmt.Errorf("account %s: %w", k, ErrExists)
	}
	if a, ok := s.aliases[k]; ok && !slices.Contains(a.members, k) {
		return fmt.Errorf("alias %s: %w; remove it first", k, ErrExists)
	}
	return nil
}

// changeWait is how long a change waits for another process that makes one.
const changeWait = 5 * time.Second

// change runs fn on what the files say now, while nobody else writes them,
// and takes over what it wrote.
func (d *Directory) change(ctx context.Context, fn func(*snapshot) error) error {
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.reload()
	if err != nil {
		return err
	}
	if err := fn(s); err != nil {
		return err
	}
	_, err = d.reload()
	return err
}

// lock keeps other processes from writing: `buzon account` may run beside us.
func (d *Directory) lock(ctx context.Context) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	for {
		unlock, err = durable.Lock(d.full("accounts/.lock"))
		if !errors.Is(err, durable.ErrLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// write replaces a file, whose directory is made when absent.
func (d *Directory) write(p string, data []byte) error {
	dir := p[:strings.LastIndexByte(p, '/')]
	if err := d.root.Mkdir(dir, 0o700); err == nil {
		if err := durable.SyncDir(d.root, "accounts"); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.WriteFile(d.root, p, data, 0o600)
}

// setting is a key of a file with its value as TOML; "" removes the key.
type setting struct{ name, value string }

// edit sets some keys of a file, at once, and leaves the rest as people wrote it.
func (d *Directory) edit(p string, settings ...setting) error {
	data, err := d.readAll(p)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", d.full(p), ErrNotFound)
	}
	if err != nil {
		return err
	}
	for _, s := range settings {
		if data, err = tomlfile.Set(d.full(p), data, s.name, s.value); err != nil {
			return err
		}
	}
	return durable.WriteFile(d.root, p, data, os.FileMode(0o600))
}
