// Package account knows who our users are: the accounts and aliases of the
// local domains, kept as files that a person can read and edit, and the
// passwords that open them. It knows nothing of mailboxes or protocols.
//
// Below Config.Dir stand one file for each account and one for the aliases of
// each domain:
//
//	accounts/buzon.test/ana.toml
//	aliases/buzon.test.toml
//
// They are replaced atomically and reread when they change, whoever changes
// them. A file that cannot be read while we run leaves what it said before in
// force; at start it is an error that names file and line.
package account

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/smtp"
)

// What callers branch on.
var (
	// ErrBadCredentials says no more than that the login is refused: an
	// unknown user, a disabled one and a wrong password look the same and
	// take the same time.
	ErrBadCredentials = errors.New("login or password is wrong")
	// ErrBusy says that the password could not be checked in time because too
	// many others are being checked. The client may try again.
	ErrBusy = errors.New("too many logins at once")

	// ErrNotLocal says that the address is in none of our domains. It is the
	// reply that refuses to relay.
	ErrNotLocal error = smtp.NoRelay
	// ErrNoSuchUser says that the domain is ours and has no such address.
	ErrNoSuchUser error = smtp.NoSuchUser

	ErrExists   = errors.New("exists already")
	ErrNotFound = errors.New("not found")
)

// Domain is a domain whose mail ends here.
type Domain struct {
	Name       string // as people write it; compared in its A-label form
	CatchAll   string // local address that gets what nobody else gets; "" refuses it
	Postmaster string // local address for postmaster and abuse; "" is the oldest account
}

// Config is what a Directory is made of.
type Config struct {
	Dir                 string // holds accounts/ and aliases/, which are made when absent
	Domains             []Domain
	Hostname            string // postmaster and abuse are known there too
	SubaddressSeparator string // between user and detail; default "+"
	HashWorkers         int    // passwords checked at the same time; default 2 to 4, by the number of CPUs
	NoSCRAM             bool   // keep no SCRAM keys of new passwords
	SCRAMIterations     int    // of new SCRAM keys; default 50 000
	Log                 *slog.Logger
	Now                 func() time.Time // default time.Now
}

// Directory answers who an address or a login is. It is safe for concurrent
// use, and older than the files by a second at most.
type Directory struct {
	root      *os.Root
	separator string
	log       *slog.Logger
	now       func() time.Time
	workers   chan struct{}
	verified  verified
	noSCRAM   bool
	scramCost int // iterations

	salts struct {
		sync.Mutex
		secret []byte // nil before its first use
	}
	uses struct {
		sync.Mutex
		last map[string]time.Time // by account and device: when it was last written down
	}

	current   atomic.Pointer[snapshot]
	nextCheck atomic.Int64 // UnixNano; before it the files are not looked at

	mu       sync.Mutex // held while current is replaced or files are written
	domains  domains
	lastGen  uint64
	hostname string
}

// recheck is how often the files are looked at, at most. Looking may take a
// hundredth of the time: 10 000 accounts are looked at less often.
const (
	recheck      = time.Second
	recheckShare = 100
)

// Open reads every account and alias. What cannot be understood is an error
// with its path and line; all of it is named at once.
func Open(cfg Config) (*Directory, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	workers := cfg.HashWorkers
	if workers <= 0 {
		workers = min(max(runtime.NumCPU(), 2), 4)
	}
	for _, sub := range []string{"accounts", "aliases"} {
		if err := os.MkdirAll(cfg.Dir+"/"+sub, 0o700); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d := &Directory{
		root:      root,
		separator: cmp.Or(cfg.SubaddressSeparator, "+"),
		log:       cfg.Log,
		now:       cfg.Now,
		workers:   make(chan struct{}, workers),
		noSCRAM:   cfg.NoSCRAM,
		scramCost: cmp.Or(cfg.SCRAMIterations, scramIterations),
		hostname:  strings.ToLower(cfg.Hostname),
		// Numbers of an earlier run must not come again: another process may compare.
		lastGen: uint64(cfg.Now().UnixMicro()),
	}
	_, _ = rand.Read(d.verified.key[:]) // never fails since Go 1.24
	if err := d.first(cfg.Domains); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// first reads everything. Unlike later, a bad file is an error: nothing is in
// force yet that could stay.
func (d *Directory) first(list []Domain) (err error) {
	if d.domains, err = newDomains(list); err != nil {
		return err
	}
	s, err := d.reload()
	if err != nil {
		return err
	}
	d.tell(&snapshot{problems: s.problems}, s)
	return s.err()
}

// Close gives the directory of files back. No other method may follow.
func (d *Directory) Close() error { return d.root.Close() }

// Configure replaces the domains, as a new configuration says. An error names
// what is wrong with them; they stay as they were then.
func (d *Directory) Configure(list []Domain) error {
	doms, err := newDomains(list)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.domains
	d.domains = doms
	before := d.current.Load()
	next, err := d.reload()
	if err != nil {
		d.domains = old
		return err
	}
	d.tell(before, next)
	return nil
}

// Reload looks at the files now and returns what cannot be read of them; what
// such files said before stays in force.
func (d *Directory) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, err := d.reload()
	if err != nil {
		return err
	}
	return next.err()
}

// reload replaces the snapshot. The caller holds mu.
func (d *Directory) reload() (*snapshot, error) {
	start := time.Now()
	next, err := d.load(d.current.Load())
	d.nextCheck.Store(d.now().Add(max(recheck, recheckShare*time.Since(start))).UnixNano())
	if err != nil {
		return nil, err
	}
	d.current.Store(next)
	return next, nil
}

// snapshot returns what the files say, having looked at them when the last
// look is a second old. Others go on with the old snapshot while one looks.
func (d *Directory) snapshot() *snapshot {
	if d.now().UnixNano() < d.nextCheck.Load() || !d.mu.TryLock() {
		return d.current.Load()
	}
	defer d.mu.Unlock()
	before := d.current.Load()
	next, err := d.reload()
	if err != nil {
		d.log.Error("accounts cannot be read, the old ones stay", "err", err)
		return before
	}
	d.tell(before, next)
	return next
}

// tell logs what is newly wrong.
func (d *Directory) tell(before, next *snapshot) {
	for _, p := range next.problems {
		if !slices.Contains(before.problems, p) {
			d.log.Error("account file cannot be used, what it said before stays", "err", p)
		}
	}
	for _, w := range next.warnings {
		if !slices.Contains(before.warnings, w) {
			d.log.Warn("alias member does not exist", "err", w)
		}
	}
}

// IsLocalDomain reports whether mail for domain ends here: one of the
// domains, or the host's own name.
func (d *Directory) IsLocalDomain(domain string) bool {
	domain = strings.ToLower(domain)
	_, ok := d.snapshot().domains[domain]
	return ok || domain == d.hostname
}

// Lookup returns an account of the configured domains by its ID.
func (d *Directory) Lookup(id ID) (Account, bool) {
	e, ok := d.snapshot().accounts[id]
	if !ok {
		return Account{}, false
	}
	return e.Account, true
}

// List returns every account of the configured domains, by domain and name.
func (d *Directory) List() []Account {
	s := d.snapshot()
	list := make([]Account, 0, len(s.accounts))
	for _, e := range s.accounts {
		list = append(list, e.Account)
	}
	slices.SortFunc(list, func(a, b Account) int {
		return cmp.Or(strings.Compare(a.ID.Domain(), b.ID.Domain()), strings.Compare(string(a.ID), string(b.ID)))
	})
	return list
}

// Generation is a number that changes whenever sessions of the account must
// end: a new password, an app password taken back, disabled, removed. It is 0 for an account that cannot
// log in. Account.Generation holds its value at login.
func (d *Directory) Generation(id ID) uint64 {
	if e, ok := d.snapshot().accounts[id]; ok && !e.Disabled {
		return e.Generation
	}
	return 0
}

// domains are the configured ones by their A-label name.
type domains map[string]domain

type domain struct {
	name                 string
	first                bool // the one that a login without a domain means
	catchAll, postmaster key  // "" for none
}

func newDomains(list []Domain) (domains, error) {
	doms := make(domains, len(list))
	for i, cfg := range list {
		name, err := smtp.ParseDomain(cfg.Name)
		if err != nil || strings.HasPrefix(name, "[") {
			return nil, fmt.Errorf("domain %q is not a domain name", cfg.Name)
		}
		doms[name] = domain{name: name, first: i == 0}
	}
	// All names first: a catch-all may lead to another of the domains.
	for _, cfg := range list {
		name, _ := smtp.ParseDomain(cfg.Name)
		dom := doms[name]
		for _, special := range []struct {
			what, address string
			into          *key
		}{{"catch_all", cfg.CatchAll, &dom.catchAll}, {"postmaster", cfg.Postmaster, &dom.postmaster}} {
			if special.address == "" {
				continue
			}
			a, err := smtp.ParseAddress(special.address)
			if err != nil {
				return nil, fmt.Errorf("domain %s: %s %q: %w", name, special.what, special.address, err)
			}
			if _, ok := doms[a.Domain]; !ok {
				return nil, fmt.Errorf("domain %s: %s %q is not in a local domain", name, special.what, special.address)
			}
			*special.into = keyOf(a)
		}
		doms[name] = dom
	}
	return doms, nil
}
