package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
)

// UIDVALIDITY comes from a counter in the tree's root, shared with Dovecot: the
// file dovecot-uidvalidity holds 8 hex digits, and an empty file
// dovecot-uidvalidity.<8 hex digits> is renamed to count up.
const uidvalidityFile = "dovecot-uidvalidity"

// nextUIDValidity returns a value that no folder of the tree had: above the
// counter, and the time where that is ahead. It is durable when it returns.
func nextUIDValidity(root durable.Dir, now time.Time, perm fs.FileMode) (uint32, error) {
	for range 100 {
		current, marker, err := readUIDValidity(root)
		if err != nil {
			return 0, fmt.Errorf("read uidvalidity: %w", err)
		}
		next := uint32(max(now.Unix(), int64(current)+1))
		to := fmt.Sprintf("%s.%08x", uidvalidityFile, next)
		if marker == "" {
			err = durable.CreateFile(root, to, nil, perm)
		} else {
			// The rename is the decision: of two processes one gets ENOENT.
			err = root.Rename(marker, root, to)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = durable.WriteFileIn(root, uidvalidityFile, fmt.Appendf(nil, "%08x", next), perm)
		}
		if err != nil {
			return 0, fmt.Errorf("write uidvalidity: %w", err)
		}
		return next, nil
	}
	return 0, errors.New("count up uidvalidity: others are always faster")
}

// readUIDValidity returns the highest value of the file and of the markers, and
// the name of the highest marker.
func readUIDValidity(root durable.Dir) (current uint32, marker string, err error) {
	err = root.Scan(func(e durable.Entry) error {
		hex, ok := strings.CutPrefix(string(e.Name), uidvalidityFile+".")
		if v, ok2 := parseHex8(hex); ok && ok2 && (marker == "" || v >= current) {
			current, marker = v, string(e.Name)
		}
		return nil
	})
	if err != nil {
		return 0, "", err
	}
	data, _, err := readSmallFile(root, uidvalidityFile, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return current, marker, nil
	}
	if v, ok := parseHex8(strings.TrimSpace(string(data))); ok {
		current = max(current, v)
	}
	return current, marker, err
}

func parseHex8(s string) (uint32, bool) {
	if len(s) != 8 {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 32)
	return uint32(v), err == nil && v < 1<<32-1
}
