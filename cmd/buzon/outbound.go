package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"buzon/mx"
	"buzon/mx/queue"
)

// mxConfig is how mail leaves, with the passwords of smarthosts read.
func (c *config) mxConfig() (mx.Config, error) {
	out := mx.Config{
		Hostname: c.Hostname, Port: uint16(c.Outbound.Port), AllowPrivate: c.Outbound.AllowPrivate,
		AssumeEightBit: c.Outbound.AssumeEightBit, NoDANE: !c.Outbound.DANE, Routes: make(map[string]*mx.Smarthost), Senders: make(map[string]*mx.Smarthost),
	}
	for _, s := range c.Outbound.Addresses {
		out.Addresses = append(out.Addresses, netip.MustParseAddr(s)) // checked with the configuration
	}
	for _, s := range c.Outbound.Source {
		out.Sources = append(out.Sources, netip.MustParseAddr(s))
	}
	// A message that is alone shall find its host tried at each attempt.
	out.DeadTime = min(time.Minute, time.Duration(slices.Min(c.Queue.Retry))/2)
	for domain, cfg := range c.Smarthost {
		var s *mx.Smarthost
		if !cfg.Direct {
			password, err := readPassword(cfg.PasswordFile)
			if err != nil {
				return mx.Config{}, fmt.Errorf("smarthost %q: password_file: %w", domain, err)
			}
			s = &mx.Smarthost{
				Host: cfg.Host, Port: uint16(cfg.Port), TLS: mx.TLSMode(cfg.TLS),
				AnyCertificate: cfg.AnyCertificate, Username: cfg.User, Password: password,
			}
		}
		switch {
		case domain == "*":
			out.Smarthost = s
		case strings.Contains(domain, "@"):
			out.Senders[domain] = s
		default:
			out.Routes[domain] = s
		}
	}
	return out, nil
}

// readPassword returns the first line of a file; none for no file.
func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := readLimited(path, 4096)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s: the first line is empty; it must be the password", path)
	}
	return line, nil
}

// queueConfig is the queue's part of the configuration.
func (c *config) queueConfig() queue.Config {
	q := c.Queue
	cfg := queue.Config{
		Dir: c.path("queue"), Hostname: c.Hostname,
		Schedule: queue.Schedule{WarnAfter: time.Duration(q.WarnAfter), GiveUpAfter: time.Duration(q.GiveUpAfter)},
		Limits:   queue.Limits{Attempts: q.Attempts, PerDestination: q.AttemptsPerDestination, Grace: 20 * time.Second},
	}
	for _, pause := range q.Retry {
		cfg.Schedule.Retry = append(cfg.Schedule.Retry, time.Duration(pause))
	}
	return cfg
}
