package maildir

import (
	"testing"
	"time"
)

// What APPEND gives comes back, in its zone where a file's time can say it.
func TestZonedTime(t *testing.T) {
	at := func(s string) time.Time {
		d, err := time.Parse("_2-Jan-2006 15:04:05 -0700", s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for given, want := range map[string]string{
		"25-Mar-2007 00:00:00 +0200": "",
		" 1-Jan-2026 23:59:59 +0000": "",
		"29-Feb-2024 12:00:00 -1200": "",
		"29-Feb-2024 12:00:00 +1400": "",
		"29-Feb-2024 12:00:00 +0545": "",
		"31-Dec-1969 23:00:00 -0330": "",
		"31-Dec-1950 23:00:00 +0000": "",
		"31-Dec-1950 23:00:00 +0900": "",
		" 2-Jun-1937 10:20:00 +0020": " 2-Jun-1937 10:00:00 +0000",
		"29-Feb-2024 12:00:00 +2300": "28-Feb-2024 13:00:00 +0000",
	} {
		if want == "" {
			want = given
		}
		z := zonedTimeOf(fileTime(at(given)).UnixNano())
		if got := timeOfZoned(z).Format("_2-Jan-2006 15:04:05 -0700"); got != want {
			t.Errorf("%s came back as %s, want %s", given, got, want)
		}
	}
}

// The time of a file that somebody else wrote is shown in UTC, and an index from before there were zones stays true.
func TestZonedTimeOfOthers(t *testing.T) {
	for _, ns := range []int64{0, 1, 999_999_999, 1_000_000, 1_000_001, 1_015_001, 1_016_000, 123_456_000, 2_000_000} {
		z := zonedTimeOf(1_700_000_000*1e9 + ns)
		if z != 1_700_000_000 {
			t.Errorf("%d ns: %x", ns, z)
		}
	}
	for _, seconds := range []int64{-1, -1 << 40, 0, 1 << 40} {
		if got := timeOfZoned(seconds); got.Unix() != seconds || got.Location() != time.UTC {
			t.Errorf("%d is %v", seconds, got)
		}
	}
	for _, z := range []int64{unknownDate, -1 << 62, 1<<63 - 1, 7 << 48} {
		_ = timeOfZoned(z) // a damaged index
	}
}
