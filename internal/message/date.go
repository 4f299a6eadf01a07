package message

import "time"

// Date parses a Date field of any age and shape: comments, obsolete zones, two-digit
// years, missing weekday or seconds. The time has the sender's zone.
func Date(s string) (time.Time, bool) { panic("todo") }
