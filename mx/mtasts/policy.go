// Package mtasts knows the MTA-STS policies of other domains (RFC 8461): it
// finds them, keeps them on the disk and refreshes them. What a policy means
// for a connection is its user's concern.
package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"buzon/mx/dns"
)

// Mode is what a policy asks for, RFC 8461 5.
type Mode string

const (
	Enforce Mode = "enforce" // no delivery to a host that does not pass
	Testing Mode = "testing" // delivery all the same, and a report
	None    Mode = "none"    // there is no policy any more
)

const (
	maxPolicy = 64 << 10 // bytes, RFC 8461 3.2
	maxMX     = 100      // patterns
	maxMaxAge = 31557600 // seconds, RFC 8461 3.2
	maxID     = 32       // characters, RFC 8461 3.1
)

// ErrInvalid is wrapped by the errors of records and policies that are none.
var ErrInvalid = errors.New("invalid policy")

// Policy is a domain's policy.
type Policy struct {
	Mode   Mode
	MaxAge time.Duration
	MX     []string // host names in lower case; "*.example.org" stands for one label more
}

// Parse reads a policy as it is fetched, RFC 8461 3.2.
func Parse(text []byte) (Policy, error) {
	var p Policy
	if len(text) > maxPolicy {
		return p, fmt.Errorf("%w: more than %d bytes", ErrInvalid, maxPolicy)
	}
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			if strings.TrimSpace(line) != "" {
				return p, fmt.Errorf("%w: a line without a colon", ErrInvalid)
			}
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if key != "mx" && seen[key] {
			continue // the first one counts, RFC 8461 3.2
		}
		seen[key] = true
		switch key {
		case "version":
			if value != "STSv1" {
				return p, fmt.Errorf("%w: version %.20q", ErrInvalid, value)
			}
		case "mode":
			p.Mode = Mode(value)
			if p.Mode != Enforce && p.Mode != Testing && p.Mode != None {
				return p, fmt.Errorf("%w: mode %.20q", ErrInvalid, value)
			}
		case "max_age":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || len(value) > 10 {
				return p, fmt.Errorf("%w: max_age %.20q", ErrInvalid, value)
			}
			p.MaxAge = time.Duration(min(n, maxMaxAge)) * time.Second
		case "mx":
			if err := p.addMX(value); err != nil {
				return p, err
			}
		}
	}
	switch {
	case !seen["version"] || !seen["mode"] || !seen["max_age"]:
		return p, fmt.Errorf("%w: version, mode or max_age is missing", ErrInvalid)
	case p.Mode != None && len(p.MX) == 0:
		return p, fmt.Errorf("%w: no mx", ErrInvalid)
	}
	return p, nil
}

func (p *Policy) addMX(value string) error {
	name, wild := strings.CutPrefix(value, "*.")
	name, err := dns.Name(name)
	if err != nil {
		return fmt.Errorf("%w: mx %.80q", ErrInvalid, value)
	}
	if len(p.MX) == maxMX {
		return fmt.Errorf("%w: more than %d mx", ErrInvalid, maxMX)
	}
	if wild {
		name = "*." + name
	}
	p.MX = append(p.MX, name)
	return nil
}

// Matches reports whether a host may take the domain's mail, RFC 8461 4.1. host
// is as dns.Name writes it.
func (p Policy) Matches(host string) bool {
	for _, pattern := range p.MX {
		if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
			label, ok := strings.CutSuffix(host, suffix)
			if ok && label != "" && !strings.Contains(label, ".") {
				return true
			}
		} else if host == pattern {
			return true
		}
	}
	return false
}

// String is the policy as it is served and kept, lines end with CRLF.
func (p Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", p.Mode)
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(p.MaxAge/time.Second))
	return b.String()
}

// parseRecord reads the TXT records of _mta-sts.<domain>, RFC 8461 3.1. ok is
// false where there is no policy: not exactly one record that begins like one.
func parseRecord(texts []string) (id string, ok bool, err error) {
	n := 0
	var record string
	for _, text := range texts {
		if text == "v=STSv1" || strings.HasPrefix(text, "v=STSv1;") || strings.HasPrefix(text, "v=STSv1 ") {
			record = text
			n++
		}
	}
	if n != 1 {
		return "", false, nil
	}
	for field := range strings.SplitSeq(record, ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.TrimSpace(key) == "id" {
			id = strings.TrimSpace(value)
			break
		}
	}
	if id == "" || len(id) > maxID || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return "", false, fmt.Errorf("%w: TXT record without a good id", ErrInvalid)
	}
	return id, true, nil
}
