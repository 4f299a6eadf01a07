package queue

import (
	"container/list"
	"context"
	"sync"
	"time"

	"buzon/internal/smtp"
)

// phase is where a job stands.
type phase uint8

const (
	idle phase = iota // held
	timed
	ready
	running
)

// The two circles.
const (
	fresh = iota
	retry
	circles
)

// entry is a queued message in memory: little, for there may be 100 000.
type entry struct {
	id      string
	notice  bool
	backlog bool // lay here when the process started: what is submitted now goes first

	mu     sync.Mutex // guards the entry's files, and:
	gone   bool       // left the spool
	marked int        // attempts under way, as active/ shows

	// Guarded by the scheduler's mutex.
	queued time.Time
	held   bool
	jobs   []*job
	by     *deadline // nil for what has none, as nearly everything
}

// deadline is when an entry's sender wants to be told, or to have it back
// (RFC 2852).
type deadline struct {
	smtp.DeliverBy
	alarm alarm
}

func newEntry(id string, queued time.Time) *entry {
	return &entry{id: id, notice: isNotice(id), queued: queued}
}

// job is what is left to do of one message for one destination.
type job struct {
	entry    *entry
	dest     *destination
	phase    phase
	alarm    alarm         // timed; its time is kept while idle
	place    *list.Element // ready: in its destination's line
	circle   int           // ready and running
	attempts int           // that have ended
	tries    int           // of these, since the process started
	deadline time.Time     // when the next unreached attempt has something to say: warning or giving up
	cancel   context.CancelFunc
}

// destination is a domain that there are jobs for, or that is cooling down.
type destination struct {
	domain   string
	jobs     int // of all phases
	lines    [circles]list.List
	offered  [circles]bool // stands in the circle
	running  int
	window   int // attempts at once that it has earned
	failures int // in a row to reach it
	cooling  bool
	alarm    alarm // when cooling: its end
}

// job returns the entry's job for the domain, or nil.
func (e *entry) job(domain string) *job {
	for _, j := range e.jobs {
		if j.dest.domain == domain {
			return j
		}
	}
	return nil
}
