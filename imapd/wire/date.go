package wire

import (
	"time"
)

var months = [12]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

// AppendDateTime appends t as a date-time with its quotes, in its own zone (RFC 9051: date-time).
func AppendDateTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	b = append(b, '"')
	if day < 10 {
		b = append(b, ' ', byte('0'+day))
	} else {
		b = append2(b, day)
	}
	b = append(b, '-')
	b = append(b, months[month-1]...)
	b = append(b, '-')
	year = min(max(year, 0), 9999)
	b = append2(b, year/100)
	b = append2(b, year%100)
	b = append(b, ' ')
	b = append2(b, hour)
	b = append(b, ':')
	b = append2(b, minute)
	b = append(b, ':')
	b = append2(b, sec)
	_, off := t.Zone()
	sign := byte('+')
	if off < 0 {
		sign, off = '-', -off
	}
	b = append(b, ' ', sign)
	b = append2(b, off/3600)
	b = append2(b, off/60%60)
	return append(b, '"')
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }

// Date reads a date of SEARCH, with or without quotes: the day at 00:00 UTC.
func (d *Decoder) Date() time.Time {
	var s string
	if d.peek() == '"' {
		s = d.quoted()
	} else {
		s = d.Atom()
	}
	if d.err != nil {
		return time.Time{}
	}
	// date-day is one or two digits.
	if len(s) == len("2-Jan-2006") {
		s = "0" + s
	}
	day, ok := parseDate(s)
	if !ok {
		d.Fail("expected a date such as 1-Feb-2026")
	}
	return day
}

// DateTime reads a date-time in quotes, as APPEND takes it.
func (d *Decoder) DateTime() time.Time {
	s := d.quoted()
	if d.err != nil {
		return time.Time{}
	}
	t, ok := parseDateTime(s)
	if !ok {
		d.Fail(`expected a date and time such as "01-Feb-2026 12:34:56 +0100"`)
	}
	return t
}

// parseDateTime takes "dd-Mmm-yyyy hh:mm:ss +zzzz"; the day may begin with a space or be of one
// digit.
func parseDateTime(s string) (time.Time, bool) {
	if len(s) == len("2-Jan-2006 15:04:05 -0700") {
		s = "0" + s
	}
	if len(s) != len("02-Jan-2006 15:04:05 -0700") || s[11] != ' ' || s[14] != ':' || s[17] != ':' || s[20] != ' ' {
		return time.Time{}, false
	}
	date := s[:11]
	if date[0] == ' ' {
		date = "0" + date[1:]
	}
	day, ok := parseDate(date)
	hour, ok1 := number2(s[12:])
	minute, ok2 := number2(s[15:])
	sec, ok3 := number2(s[18:])
	zh, ok4 := number2(s[22:])
	zm, ok5 := number2(s[24:])
	sign := s[21]
	if !(ok && ok1 && ok2 && ok3 && ok4 && ok5) || hour > 23 || minute > 59 || sec > 60 || zm > 59 || zh > 23 || sign != '+' && sign != '-' {
		return time.Time{}, false
	}
	off := zh*3600 + zm*60
	if sign == '-' {
		off = -off
	}
	y, m, dd := day.Date()
	return time.Date(y, m, dd, hour, minute, sec, 0, time.FixedZone("", off)), true
}

// parseDate takes "dd-Mmm-yyyy".
func parseDate(s string) (time.Time, bool) {
	if len(s) != len("02-Jan-2006") || s[2] != '-' || s[6] != '-' {
		return time.Time{}, false
	}
	day, ok := number2(s)
	century, ok1 := number2(s[7:])
	year, ok2 := number2(s[9:])
	year += century * 100
	for i, m := range months {
		if !equalFold3(s[3:6], m) {
			continue
		}
		t := time.Date(year, time.Month(i+1), day, 0, 0, 0, 0, time.UTC)
		return t, ok && ok1 && ok2 && t.Day() == day && day > 0
	}
	return time.Time{}, false
}

func equalFold3(a, b string) bool {
	return a[0]|0x20 == b[0]|0x20 && a[1]|0x20 == b[1]|0x20 && a[2]|0x20 == b[2]|0x20
}

func number2(s string) (int, bool) {
	if s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9' {
		return 0, false
	}
	return int(s[0]-'0')*10 + int(s[1]-'0'), true
}
