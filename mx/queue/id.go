package queue

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// idLength is the length of a queue id: 52 bits of time in microseconds (until
// the year 2112) and 13 random bits, in base 32. Ids sort by age, and the same
// id does not come twice in the log of a host whose clock was set back.
const idLength = 13

// idDigits are ordered as ASCII is, without letters that look like others.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// ids makes queue ids.
type ids struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64 // microseconds in the latest id
}

// next returns a fresh id for which taken is false.
func (g *ids) next(taken func(id string) bool) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last+1, g.now().UnixMicro())
	for {
		if id := formatID(uint64(g.last), rand.Uint64()); !taken(id) {
			return id
		}
		g.last++
	}
}

func formatID(micros, random uint64) string {
	var b [idLength]byte
	low := micros<<13 | random&(1<<13-1)
	for i := len(b) - 1; i > 0; i-- {
		b[i] = idDigits[low&31]
		low >>= 5
	}
	b[0] = idDigits[micros>>47&31] // the top 5 of 52+13 bits; low has lost one of them
	return string(b[:])
}

// A notice's id is its message's and what it tells of whom: "…-f3" for the
// failure of recipient 3, "…-s3" for its success, "…-d0" for the delay of
// recipient 0 and those with it. That the id is known beforehand keeps a notice from being made twice.
const (
	failureMark = "-f"
	delayMark   = "-d"
	successMark = "-s"
)

// splitID returns the message id and, for a notice, its mark and number.
func splitID(id string) (message, mark, number string, ok bool) {
	if len(id) < idLength || strings.Trim(id[:idLength], idDigits) != "" {
		return "", "", "", false
	}
	message, rest := id[:idLength], id[idLength:]
	if rest == "" {
		return message, "", "", true
	}
	if len(rest) < 3 || len(rest) > 6 || strings.Trim(rest[2:], "0123456789") != "" {
		return "", "", "", false
	}
	mark, number = rest[:2], rest[2:]
	return message, mark, number, mark == failureMark || mark == delayMark || mark == successMark
}

// isNotice reports whether id is that of a notice of ours.
func isNotice(id string) bool { return len(id) > idLength }
