package main

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
	"buzon/mx"
)

// check notes every value that cannot be, with what to write instead.
func check(f *tomlfile.File, c *config) {
	checkNames(f, c)
	checkListeners(f, c)
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		f.Problem([]string{"tls"}, "cert and key go together: name both files, or neither for a self-signed certificate")
	}
	checkAuth(f, c)
	checkWeb(f, c)
	checkLimits(f, c)
	checkIncoming(f, c)
	checkFilters(f, c)
	checkBlocklists(f, c)
	checkJunk(f, c)
	if login := c.IMAP.PlaintextLogin; login != "never" && login != "loopback" {
		f.Problem([]string{"imap", "plaintext_login"}, "%q is not one of never, loopback", login)
	}
	for i, server := range c.DNS.Servers {
		if _, err := netip.ParseAddrPort(server); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(server); err != nil {
			f.Problem([]string{"dns", "servers"}, "entry %d, %q, is not an IP address: write it like \"127.0.0.1\" or \"127.0.0.1:5353\"", i+1, server)
		}
	}
	checkOutbound(f, c)
	checkQueue(f, c)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		f.Problem([]string{"log", "level"}, "%q is not one of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		f.Problem([]string{"log", "format"}, "%q is not one of text, json", c.Log.Format)
	}
}

func checkNames(f *tomlfile.File, c *config) {
	hostname := []string{"hostname"}
	switch name, err := smtp.ParseDomain(c.Hostname); {
	case c.Hostname == "":
		f.Problem(hostname, "is missing: write the full name of this host, like hostname = \"mail.example.org\"")
	case err != nil || strings.HasPrefix(name, "["):
		f.Problem(hostname, "%q is not a host name: write the full name of this host, like \"mail.example.org\"", c.Hostname)
	default:
		c.Hostname = name
	}
	if c.Data == "" {
		f.Problem([]string{"data"}, "is empty: write the directory that holds the mail, or leave the key out for /var/lib/buzon")
	}
	if len(c.Domains) == 0 {
		f.Problem([]string{"domains"}, "is missing: write the domains that mail is received for, like domains = [\"example.org\"]")
	}
	for i, name := range c.Domains {
		switch d, err := smtp.ParseDomain(name); {
		case err != nil || strings.HasPrefix(d, "["):
			f.Problem([]string{"domains"}, "%q is not a domain name", name)
		case slices.ContainsFunc(c.Domains[:i], func(other string) bool { return sameDomain(other, name) }):
			f.Problem([]string{"domains"}, "%q is there twice", name)
		}
	}
	checkLocal(f, c, []string{"postmaster"}, c.Postmaster)
	for name, special := range c.Domain {
		if !slices.ContainsFunc(c.Domains, func(d string) bool { return sameDomain(d, name) }) {
			f.Problem([]string{"domain", name}, "is not one of domains: add it there, or remove this table")
		}
		checkLocal(f, c, []string{"domain", name, "catch_all"}, special.CatchAll)
		checkLocal(f, c, []string{"domain", name, "postmaster"}, special.Postmaster)
	}
	switch sep := c.SubaddressSeparator; {
	case len(sep) != 1 || !strings.Contains("+-_=.", sep):
		f.Problem([]string{"subaddress_separator"}, "%q is not one of + - _ = .", sep)
	}
}

// checkLocal wants an address in one of the domains, or nothing.
func checkLocal(f *tomlfile.File, c *config, key []string, address string) {
	if address == "" {
		return
	}
	a, err := smtp.ParseAddress(address)
	switch {
	case err != nil:
		f.Problem(key, "%q is not an address: write it like \"ana@example.org\"", address)
	case !slices.ContainsFunc(c.Domains, func(d string) bool { return sameDomain(d, a.Domain) }):
		f.Problem(key, "%q is in none of domains: name one of our own addresses", address)
	}
}

func checkListeners(f *tomlfile.File, c *config) {
	seen := make(map[string]string)
	for _, s := range c.services() {
		key := []string{"listen", s.name}
		for _, address := range s.addresses {
			if s.name == "lmtp" { // see checkLMTP
				seen[address] = s.name
				continue
			}
			host, port, err := net.SplitHostPort(address)
			n, errPort := strconv.ParseUint(port, 10, 16)
			if err != nil || errPort != nil {
				f.Problem(key, "%q is not an address to listen at: write it like \":25\", \"192.0.2.1:25\" or \"[::1]:25\"", address)
				continue
			}
			if _, err := netip.ParseAddr(host); host != "" && err != nil {
				f.Problem(key, "%q names a host: write an IP address, or \":%s\" for all addresses", address, port)
				continue
			}
			if other, twice := seen[address]; twice && n != 0 {
				f.Problem(key, "%q is already where %s listens", address, other)
			}
			seen[address] = s.name
		}
	}
	checkLMTP(f, c)
	if len(seen) == 0 && f.Err() == nil {
		f.Problem([]string{"listen"}, "every role is switched off: give at least one of smtp, lmtp, submission, submissions, imap, imaps, https, managesieve an address")
	}
}

func checkLimits(f *tomlfile.File, c *config) {
	l := &c.Limits
	if l.MessageSize < 64<<10 {
		f.Problem([]string{"limits", "message_size"}, "%s is less than the 64 KiB that every mail host must take (RFC 5321 4.5.3.1.7)", l.MessageSize)
	}
	for name, n := range map[string]int{
		"recipients": l.Recipients, "submission_recipients": l.SubmissionRecipients, "recipients_per_hour": l.RecipientsPerHour,
		"new_recipients_per_day": l.NewRecipientsPerDay,
		"smtp_connections":       l.SMTPConnections, "submission_connections": l.SubmissionConnections, "imap_connections": l.IMAPConnections, "web_connections": l.WebConnections,
		"connections_per_address": l.ConnectionsPerAddress, "connections_per_minute": l.ConnectionsPerMinute,
		"imap_sessions_per_user": l.IMAPPerUser, "imap_sessions_per_user_and_address": l.IMAPPerUserAddress,
		"login_failures_per_minute": l.LoginFailuresPerMinute, "login_failures_per_day": l.LoginFailuresPerDay,
	} {
		if n < 1 {
			f.Problem([]string{"limits", name}, "%d is not a limit: write 1 or more, or leave the key out for the default", n)
		}
	}
	if l.UndeleteDays < 0 || l.UndeleteDays > 3650 {
		f.Problem([]string{"limits", "undelete_days"}, "%d is not from 0 to 3650 days; 0 removes expunged messages at once", l.UndeleteDays)
	}
	if l.PasswordChecks < 0 || l.PasswordChecks > 64 {
		f.Problem([]string{"limits", "password_checks"}, "%d is not from 0 to 64; each takes 19 MiB of memory", l.PasswordChecks)
	}
}

func checkIncoming(f *tomlfile.File, c *config) {
	if dmarc := c.Incoming.DMARC; !slices.Contains([]string{"enforce", "junk", "none"}, dmarc) {
		f.Problem([]string{"incoming", "dmarc"}, "%q is not one of enforce, junk, none", dmarc)
	}
	if spf := c.Incoming.SPF; spf != "junk" && spf != "none" {
		f.Problem([]string{"incoming", "spf"}, "%q is not one of junk, none", spf)
	}
	for _, domain := range c.Incoming.TrustedForwarders {
		if name, err := smtp.ParseDomain(domain); err != nil || strings.HasPrefix(name, "[") {
			f.Problem([]string{"incoming", "trusted_forwarders"}, "%q is not a domain name", domain)
		}
	}
}

func checkOutbound(f *tomlfile.File, c *config) {
	checkPort(f, []string{"outbound", "port"}, c.Outbound.Port, 1)
	for _, address := range c.Outbound.Addresses {
		if _, err := netip.ParseAddr(address); err != nil {
			f.Problem([]string{"outbound", "addresses"}, "%q is not an IP address", address)
		}
	}
	families := make(map[bool]string)
	for _, text := range c.Outbound.Source {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" || address.Is4In6() {
			f.Problem([]string{"outbound", "source"}, "%q is not an IP address", text)
			continue
		}
		if other, twice := families[address.Is4()]; twice {
			f.Problem([]string{"outbound", "source"}, "%q and %q are of one family: write one IPv4 and one IPv6 address at most", other, text)
		}
		families[address.Is4()] = text
	}
	for name, s := range c.Smarthost {
		key := func(k string) []string { return []string{"smarthost", name, k} }
		local, domain, isSender := strings.Cut(name, "@")
		if !isSender {
			domain = name
		}
		_, err := smtp.ParseDomain(domain)
		if isSender && local != "" && err == nil {
			_, err = smtp.ParseAddress(name)
		}
		if name != "*" && (err != nil || strings.HasPrefix(domain, "[")) {
			f.Problem([]string{"smarthost", name}, "%q is neither a domain, nor a sender like \"ana@example.org\" or \"@example.org\", nor \"*\" for all domains", name)
		}
		checkPort(f, key("port"), s.Port, 0)
		switch {
		case s.Direct && name == "*":
			f.Problem(key("direct"), "is what happens anyway without a smarthost for all domains: remove the table")
		case s.Direct && s.Host != "":
			f.Problem(key("direct"), "and host exclude each other: remove one")
		case s.Direct:
		case s.Host == "":
			f.Problem(key("host"), "is missing: write the name of the host that takes the mail, or direct = true")
		default:
			if _, err := smtp.ParseDomain(s.Host); err != nil && net.ParseIP(s.Host) == nil {
				f.Problem(key("host"), "%q is not a host name; the port has a key of its own", s.Host)
			}
		}
		switch mode := mx.TLSMode(s.TLS); mode {
		case "", mx.StartTLS, mx.ImplicitTLS:
		case mx.NoTLS:
			if s.User != "" {
				f.Problem(key("tls"), "a password is never sent without TLS: write \"starttls\" or \"implicit\"")
			}
		default:
			f.Problem(key("tls"), "%q is not one of starttls, implicit, none", s.TLS)
		}
		if (s.User == "") != (s.PasswordFile == "") {
			f.Problem([]string{"smarthost", name}, "user and password_file go together: write both or neither")
		}
	}
}

func checkPort(f *tomlfile.File, key []string, port, least int) {
	if port < least || port > 65535 {
		f.Problem(key, "%d is not a port from 1 to 65535", port)
	}
}

func checkQueue(f *tomlfile.File, c *config) {
	q := &c.Queue
	if len(q.Retry) == 0 {
		f.Problem([]string{"queue", "retry"}, "is empty: write at least one pause, like [\"5m\", \"1h\"]")
	}
	for _, pause := range q.Retry {
		if time.Duration(pause) < time.Second {
			f.Problem([]string{"queue", "retry"}, "a pause of %s is too short: write a second or more", pause)
		}
	}
	if q.GiveUpAfter <= 0 {
		f.Problem([]string{"queue", "give_up_after"}, "must be more than nothing, like \"5d\"")
	}
	if q.WarnAfter <= 0 {
		f.Problem([]string{"queue", "warn_after"}, "must be more than nothing, like \"4h\"; a time after give_up_after switches the warning off")
	}
	for name, n := range map[string]int{"attempts": q.Attempts, "attempts_per_destination": q.AttemptsPerDestination} {
		if n < 1 || n > 1000 {
			f.Problem([]string{"queue", name}, "%d is not from 1 to 1000", n)
		}
	}
}
