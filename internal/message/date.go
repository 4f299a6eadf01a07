package message

import (
	"strconv"
	"strings"
	"time"
)

// maxDate is how much of a Date field is looked at, without its comments.
const maxDate = 200

// Date parses a Date field of any age and shape: RFC 5322 with all of its obsolete forms,
// asctime, RFC 850, ISO 8601; weekday, seconds and zone may be missing, and
// comments stand anywhere. The time has the sender's zone, so that its date is the
// one SENTSINCE means. Years are 1 to 9999.
func Date(s string) (time.Time, bool) {
	p := dateParser{zone: noZone}
	for _, word := range dateWords(s) {
		if !p.word(word) {
			return time.Time{}, false
		}
	}
	return p.time()
}

// dateWords splits a date at white space and commas and drops the comments.
func dateWords(s string) []string {
	var b strings.Builder
	x := lexer{s: []byte(s)}
	for x.i < len(x.s) && b.Len() < maxDate {
		if x.is('(') {
			x.skipComment()
			b.WriteByte(' ')
			continue
		}
		b.WriteByte(x.s[x.i])
		x.i++
	}
	return strings.FieldsFunc(b.String(), func(r rune) bool { return isSpace(r) || r == ',' })
}

const noZone = -1 << 31

// dateParser takes words in any order that makes sense.
type dateParser struct {
	day, month, year   int
	hour, minute, sec  int
	hasYear, hasTime   bool
	zone               int // seconds east of UTC
	afternoon, morning bool
}

// word takes one word; it reports false where that can be no part of a date.
func (p *dateParser) word(w string) bool {
	switch c := w[0]; {
	case p.hasTime && (c == '+' || c == '-'):
		return p.setZone(w)
	case isDigit(c) && strings.Count(upTo(w, ':'), "-") >= 2:
		return p.setDashed(w)
	case isDigit(c) && strings.IndexByte(w, ':') > 0:
		return p.setTime(w)
	case isDigit(c) && !p.hasTime && p.day != 0 && strings.Count(w, ".") == 2:
		return p.setTime(strings.ReplaceAll(w, ".", ":")) // 12.30.00
	case isDigit(c):
		return p.setNumber(strings.TrimRight(w, "."))
	}
	if m := monthNumber(w); m > 0 && p.month == 0 {
		p.month = m
		return true
	}
	if p.hasTime {
		return p.setZoneName(strings.ToUpper(w))
	}
	return true // a weekday, in whatever language
}

func (p *dateParser) setNumber(w string) bool {
	n, err := strconv.Atoi(w)
	switch {
	case err != nil:
		return false
	case len(w) <= 2 && p.day == 0:
		p.day = n
	case !p.hasYear:
		p.setYear(n, len(w))
	default: // a number too many, as a zone without sign
		return p.hasTime
	}
	return true
}

func (p *dateParser) setYear(n, digits int) {
	switch { // RFC 5322 4.3
	case digits <= 2 && n < 50:
		n += 2000
	case digits <= 3:
		n += 1900
	}
	p.year, p.hasYear = n, true
}

// setDashed takes 01-Jan-24 and 2024-01-31, the latter with a time behind a T.
func (p *dateParser) setDashed(w string) bool {
	date, clock, iso := strings.Cut(w, "T")
	if !iso {
		date, clock, iso = strings.Cut(w, "t")
	}
	if strings.Count(date, "-") != 2 { // the T was that of a month: 01-Oct-24
		date, clock, iso = w, "", false
	}
	parts := strings.SplitN(date, "-", 3)
	if len(parts) != 3 {
		return false
	}
	if len(parts[0]) == 4 {
		parts[0], parts[2] = parts[2], parts[0]
	}
	if p.month = monthNumber(parts[1]); p.month == 0 {
		p.month, _ = strconv.Atoi(parts[1])
	}
	if !p.setNumber(parts[0]) || !p.setNumber(parts[2]) {
		return false
	}
	return !iso || clock == "" || p.setTime(clock)
}

// setTime takes 12:30, 12:30:59, 12:30:59.123, and a zone behind it without space.
func (p *dateParser) setTime(w string) bool {
	if p.hasTime {
		return true
	}
	p.hasTime = true
	clock, zone := w, ""
	if i := strings.IndexFunc(w, func(r rune) bool { return r != ':' && r != '.' && (r < '0' || r > '9') }); i > 0 {
		clock, zone = w[:i], w[i:]
	}
	parts := strings.SplitN(clock, ":", 3)
	var err error
	for i, at := range []*int{&p.hour, &p.minute, &p.sec}[:len(parts)] {
		digits, _, _ := strings.Cut(parts[i], ".")
		if *at, err = strconv.Atoi(digits); err != nil {
			return false
		}
	}
	switch {
	case zone == "":
		return true
	case zone[0] == '+' || zone[0] == '-':
		return p.setZone(zone)
	}
	return p.setZoneName(strings.ToUpper(zone))
}

// setZone takes +0100, +01:00, +1. Nonsense means UTC.
func (p *dateParser) setZone(w string) bool {
	digits := strings.ReplaceAll(w[1:], ":", "")
	if len(digits) <= 2 {
		digits += "00"
	}
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) > 4 || n/100 > 24 || n%100 > 59 {
		n = 0
	}
	seconds := (n/100*60 + n%100) * 60
	if w[0] == '-' {
		seconds = -seconds
	}
	p.zone = seconds
	return true
}

// setZoneName takes the obsolete zones of RFC 5322 4.3 and some that are used. All others,
// the military letters among them, mean UTC.
func (p *dateParser) setZoneName(w string) bool {
	if i := strings.IndexAny(w, "+-"); i > 0 && p.zone == noZone { // GMT+1
		return p.setZone(w[i:])
	}
	switch w {
	case "AM":
		p.morning = true
	case "PM":
		p.afternoon = true
	default:
		if hours, ok := zoneHours[w]; ok && p.zone == noZone {
			p.zone = int(hours * 3600)
		}
	}
	return true
}

var zoneHours = map[string]float64{
	"UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "WET": 0,
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
	"BST": 1, "CET": 1, "MET": 1, "MEZ": 1, "WEST": 1, "CEST": 2, "MEST": 2, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3,
	"IST": 5.5, "HKT": 8, "SGT": 8, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "HST": -10, "AKST": -9, "AKDT": -8,
}

func (p *dateParser) time() (time.Time, bool) {
	if p.day < 1 || p.month < 1 || p.month > 12 || !p.hasYear || p.year < 1 || p.year > 9999 ||
		p.hour > 24 || p.minute > 59 || p.sec > 60 || p.day > daysIn(p.month, p.year) {
		return time.Time{}, false
	}
	hour := p.hour
	switch {
	case p.afternoon && hour < 12:
		hour += 12
	case p.morning && hour == 12:
		hour = 0
	}
	zone := time.UTC
	if p.zone != noZone && p.zone != 0 {
		zone = time.FixedZone("", p.zone)
	}
	return time.Date(p.year, time.Month(p.month), p.day, hour, p.minute, p.sec, 0, zone), true
}

func daysIn(month, year int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// monthNumber returns 1 to 12 for the English name of a month or at least three letters
// of it.
func monthNumber(w string) int {
	if w = strings.TrimSuffix(w, "."); len(w) < 3 {
		return 0
	}
	for i, name := range monthNames {
		if hasPrefixFold(name, w) {
			return i + 1
		}
	}
	return 0
}

var monthNames = [...]string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

// upTo returns what stands in s before the first c.
func upTo(s string, c byte) string {
	s, _, _ = strings.Cut(s, string(c))
	return s
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
