package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/dkim"
)

// keyDir is where the DKIM keys are, below the data directory.
const keyDir = "dkim"

// signingDomain tells which of our domains signs mail whose author is at
// domain, and whether it does: that domain itself, the one that it or this
// host lies below, or the first one.
func (c *config) signingDomain(domain string) (name string, sign bool) {
	for _, candidate := range []string{domain, c.Hostname} {
		best := ""
		for _, d := range c.Domains {
			ours, err := smtp.ParseDomain(d)
			under := err == nil && (strings.EqualFold(candidate, ours) || strings.HasSuffix(strings.ToLower(candidate), "."+ours))
			if under && len(ours) > len(best) {
				best = ours
			}
		}
		if best != "" {
			return best, !c.unsigned(best)
		}
	}
	first, _ := smtp.ParseDomain(c.Domains[0])
	return first, !c.unsigned(first)
}

// unsigned reports whether the configuration says that a domain's mail leaves
// without a signature.
func (c *config) unsigned(domain string) bool {
	for key, special := range c.Domain {
		if sameDomain(key, domain) {
			return special.Unsigned
		}
	}
	return false
}

// checkKeys wants the DKIM keys of every domain that has any to be usable.
// missing are the domains that have none at all.
func (c *config) checkKeys(store *dkim.Store) (missing []string, err error) {
	var errs []error
	for _, d := range c.Domains {
		if c.unsigned(d) {
			continue
		}
		all, err := store.List(d)
		if err == nil && len(all) == 0 {
			missing = append(missing, d)
			continue
		}
		if err == nil {
			_, err = store.Active(d)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("DKIM: %w (to send without signatures set domain.%q.unsigned = true)", err, d))
		}
	}
	return missing, errors.Join(errs...)
}

// ensureKeys makes keys for the domains that have none, so that no mail leaves
// unsigned because nobody thought of it.
func (c *config) ensureKeys(store *dkim.Store, log *slog.Logger) error {
	missing, err := c.checkKeys(store)
	if err != nil {
		return err
	}
	for _, d := range missing {
		keys, made, err := store.Ensure(d, time.Now())
		if err != nil {
			return err
		}
		if !made {
			continue // somebody else has, in between
		}
		log.Warn("made DKIM keys, their records must be published: buzon dns "+d, "host", d, "selectors", keys[0].Selector+" "+keys[1].Selector)
	}
	return nil
}

// signing tells the submission port whether a message could be signed.
type signing struct{ h *host }

// Check returns why mail of a domain could not be signed.
func (s signing) Check(domain string) error {
	name, sign := s.h.signs(domain)
	if !sign {
		return nil
	}
	_, err := s.h.keys.Active(name)
	return err
}

// signs is signingDomain of the configuration in force.
func (h *host) signs(domain string) (string, bool) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	return h.cfg.signingDomain(domain)
}
