package queue

import (
	"math/rand/v2"
	"time"
)

// Schedule says when attempts are repeated and when the sender hears of it. A
// zero field has the default.
type Schedule struct {
	// Retry are the pauses after the first, second, … attempt; the last one
	// repeats. Default: 5, 10, 20, 40 min, 1 h, 2 h. RFC 5321 4.5.4.1 asks for
	// 30 minutes in general; the short ones are for greylisting hosts.
	Retry []time.Duration
	// Jitter spreads each pause by up to this fraction both ways, so that a
	// host that comes back is not met by everybody at once. Default 0.1; less
	// than 0 for none.
	Jitter float64
	// WarnAfter is the age at which the sender is told, once, that the message
	// is still waiting. Default 4 h.
	WarnAfter time.Duration
	// GiveUpAfter is the age at which a message is returned. Default 5 days
	// (RFC 5321 4.5.4.1: at least 4 to 5).
	GiveUpAfter time.Duration
	// NoticeLifetime is the age at which a notice of ours is dropped. Default
	// 1 day: a notice that nobody takes is of no use for longer.
	NoticeLifetime time.Duration
}

func (s Schedule) withDefaults() Schedule {
	if len(s.Retry) == 0 {
		s.Retry = []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, 2 * time.Hour}
	}
	if s.Jitter == 0 {
		s.Jitter = 0.1
	}
	orDefault(&s.WarnAfter, 4*time.Hour)
	orDefault(&s.GiveUpAfter, 5*24*time.Hour)
	orDefault(&s.NoticeLifetime, 24*time.Hour)
	return s
}

// pause is how long to wait after so many attempts, without jitter.
func (s Schedule) pause(attempts int) time.Duration {
	return s.Retry[min(max(attempts, 1), len(s.Retry))-1]
}

// next is the time of the attempt after so many that have been made. The last
// one falls on the deadline, not after it.
func (s Schedule) next(attempts int, now, deadline time.Time) time.Time {
	p := s.pause(attempts)
	if s.Jitter > 0 {
		p += time.Duration(float64(p) * s.Jitter * (2*rand.Float64() - 1))
	}
	at := now.Add(p)
	if deadline.After(now) && at.After(deadline) {
		at = deadline
	}
	return stamp(at)
}

// cooling is how long a destination is left alone after so many failures to
// reach it. It is shorter than the pause of a message, so that a message that
// is alone keeps its schedule, and at most half an hour, so that mail does not
// lie long once the destination is back.
func (s Schedule) cooling(failures int) time.Duration {
	return min(s.pause(failures)*8/10, 30*time.Minute)
}

// lifetime is how long a message is tried.
func (s Schedule) lifetime(notice bool) time.Duration {
	if notice {
		return s.NoticeLifetime
	}
	return s.GiveUpAfter
}

// clockFloor is before any time at which Buzón can run: a clock that shows
// less has not been set, as after boot on a machine without a battery.
var clockFloor = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// timeFormat is how times stand in the spool.
const timeFormat = "2006-01-02T15:04:05.000Z"

// stamp gives t the precision that the spool keeps.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
