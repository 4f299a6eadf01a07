package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"buzon/mx/dkim"
	"buzon/mx/dns"
)

func dnsCommand() command {
	return command{
		name: "dns", operands: "DOMAIN",
		short: "Show the records that a domain needs, or check them",
		long: `
Writes every record as a line of a zone file, ready to be pasted, each with a
sentence on what it is for. Lines that begin with ";;" are for hosts that have
what they say.

With --check it asks the DNS instead and compares, line by line; the exit code
is 1 when a record is missing or differs that should not.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			check := fs.Bool("check", false, "compare with what the world sees")
			return func(ctx context.Context, std streams, operands []string) error {
				return withKeys(file, std, operands[0], func(cfg *config, store *dkim.Store, name string) error {
					domain, err := cfg.ourDomain(name)
					if err != nil {
						return err
					}
					records, notes, err := domainRecords(cfg, store, domain)
					if err != nil {
						return err
					}
					if *check {
						return checkRecords(ctx, cfg, std, domain, records)
					}
					return printRecords(std, records, notes)
				})
			}
		},
	}
}

func printRecords(std streams, records []record, notes []string) error {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "; %s\n", r.why)
		if r.needs != "" {
			fmt.Fprintf(&b, ";; %s:\n;; ", r.needs)
		}
		fmt.Fprintf(&b, "%s\n", r.line())
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "; %s\n", n)
	}
	_, err := fmt.Fprint(std.out, b.String())
	return err
}

var errRecords = errors.New("not everything is published as it should be")

// checkRecords asks for each record and says what is there.
func checkRecords(ctx context.Context, cfg *config, std streams, domain string, records []record) error {
	resolver, err := dns.New(dns.Config{Servers: cfg.DNS.Servers, Trusted: cfg.DNS.Trusted, CacheEntries: -1})
	if err != nil {
		return configError{err}
	}
	c := recordCheck{resolver: resolver, host: cfg.Hostname}
	bad := false
	tell := func(f finding, what string) {
		fmt.Fprintf(std.out, "%-8s %s\n", f.mark, what)
		if f.reason != "" {
			fmt.Fprintf(std.out, "         %s\n", f.reason)
		}
		bad = bad || f.mark.bad()
	}
	for _, r := range records {
		f := c.look(ctx, r)
		if r.needs != "" && f.mark == missing {
			f.mark, f.reason = optional, r.needs
		}
		tell(f, r.kind+" "+r.name)
	}
	for _, f := range c.reverse(ctx, publicAddresses(cfg)) {
		tell(f.finding, f.what)
	}
	if bad {
		return fmt.Errorf("%s: %w", domain, errRecords)
	}
	return nil
}
