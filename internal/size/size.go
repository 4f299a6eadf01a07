// Package size reads and writes numbers of bytes the way people do: "50 MiB".
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes that is never negative.
type Bytes int64

// units are the suffixes understood. A letter alone is the binary unit, as in
// the configuration of other mail servers.
var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// Parse reads "52428800", "50 MiB", "1.5G" or "20 MB".
func Parse(s string) (Bytes, error) {
	s = strings.TrimSpace(s)
	end := strings.LastIndexAny(s, "0123456789.") + 1
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[end:]))]
	if !ok || end == 0 {
		return 0, fmt.Errorf("%q is not a size: write it like \"50 MiB\"", s)
	}
	if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/unit {
		return Bytes(n * unit), nil
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || strings.Trim(s[:end], "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a size: write it like \"50 MiB\"", s)
	}
	if n *= float64(unit); n >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more than any disk holds", s)
	}
	return Bytes(n), nil
}

// String writes b in the largest binary unit that keeps it whole; Parse reads
// it back.
func (b Bytes) String() string {
	for _, u := range []struct {
		bits int
		name string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n := b >> u.bits; n > 0 && n<<u.bits == b {
			return fmt.Sprintf("%d %s", n, u.name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText is String, for files.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is Parse, for files.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := Parse(string(text))
	if err == nil {
		*b = n
	}
	return err
}
