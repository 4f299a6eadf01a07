package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dkim"
	"buzon/mx/dns"
)

// keepOld is how long the record of a key that signs no more should stay
// published: mail that it has signed may wait that long for its delivery.
const keepOld = 7 * 24 * time.Hour

// domainCommands work on the DKIM keys; a running server sees them change.
func domainCommands() []command {
	return []command{
		{
			name: "domain add", operands: "NAME",
			short: "Make the DKIM keys of a domain",
			long: `
Makes an Ed25519 and an RSA key below dkim/NAME in the data directory, with
which all mail of the domain is signed, and shows the records that must be
published. A domain that has keys keeps them. The domain itself stands in the
configuration; buzon serve makes the keys of domains there that have none.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(_ context.Context, std streams, operands []string) error {
					return withKeys(file, std, operands[0], func(cfg *config, store *dkim.Store, domain string) error {
						return addDomain(cfg, store, std, domain)
					})
				}
			},
		},
		{
			name:  "domain list",
			short: "List the domains and their DKIM keys",
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				asJSON := fs.Bool("json", false, "write JSON")
				return func(_ context.Context, std streams, _ []string) error {
					return withKeys(file, std, "", func(cfg *config, store *dkim.Store, _ string) error {
						return listDomains(cfg, store, std, *asJSON)
					})
				}
			},
		},
		{
			name: "domain rotate", operands: "NAME",
			short: "Change the DKIM keys of a domain, in two steps",
			long: `
The first time it makes new keys that do not sign yet, and shows their records:
publish them. The second time it looks whether the world sees them, and lets
them sign from then on. The records of the old keys should stay for a week; keys
that have been old for longer are forgotten with the next rotation.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				force := fs.Bool("force", false, "change although the DNS does not show the new keys")
				return func(ctx context.Context, std streams, operands []string) error {
					return withKeys(file, std, operands[0], func(cfg *config, store *dkim.Store, domain string) error {
						return rotateKeys(ctx, cfg, store, std, domain, *force)
					})
				}
			},
		},
	}
}

// withKeys opens the keys as the owner of the data. domain is cleaned, where
// one is given.
func withKeys(file configFlag, std streams, domain string, f func(*config, *dkim.Store, string) error) error {
	cfg, err := file.load()
	if err != nil {
		return err
	}
	if domain != "" {
		if domain, err = smtp.ParseDomain(domain); err != nil || strings.HasPrefix(domain, "[") {
			return fmt.Errorf("%q is not a domain name", domain)
		}
	}
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError}))
	if err := makeData(cfg.Data); err != nil {
		return err
	}
	if err := becomeOwner(cfg.Data, log); err != nil {
		return err
	}
	store, err := dkim.OpenStore(cfg.path(keyDir))
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, store, domain), store.Close())
}

func addDomain(cfg *config, store *dkim.Store, std streams, domain string) error {
	keys, made, err := store.Ensure(domain, time.Now())
	if err != nil {
		return err
	}
	if !made {
		fmt.Fprintf(std.out, "; %s has its keys already\n", domain)
	}
	if err := printKeys(std, keys); err != nil {
		return err
	}
	listed := false
	for _, d := range cfg.Domains {
		listed = listed || sameDomain(d, domain)
	}
	if !listed {
		fmt.Fprintf(std.err, "note: %s is not among domains in the configuration yet: add it there, check it, and reload the server\n", domain)
	}
	fmt.Fprintf(std.out, "; all records that %s needs: buzon dns %s\n", domain, domain)
	return nil
}

// printKeys writes the records of the keys that are not old.
func printKeys(std streams, keys []dkim.StoredKey) error {
	for _, k := range keys {
		if k.State == dkim.Old {
			continue
		}
		r, err := keyRecord(k)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(std.out, r.line()); err != nil {
			return err
		}
	}
	return nil
}

func listDomains(cfg *config, store *dkim.Store, std streams, asJSON bool) error {
	type key struct {
		Selector  string `json:"selector"`
		Algorithm string `json:"algorithm"`
		State     string `json:"state"` // active, next or old
		Since     string `json:"since"`
	}
	type row struct {
		Domain string `json:"domain"`
		Signed bool   `json:"signed"`
		Keys   []key  `json:"keys"`
	}
	rows := []row{}
	for _, d := range cfg.Domains {
		keys, err := store.List(d)
		if err != nil {
			return err
		}
		r := row{Domain: d, Signed: !cfg.unsigned(d), Keys: []key{}}
		for _, k := range keys {
			r.Keys = append(r.Keys, key{k.Selector, k.Algorithm(), stateName(k.State), k.Changed.UTC().Format("2006-01-02")})
		}
		rows = append(rows, r)
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSELECTOR\tKEY\tSTATE\tSINCE")
	for _, r := range rows {
		switch {
		case !r.Signed:
			fmt.Fprintf(w, "%s\t-\t-\tunsigned\t-\n", r.Domain)
		case len(r.Keys) == 0:
			fmt.Fprintf(w, "%s\t-\t-\tno keys\t-\n", r.Domain)
		}
		for _, k := range r.Keys {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Domain, k.Selector, k.Algorithm, k.State, k.Since)
		}
	}
	return w.Flush()
}

func stateName(s dkim.State) string {
	if s == dkim.Active {
		return "active"
	}
	return string(s)
}

// rotateKeys makes the next step of a change of keys.
func rotateKeys(ctx context.Context, cfg *config, store *dkim.Store, std streams, domain string, force bool) error {
	all, err := store.List(domain)
	if err != nil {
		return err
	}
	var next []dkim.StoredKey
	for _, k := range all {
		if k.State == dkim.Next {
			next = append(next, k)
		}
	}
	if len(next) == 0 {
		made, err := store.Make(domain, dkim.Next, time.Now())
		if err != nil {
			return err
		}
		if err := printKeys(std, made); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "; publish these, and then: buzon domain rotate %s\n", domain)
		return nil
	}
	if !force {
		if err := published(ctx, cfg, next); err != nil {
			return err
		}
	}
	// The new ones first: after a crash in between two pairs sign, not none.
	for _, k := range next {
		if err := store.Set(k, dkim.Active); err != nil {
			return err
		}
	}
	for _, k := range all {
		switch {
		case k.State == dkim.Active:
			err = store.Set(k, dkim.Old)
		case k.State == dkim.Old && time.Since(k.Changed) > keepOld:
			err = store.Remove(k)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range next {
		fmt.Fprintf(std.out, "%s signs now\n", k.Name())
	}
	fmt.Fprintf(std.out, "keep the records of the old keys until %s\n", time.Now().Add(keepOld).Format("2006-01-02"))
	return nil
}

// published wants the world to see the records of the keys.
func published(ctx context.Context, cfg *config, keys []dkim.StoredKey) error {
	resolver, err := dns.New(dns.Config{Servers: cfg.DNS.Servers, Trusted: cfg.DNS.Trusted, CacheEntries: -1})
	if err != nil {
		return configError{err}
	}
	for _, k := range keys {
		want, err := dkim.Record(k.Private.Public())
		if err != nil {
			return err
		}
		texts, _, err := resolver.TXT(ctx, k.Name())
		if err != nil {
			return fmt.Errorf("the new keys do not sign yet: %w (publish them, or use --force)", err)
		}
		if len(texts) != 1 || !dkim.SameKey(texts[0], want) {
			return fmt.Errorf("the new keys do not sign yet: %s holds another text than the key's (or use --force)", k.Name())
		}
	}
	return nil
}
