package sieve

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"buzon/internal/message"
)

// dateParts are the parts of RFC 5260 4, lower case.
var dateParts = map[string]func(time.Time) string{
	"year":  func(t time.Time) string { return fmt.Sprintf("%04d", t.Year()) },
	"month": func(t time.Time) string { return fmt.Sprintf("%02d", int(t.Month())) },
	"day":   func(t time.Time) string { return fmt.Sprintf("%02d", t.Day()) },
	"date":  func(t time.Time) string { return t.Format(time.DateOnly) },
	"julian": func(t time.Time) string {
		day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		return fmt.Sprint(day.Unix()/86400 + 40587) // the modified Julian day of 1970-01-01
	},
	"hour":    func(t time.Time) string { return fmt.Sprintf("%02d", t.Hour()) },
	"minute":  func(t time.Time) string { return fmt.Sprintf("%02d", t.Minute()) },
	"second":  func(t time.Time) string { return fmt.Sprintf("%02d", t.Second()) },
	"time":    func(t time.Time) string { return t.Format(time.TimeOnly) },
	"iso8601": func(t time.Time) string { return t.Format("2006-01-02T15:04:05-07:00") },
	"std11":   func(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") },
	"zone":    func(t time.Time) string { return t.Format("-0700") },
	"weekday": func(t time.Time) string { return fmt.Sprint(int(t.Weekday())) },
}

// date compiles date and currentdate (RFC 5260 4, 5).
func (c *compiler) date(n node) (check, error) {
	rules := tagsOf(matching, map[string]tagRule{"zone": {value: aString}})
	args := 2
	if n.name == "date" {
		rules = tagsOf(rules, indexed, map[string]tagRule{"originalzone": {}})
		args = 3
	}
	p := c.params(n, rules, args, args)
	p.need("date")
	p.only("zone", "originalzone")
	pos, zone := p.position(), p.zone()
	m, part := p.matcher(args-1), p.datePart(args-2)
	var field text
	if n.name == "date" {
		field = p.text(0)
	}
	original := p.has("originalzone")
	return func(r *run) (bool, error) {
		return m.any(r, func(yield func(string) bool) {
			when := r.env.Now
			if n.name == "date" {
				var ok bool
				if when, ok = dateIn(pos.pick(r.header.named(field.value(r)))); !ok {
					return
				}
			}
			switch {
			case zone != nil:
				when = when.In(zone)
			case !original:
				when = when.In(r.env.Now.Location())
			}
			if format := dateParts[strings.ToLower(part.value(r))]; format != nil {
				yield(format(when))
			}
		})
	}, p.err
}

// dateIn returns the date of the first of some fields. What stands before a
// semicolon, as in Received, is no part of it.
func dateIn(fields []headerField) (time.Time, bool) {
	if len(fields) == 0 {
		return time.Time{}, false
	}
	value := fields[0].value
	return message.Date(strings.TrimSpace(value[strings.LastIndexByte(value, ';')+1:]))
}

func (p *params) zone() *time.Location {
	if !p.has("zone") {
		return nil
	}
	s := p.tags["zone"].strings[0]
	t, err := time.Parse("-0700", s)
	if err != nil {
		p.fail(p.node.line, `%q is no time zone; one is "+0100"`, s)
		return nil
	}
	_, offset := t.Zone()
	return time.FixedZone("", offset)
}

func (p *params) datePart(i int) text {
	part := p.text(i)
	if part.fixed() && p.err == nil && dateParts[strings.ToLower(part.constant)] == nil {
		names := make([]string, 0, len(dateParts))
		for name := range dateParts {
			names = append(names, name)
		}
		slices.Sort(names)
		p.fail(p.node.line, "a date has no part %q; it has %s", part.constant, strings.Join(names, ", "))
	}
	return part
}
