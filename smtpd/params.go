package smtpd

import (
	"strconv"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// minBy is the shortest time to deliver within that we take (RFC 2852 3): a host
// that does not answer is given up after half a minute, and another one must
// have its chance.
const minBy = time.Minute

// maxFuture is how far ahead a message may be submitted (RFC 4865).
const maxFuture = 30 * 24 * time.Hour

var (
	replyMailParam = smtp.NewReply(501, [3]int{5, 5, 4}, "Malformed MAIL parameter")
	replyRcptParam = smtp.NewReply(501, [3]int{5, 5, 4}, "Malformed RCPT parameter")
	replyBy        = smtp.NewReply(501, [3]int{5, 5, 4}, "BY with R needs at least a minute")
	replyByRelease = smtp.NewReply(501, [3]int{5, 5, 4}, "The message would have to be there before it is released")
	replyFuture    = smtp.NewReply(501, [3]int{5, 5, 4}, "The time of release lies behind, or more than 30 days ahead")
)

// extensions are the lines of the submission ports' answer to EHLO that the
// gate adds: their parameters it reads itself, and go-smtp never sees them.
func (c *client) extensions() string {
	lines := "250-DSN\r\n" +
		"250-DELIVERBY " + strconv.Itoa(int(minBy/time.Second)) + "\r\n" +
		"250-FUTURERELEASE " + strconv.Itoa(int(maxFuture/time.Second)) + " " + time.Now().Add(maxFuture).UTC().Format(time.RFC3339) + "\r\n"
	if c.tls != nil {
		lines += "250-REQUIRETLS\r\n" // RFC 8689 2: under TLS only
	}
	return lines
}

// mailParams and rcptParams are what a client says of a message, and of a
// recipient, beyond what go-smtp reads.
type mailParams struct {
	ret, envid string // RFC 3461 4.3, 4.4; decoded
	requireTLS bool
	release    time.Time      // RFC 4865; zero: at once
	by         smtp.DeliverBy // RFC 2852
}

type rcptParams struct {
	notify   smtp.Notify
	original string // as smtp.Recipient has it
}

// cutMailParams takes our parameters of MAIL out of params, each once.
func (c *client) cutMailParams(params string) (p mailParams, rest string, fault *smtp.Reply) {
	seen := map[string]bool{}
	for field := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(field, "=")
		key = strings.ToUpper(key)
		ok := true
		switch key {
		case "RET":
			p.ret = strings.ToUpper(value)
			ok = p.ret == "FULL" || p.ret == "HDRS"
		case "ENVID":
			p.envid, ok = xtext(value)
			ok = ok && len(value) <= 100 && p.envid != ""
		case "REQUIRETLS":
			if c.tls == nil {
				return p, "", smtp.NewReply(530, [3]int{5, 7, 0}, "REQUIRETLS needs TLS here, too")
			}
			p.requireTLS = true
			ok = value == ""
		case "BY":
			if p.by, ok = deliverBy(value, time.Now()); ok && p.by.Return && time.Until(p.by.At) < minBy-time.Second {
				return p, "", replyBy
			}
		case "HOLDFOR", "HOLDUNTIL":
			if p.release, ok = releaseTime(key, value); ok && (seen["HOLDFOR"] || seen["HOLDUNTIL"]) {
				ok = false
			}
			if in := time.Until(p.release); ok && (in < -time.Minute || in > maxFuture+time.Minute) {
				return p, "", replyFuture
			}
		default:
			rest += " " + field
			continue
		}
		if !ok || seen[key] {
			return p, "", replyMailParam
		}
		seen[key] = true
	}
	if p.by.Return && p.release.After(p.by.At) {
		return p, "", replyByRelease
	}
	return p, rest, nil
}

// deliverBy reads seconds, mode and trace (RFC 2852 4). Mode R wants a time that
// lies ahead.
func deliverBy(value string, now time.Time) (d smtp.DeliverBy, ok bool) {
	seconds, mode, ok := strings.Cut(value, ";")
	digits := strings.TrimLeft(seconds, "+-")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !ok || err != nil || len(digits) > 9 || len(seconds)-len(digits) > 1 {
		return d, false
	}
	mode, d.Trace = strings.CutSuffix(strings.ToUpper(mode), "T")
	d.Return = mode == "R"
	d.At = now.Add(time.Duration(n) * time.Second).UTC().Truncate(time.Second)
	return d, mode == "N" || d.Return && n > 0
}

// releaseTime reads HOLDFOR, in seconds, or HOLDUNTIL, a date (RFC 4865 4).
func releaseTime(key, value string) (time.Time, bool) {
	if key == "HOLDFOR" {
		n, err := strconv.ParseUint(value, 10, 32)
		return time.Now().Add(time.Duration(n) * time.Second), err == nil && len(value) <= 9
	}
	t, err := time.Parse(time.RFC3339, value)
	return t, err == nil
}

// cutRcptParams takes our parameters of RCPT out of params, each once.
func cutRcptParams(params string) (p rcptParams, rest string, fault *smtp.Reply) {
	seen := map[string]bool{}
	for field := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(field, "=")
		key = strings.ToUpper(key)
		ok := true
		switch key {
		case "NOTIFY":
			p.notify, ok = parseNotify(value)
		case "ORCPT":
			p.original, ok = originalRecipient(value)
		default:
			rest += " " + field
			continue
		}
		if !ok || seen[key] {
			return p, "", replyRcptParam
		}
		seen[key] = true
	}
	return p, rest, nil
}

// parseNotify reads "NEVER", or a list of the others (RFC 3461 4.1).
func parseNotify(value string) (n smtp.Notify, ok bool) {
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		var one smtp.Notify
		switch word {
		case "NEVER":
			one = smtp.NotifyNever
		case "SUCCESS":
			one = smtp.NotifySuccess
		case "FAILURE":
			one = smtp.NotifyFailure
		case "DELAY":
			one = smtp.NotifyDelay
		}
		if one == 0 || n&one != 0 {
			return 0, false
		}
		n |= one
	}
	return n, n&smtp.NotifyNever == 0 || n == smtp.NotifyNever
}

// originalRecipient reads "type;address" (RFC 3461 4.2, RFC 6533 3): what it
// says is nobody's claim but the sender's, so any printable text may stand.
func originalRecipient(value string) (string, bool) {
	kind, address, ok := strings.Cut(value, ";")
	if !ok || kind == "" || len(value) > 500 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		return kind + ";" + address, address != "" // its encoding is its own, and kept
	}
	address, ok = xtext(address)
	return kind + ";" + address, ok && address != ""
}

// xtext decodes RFC 3461 4: "+2B" is "+". The result is printable ASCII.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		} else if c == '=' {
			return "", false
		}
		if c < ' ' || c > '~' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
