package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"buzon/internal/milter"
	"buzon/internal/size"
	"buzon/internal/tomlfile"
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
