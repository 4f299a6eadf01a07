package maildir

import "time"

// INTERNALDATE is the file's time of modification. A second is all that IMAP shows of it (RFC 9051 9: date-time), so the part below the
// second is free to say in which zone APPEND gave it: zoneBase plus the minutes east of UTC, in microseconds. Every copy that keeps times
// keeps the zone; where it is lost, or another program wrote the file, the same instant is shown in UTC. That a file's time looks so by
// chance happens once in ten million.

const (
	zoneBase  = 1000    // µs that stand for UTC
	zoneLimit = 14 * 60 // minutes; no zone is farther from UTC
	zoneStep  = 15      // minutes; zones of old that are no multiple are shown in UTC
)

// zones are the zones by their distance from the westernmost one, in steps.
var zones = func() (all [2*zoneLimit/zoneStep + 1]*time.Location) {
	for i := range all {
		if all[i] = time.UTC; i != zoneLimit/zoneStep {
			all[i] = time.FixedZone("", 60*(zoneStep*i-zoneLimit))
		}
	}
	return all
}()

// fileTime is the time of modification that says date in its zone.
func fileTime(date time.Time) time.Time {
	date = date.Truncate(time.Second)
	_, offset := date.Zone()
	minutes := offset / 60
	if offset%(60*zoneStep) != 0 || minutes == 0 || minutes < -zoneLimit || minutes > zoneLimit {
		return date
	}
	return date.Add(time.Duration(zoneBase+minutes) * time.Microsecond)
}

// A zonedTime is a Unix time in seconds, 48 bits of it, and above them the minutes east of UTC.
type zonedTime = int64

// zonedTimeOf reads what fileTime wrote; mtime is in nanoseconds.
func zonedTimeOf(mtime int64) zonedTime {
	t := time.Unix(0, mtime)
	µs, rest := t.Nanosecond()/1000, t.Nanosecond()%1000
	minutes := µs - zoneBase
	if rest != 0 || minutes%zoneStep != 0 || minutes < -zoneLimit || minutes > zoneLimit {
		minutes = 0
	}
	return t.Unix() + int64(minutes)<<48
}

// timeOfZoned is the instant, in its zone.
func timeOfZoned(z zonedTime) time.Time {
	seconds := z << 16 >> 16
	minutes := int((z - seconds) >> 48)
	i := (minutes + zoneLimit) / zoneStep
	if minutes%zoneStep != 0 || i < 0 || i >= len(zones) {
		return time.Unix(seconds, 0).UTC() // no index of ours says so
	}
	return time.Unix(seconds, 0).In(zones[i])
}
