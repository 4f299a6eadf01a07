// Package dmarc evaluates what a domain wants done with mail in its name that
// proves to be nobody's (RFC 9989), and reads and writes the reports about it
// (RFC 9990). It asks the DNS for policies; SPF and DKIM it gets as results.
package dmarc

import (
	"net/url"
	"strconv"
	"strings"

	"buzon/internal/smtp"
)

// Disposition is what a domain asks to be done with mail that fails.
type Disposition string

// The values of p=, sp= and np= (RFC 9989 4.7).
const (
	None       Disposition = "none"
	Quarantine Disposition = "quarantine"
	Reject     Disposition = "reject"
)

// Record is a policy record. Tags that are not there have their defaults.
type Record struct {
	Policy      Disposition   // p
	Subdomains  Disposition   // sp; "" when not given
	Nonexistent Disposition   // np; "" when not given
	Testing     bool          // t=y
	StrictDKIM  bool          // adkim=s
	StrictSPF   bool          // aspf=s
	Suffix      byte          // psd: 'y', 'n' or 'u'
	Reports     []Destination // rua: the mail addresses of it
	Failure     string        // fo, as written, for the reports
}

// tagsOf splits a record into its tags; of those that are there twice the first
// one counts.
func tagsOf(text string) map[string]string {
	tags := make(map[string]string)
	for part := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(part, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if _, twice := tags[name]; found && !twice {
			tags[name] = strings.Trim(value, " \t")
		}
	}
	return tags
}

// Destination is where reports are wanted.
type Destination struct {
	Address string
	Limit   int64 // bytes of a message; 0: none is given. Older records have it behind an exclamation mark
}

const (
	maxRecord  = 16 << 10 // bytes of a record that is looked at
	maxReports = 10       // addresses in rua; the first ones count
)

// isPolicy reports whether a TXT record claims to be a policy record: the
// version comes first and is compared exactly.
func isPolicy(text string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(first, "=")
	return ok && strings.Trim(name, " \t") == "v" && strings.Trim(value, " \t") == "DMARC1"
}

// Parse reads a policy record. It is not ok for a text that is none, or one
// that asks for nothing: without a valid p, or with an invalid sp or np, it
// must at least name an address for reports, and then means p=none (RFC 9989
// 4.10.1).
func Parse(text string) (rec Record, ok bool) {
	if len(text) > maxRecord || !isPolicy(text) {
		return Record{}, false
	}
	rec = Record{Suffix: 'u'}
	tags := tagsOf(text)
	valid := true
	disposition := func(tag string) Disposition {
		value, given := tags[tag]
		switch d := Disposition(strings.ToLower(value)); d {
		case None, Quarantine, Reject:
			return d
		}
		valid = valid && !given && tag != "p"
		return ""
	}
	rec.Policy, rec.Subdomains, rec.Nonexistent = disposition("p"), disposition("sp"), disposition("np")
	rec.Testing = strings.EqualFold(tags["t"], "y")
	rec.StrictDKIM = strings.EqualFold(tags["adkim"], "s")
	rec.StrictSPF = strings.EqualFold(tags["aspf"], "s")
	if psd := strings.ToLower(tags["psd"]); psd == "y" || psd == "n" {
		rec.Suffix = psd[0]
	}
	rec.Reports = reportAddresses(tags["rua"])
	rec.Failure = failureOptions(tags["fo"])
	if !valid {
		if len(rec.Reports) == 0 {
			return Record{}, false
		}
		rec.Policy, rec.Subdomains, rec.Nonexistent = None, "", ""
	}
	return rec, true
}

// reportAddresses takes the mailto URIs out of a list (RFC 9989 4.6).
func reportAddresses(list string) []Destination {
	var out []Destination
	for uri := range strings.SplitSeq(list, ",") {
		uri = strings.Trim(uri, " \t")
		scheme, rest, ok := strings.Cut(uri, ":")
		if !ok || !strings.EqualFold(scheme, "mailto") || len(out) == maxReports {
			continue
		}
		rest, size, _ := strings.Cut(rest, "!")
		rest, _, _ = strings.Cut(rest, "?")
		address, err := url.PathUnescape(rest)
		if err != nil {
			continue
		}
		if a, err := smtp.ParseAddress(address); err == nil && !strings.HasPrefix(a.Domain, "[") {
			out = append(out, Destination{a.String(), sizeLimit(size)})
		}
	}
	return out
}

// sizeLimit reads the size of RFC 7489 6.4: digits, and perhaps one of k, m, g
// and t. What cannot be read is no limit.
func sizeLimit(s string) int64 {
	s = strings.ToLower(s)
	number := strings.TrimRight(s, "kmgt")
	n, err := strconv.ParseInt(number, 10, 23)
	if err != nil || n < 0 || len(s)-len(number) > 1 {
		return 0
	}
	unit := s[len(number):]
	if unit == "" {
		return n
	}
	return n << (10 * (1 + strings.Index("kmgt", unit)))
}

func failureOptions(s string) string {
	for option := range strings.SplitSeq(s, ":") {
		switch strings.TrimSpace(option) {
		case "0", "1", "d", "s":
		default:
			return ""
		}
	}
	return strings.ReplaceAll(s, " ", "")
}

// String is the disposition as it stands in a report: the value, or "none".
func (d Disposition) String() string {
	if d == "" {
		return string(None)
	}
	return string(d)
}
