package main

import (
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"buzon/internal/milter"
	"buzon/internal/size"
	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
	"buzon/mx/dnsbl"
)

// submissionConfig is about mail from our users.
type submissionConfig struct {
	Milters []string `toml:"milters"`
}

// milterConfig is [milter."name"]: a program that is asked about messages by
// the ports whose milters name it.
type milterConfig struct {
	Address   string     `toml:"address"`
	Timeout   duration   `toml:"timeout"`
	OnFailure string     `toml:"on_failure"`
	MaxSize   size.Bytes `toml:"max_size"`
}

// place is where the program listens, in the words of package net. Beside our
// own ways to write it those of Postfix are understood.
func (m milterConfig) place() (network, address string, ok bool) {
	if path, isUnix := strings.CutPrefix(m.Address, "unix:"); isUnix || filepath.IsAbs(m.Address) {
		return "unix", path, filepath.IsAbs(path)
	}
	address = strings.TrimPrefix(m.Address, "inet:")
	host, port, err := net.SplitHostPort(address)
	return "tcp", address, err == nil && host != "" && port != ""
}

// dnsblConfig is [dnsbl."zone"]: a list in the DNS that strangers are looked up in.
type dnsblConfig struct {
	Action string   `toml:"action"`
	Of     string   `toml:"of"`
	Codes  []string `toml:"codes"`
}

// greylistConfig says whether senders that are new have to come twice.
type greylistConfig struct {
	Enabled     bool     `toml:"enabled"`
	Delay       duration `toml:"delay"`
	RetryWithin duration `toml:"retry_within"`
	Remember    duration `toml:"remember"`
}

func checkBlocklists(f *tomlfile.File, c *config) {
	for name, list := range c.DNSBL {
		key := func(k string) []string { return []string{"dnsbl", name, k} }
		if zone, err := smtp.ParseDomain(name); err != nil || strings.HasPrefix(zone, "[") {
			f.Problem([]string{"dnsbl", name}, "%q is not a domain name: write the zone of the list, like [dnsbl.\"zen.spamhaus.org\"]", name)
		}
		if !slices.Contains([]string{"", "reject", "junk"}, list.Action) {
			f.Problem(key("action"), "%q is not one of reject, junk", list.Action)
		}
		if !slices.Contains([]string{"", "address", "domain"}, list.Of) {
			f.Problem(key("of"), "%q is not one of address, domain", list.Of)
		}
		for _, codes := range list.Codes {
			if _, err := dnsbl.ParseCodes(codes); err != nil {
				f.Problem(key("codes"), "%v", err)
			}
		}
	}
	g := c.Greylist
	for _, limit := range []struct {
		key         string
		value       duration
		least, most time.Duration
	}{
		{"delay", g.Delay, time.Second, 4 * time.Hour},
		{"retry_within", g.RetryWithin, 2 * time.Duration(g.Delay), 30 * 24 * time.Hour},
		{"remember", g.Remember, 24 * time.Hour, 3650 * 24 * time.Hour},
	} {
		if v := time.Duration(limit.value); v < limit.least || v > limit.most {
			f.Problem([]string{"greylist", limit.key}, "%s is not from %s to %s", limit.value, duration(limit.least), duration(limit.most))
		}
	}
}

// blocklists are the lists in the order of their names, nil for none.
func (c *config) blocklists(r dnsbl.Resolver, log *slog.Logger) *dnsbl.Lists {
	if len(c.DNSBL) == 0 {
		return nil
	}
	var zones []dnsbl.Zone
	for _, name := range slices.Sorted(maps.Keys(c.DNSBL)) {
		list := c.DNSBL[name]
		zone := dnsbl.Zone{Name: name, Domains: list.Of == "domain", Junk: list.Action == "junk"}
		for _, text := range list.Codes {
			codes, err := dnsbl.ParseCodes(text)
			if err == nil { // it was checked
				zone.Codes = append(zone.Codes, codes)
			}
		}
		zones = append(zones, zone)
	}
	return dnsbl.New(dnsbl.Config{Zones: zones, Resolver: r, Log: log})
}

func checkFilters(f *tomlfile.File, c *config) {
	for name, m := range c.Milter {
		key := func(k string) []string { return []string{"milter", name, k} }
		if _, _, ok := m.place(); !ok {
			f.Problem(key("address"), "%q is not where a milter listens: write it like \"unix:/run/rspamd/milter.sock\" or \"127.0.0.1:11332\"", m.Address)
		}
		if !slices.Contains([]string{"", "accept", "tempfail", "reject"}, m.OnFailure) {
			f.Problem(key("on_failure"), "%q is not one of accept, tempfail, reject", m.OnFailure)
		}
		if t := time.Duration(m.Timeout); t != 0 && (t < time.Second || t > 5*time.Minute) {
			f.Problem(key("timeout"), "%s is not from 1s to 5m", m.Timeout)
		}
	}
	for _, port := range []struct {
		table   string
		milters []string
	}{{"incoming", c.Incoming.Milters}, {"submission", c.Submission.Milters}} {
		for i, name := range port.milters {
			key := []string{port.table, "milters"}
			if _, ok := c.Milter[name]; !ok {
				f.Problem(key, "there is no [milter.%q]: write the table, or take the name out", name)
			} else if slices.Contains(port.milters[:i], name) {
				f.Problem(key, "%q is there twice", name)
			}
		}
	}
}

// milters are those of a port in their order, nil for none.
func (c *config) milters(daemon string, names []string) *milter.Chain {
	if len(names) == 0 {
		return nil
	}
	var filters []*milter.Filter
	for _, name := range names {
		m := c.Milter[name]
		network, address, _ := m.place()
		filters = append(filters, milter.New(milter.Config{
			Name: name, Network: network, Address: address,
			Timeout: time.Duration(m.Timeout), OnFailure: milter.Failure(m.OnFailure), MaxSize: int64(m.MaxSize),
		}))
	}
	return milter.NewChain(milter.Host{Name: c.Hostname, Daemon: daemon, Version: "Buzon " + version}, filters...)
}
