package smtpd

import (
	"strconv"
	"strings"

	"buzon/internal/message"
	"buzon/internal/milter"
	"buzon/internal/sieve"
)

// isSpamVerdict tells the header fields in which spam filters write what they
// think: those of SpamAssassin, which everybody has taken over, of rspamd, and
// our own.
func isSpamVerdict(name string) bool {
	name = strings.ToLower(name)
	return name == "x-junk-score" || name == "x-spam" || name == "x-spamd" || strings.HasPrefix(name, "x-spam-") || strings.HasPrefix(name, "x-spamd-")
}

func claimsSpamVerdict(h *message.Header) bool {
	for f := range h.Fields() {
		if isSpamVerdict(f.Name) {
			return true
		}
	}
	return false
}

// dropSpamVerdicts takes what a stranger has written of that kind off a
// message: users' programs would believe it. It returns where the body begins.
func dropSpamVerdicts(m *spooled) (bodyAt int64) {
	head := without(m.header, func(f message.Field) bool { return isSpamVerdict(f.Name) })
	m.replaceHead(head, int64(len(m.header.Raw())))
	return int64(len(head))
}

// spamVerdict reads what milters have written of that kind.
func spamVerdict(fields []milter.Field) (junk bool, spam sieve.Spam) {
	for _, f := range fields {
		var yes bool
		percent := -1
		switch strings.ToLower(f.Name) {
		case "x-spam", "x-spam-flag":
			yes = isYes(f.Value)
		case "x-spam-status": // Yes, score=7.3 required=5.0 tests=…
			yes = isYes(f.Value)
			percent = percentOf(after(f.Value, "score="), after(f.Value, "required="))
		case "x-spamd-result": // default: False [2.10 / 15.00]; …
			inner, _, _ := strings.Cut(after(f.Value, "["), "]")
			score, required, _ := strings.Cut(inner, "/")
			percent = percentOf(score, required)
		default:
			continue
		}
		junk = junk || yes
		if percent >= 0 {
			spam.Tested, spam.Percent = true, max(spam.Percent, percent)
		}
	}
	switch {
	case junk:
		return true, sieve.Spam{Tested: true, Percent: 100}
	case spam.Percent == 100: // it is the filter that says whether it is spam
		spam.Percent = 99
	}
	return false, spam
}

// isYes reports whether a value begins with a yes.
func isYes(value string) bool {
	word := strings.ToLower(strings.Trim(value, " \t"))
	if i := strings.IndexAny(word, " ,;"); i >= 0 {
		word = word[:i]
	}
	return word == "yes" || word == "true"
}

// after returns what stands behind mark in s, "" where it is not in it.
func after(s, mark string) string {
	_, rest, _ := strings.Cut(s, mark)
	return rest
}

// percentOf is a score as a part of what makes spam, -1 when either is none.
func percentOf(score, required string) int {
	s, errS := strconv.ParseFloat(number(score), 64)
	r, errR := strconv.ParseFloat(number(required), 64)
	if errS != nil || errR != nil || r <= 0 {
		return -1
	}
	return int(max(0, min(100, 100*s/r)))
}

// number is the number at the front of s.
func number(s string) string {
	s = strings.TrimLeft(s, " ")
	if i := strings.IndexFunc(s, func(c rune) bool { return !strings.ContainsRune("+-.0123456789", c) }); i >= 0 {
		return s[:i]
	}
	return s
}
