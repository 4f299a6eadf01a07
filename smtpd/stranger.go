package smtpd

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"buzon/internal/limit"
	"buzon/internal/smtp"
)

const (
	// maxKnown bounds the recipients that are remembered, of all accounts.
	maxKnown = 2_000_000
	// alarmPause is how often postmaster hears of an account at most.
	alarmPause = 24 * time.Hour
)

// Recipients remembers whom each account has written to, and notices one that
// suddenly writes to many it never wrote to before: a stolen password looks
// like that. It is safe for concurrent use.
//
// Its file has a hash a line, and may be deleted: then everybody is new once.
type Recipients struct {
	rate *limit.Rate // of new recipients, by account

	mu     sync.Mutex // guards what follows
	known  map[uint64]struct{}
	file   *os.File // nil: nothing is kept
	alarms map[string]time.Time
}

// OpenRecipients reads what is kept at path; "" keeps nothing. An account may
// write to perDay new recipients in a day.
func OpenRecipients(path string, perDay int, log *slog.Logger) (*Recipients, error) {
	r := &Recipients{rate: limit.NewRate(perDay, 24*time.Hour, nil), known: map[uint64]struct{}{}, alarms: map[string]time.Time{}}
	if path == "" {
		return r, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(f); lines.Scan() && len(r.known) < maxKnown; {
		if n, err := strconv.ParseUint(lines.Text(), 16, 64); err == nil {
			r.known[n] = struct{}{}
		}
	}
	log.Debug("known recipients read", "recipients", len(r.known))
	r.file = f
	return r, nil
}

// Close gives the file back.
func (r *Recipients) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

func pairHash(account string, to smtp.Address) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", account, to)
	return h.Sum64()
}

// Known reports whether the account has written to the recipient.
func (r *Recipients) Known(account string, to smtp.Address) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.known[pairHash(account, to)]
	return known
}

// usual reports whether the account may write to the recipient without
// surprise: it did before, or it has not met too many new ones today.
func (r *Recipients) usual(account string, to smtp.Address) bool {
	if r.Known(account, to) {
		return true
	}
	ok, _ := r.rate.Take(account, 1)
	return ok
}

// remember notes that a message to the recipients was taken.
func (r *Recipients) remember(account string, to []smtp.Recipient) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range to {
		n := pairHash(account, one.Address)
		if _, known := r.known[n]; known || len(r.known) >= maxKnown {
			continue
		}
		r.known[n] = struct{}{}
		if r.file != nil {
			fmt.Fprintf(r.file, "%016x\n", n) // what a crash loses is new once more
		}
	}
}

// alarm reports whether it is time to tell of the account.
func (r *Recipients) alarm(account string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.alarms[account]) < alarmPause {
		return false
	}
	r.alarms[account] = time.Now()
	return true
}
