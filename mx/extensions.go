package mx

import (
	"strconv"
	"strings"
)

// extensions is what a host said it can do, RFC 5321 4.1.1.1.
type extensions struct {
	pipelining bool  // RFC 2920
	startTLS   bool  // RFC 3207
	eightBit   bool  // RFC 6152
	utf8       bool  // RFC 6531
	requireTLS bool  // RFC 8689
	dsn        bool  // RFC 3461
	deliverBy  bool  // RFC 2852
	minBy      int64 // seconds that it takes at least, RFC 2852 3
	size       bool  // RFC 1870
	maxSize    int64
	auth       []string // mechanisms in upper case, RFC 4954
}

// parseExtensions reads the lines of a reply to EHLO: the host's name for
// itself, then a keyword each, in any case.
func parseExtensions(lines []string) (domain string, ext extensions) {
	domain, _, _ = strings.Cut(lines[0], " ")
	for _, line := range lines[1:] {
		line = strings.ToUpper(line)
		keyword, params, _ := strings.Cut(line, " ")
		switch keyword {
		case "PIPELINING":
			ext.pipelining = true
		case "STARTTLS":
			ext.startTLS = true
		case "8BITMIME":
			ext.eightBit = true
		case "SMTPUTF8":
			ext.utf8 = true
		case "REQUIRETLS":
			ext.requireTLS = true
		case "DSN":
			ext.dsn = true
		case "DELIVERBY":
			ext.deliverBy = true
			if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
				ext.minBy = n
			}
		case "SIZE":
			ext.size = true
			if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
				ext.maxSize = n // RFC 1870 4: 0, or no number, is no fixed maximum
			}
		case "AUTH":
			ext.auth = append(ext.auth, strings.Fields(params)...)
		default:
			if mechanisms, ok := strings.CutPrefix(line, "AUTH="); ok { // before RFC 2554, still seen
				ext.auth = append(ext.auth, strings.Fields(mechanisms)...)
			}
		}
	}
	return domain, ext
}
