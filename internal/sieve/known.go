package sieve

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
)

const (
	knownName = "known" // lines of a time, in seconds, and the key that is forgotten then
	maxKnown  = 5000    // keys of one user; those that would be forgotten first go
)

// Known returns what is remembered of earlier messages of a user, for
// Environment.Known. A file that is damaged loses what it cannot say.
func (l *Library) Known(user string, now time.Time) func(key string) bool {
	var known map[string]int64 // read when the first key is asked for
	return func(key string) bool {
		if known == nil {
			known = map[string]int64{}
			if dir, err := l.mail.OpenRoot(folder(user)); err == nil {
				known, _ = readKnown(dir)
				dir.Close()
			}
		}
		return known[key] > now.Unix()
	}
}

// Remember keeps what an Outcome wants remembered. It is durable then.
func (l *Library) Remember(user string, memories []Memory, now time.Time) error {
	if len(memories) == 0 {
		return nil
	}
	return l.change(user, func(dir *os.Root, _ []Entry) error {
		known, err := readKnown(dir)
		if err != nil {
			return err
		}
		maps.DeleteFunc(known, func(_ string, until int64) bool { return until <= now.Unix() })
		for _, m := range memories {
			known[m.Key] = now.Add(m.For).Unix()
		}
		keys := slices.SortedFunc(maps.Keys(known), func(a, b string) int { return int(known[b] - known[a]) })
		var b strings.Builder
		for _, key := range keys[:min(len(keys), maxKnown)] {
			fmt.Fprintf(&b, "%d %s\n", known[key], key)
		}
		return durable.WriteFile(dir, knownName, []byte(b.String()), 0o600)
	})
}

func readKnown(dir *os.Root) (map[string]int64, error) {
	known := map[string]int64{}
	b, err := readLimited(dir, knownName, maxKnown*100)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	} else if err != nil {
		return known, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		until, key, _ := strings.Cut(line, " ")
		if n, err := strconv.ParseInt(until, 10, 64); err == nil && key != "" {
			known[key] = n
		}
	}
	return known, nil
}
