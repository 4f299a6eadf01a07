package smtpd

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"buzon/internal/smtp"
)

const (
	// maxCommand bounds a command line with its CRLF: four times what RFC
	// 5321 4.5.3.1.4 wants, room for every parameter (Postfix line_length_limit).
	maxCommand = 2048
	// maxAuth bounds a line of an AUTH exchange (RFC 4954 4: 12 288 octets).
	maxAuth = 12288 + len("AUTH OAUTHBEARER ") + len("\r\n")
)

var (
	errForeign  = errors.New("speaks another protocol")
	errLongLine = errors.New("command line too long")
)

// Replies to what is refused before go-smtp sees it.
var (
	replyLongLine   = smtp.NewReply(500, [3]int{5, 5, 2}, "Line too long")
	replyBareEnd    = smtp.NewReply(500, [3]int{5, 5, 2}, "A line must end in CR LF and hold no other CR or LF")
	replyGarbage    = smtp.NewReply(500, [3]int{5, 5, 2}, "Control characters and malformed UTF-8 are not understood")
	replySender     = smtp.NewReply(501, [3]int{5, 1, 7}, "Malformed sender address, want MAIL FROM:<address>")
	replyRecipient  = smtp.NewReply(501, [3]int{5, 1, 3}, "Malformed recipient address, want RCPT TO:<address>")
	replyNoTLS      = smtp.NewReply(502, [3]int{5, 5, 1}, "TLS is not available")
	replyTLSAlready = smtp.NewReply(503, [3]int{5, 5, 1}, "TLS is active already")
	replyTLSNoArgs  = smtp.NewReply(501, [3]int{5, 5, 4}, "STARTTLS has no arguments")
	replyGoTLS      = smtp.NewReply(220, [3]int{2, 0, 0}, "Ready to start TLS")
)

// command reads the next line and returns what go-smtp shall see of it, or
// nothing when the gate itself has answered.
func (g *gate) command() []byte {
	c := g.c
	raw, ok := g.returned, true
	if g.returned = nil; raw == nil {
		raw, ok = g.line()
	}
	if !ok {
		return nil
	}
	line, ok := bytes.CutSuffix(raw, []byte("\r\n"))
	switch {
	case !ok || bytes.IndexByte(line, '\r') >= 0:
		g.answer(replyBareEnd)
		return nil
	case !utf8.Valid(line) || bytes.ContainsFunc(line, unicode.IsControl):
		g.answer(replyGarbage)
		return nil
	case g.sasl:
		g.sasl = false
		return raw
	}
	verb, args, _ := strings.Cut(string(line), " ")
	g.verb = strings.ToUpper(verb)
	if c.srv.perRecipient() {
		if raw = g.greetLMTP(raw); raw == nil {
			return nil
		}
	}
	if mustWait[g.verb] && c.in.buffered() > 0 {
		c.end(replyEager, errors.New("sent more after "+g.verb+" without waiting"))
		return nil
	}
	if g.verb == "EHLO" || g.verb == "HELO" {
		c.extended = g.verb == "EHLO"
	}
	if check, ok := checks[g.verb]; ok {
		return check(g, raw, args)
	}
	if strings.HasPrefix(g.verb, "STARTTLS") { // go-smtp would take it for one
		g.answer(replyTLSNoArgs)
		return nil
	}
	return raw
}

// line reads up to and with the next LF.
func (g *gate) line() (raw []byte, ok bool) {
	c := g.c
	if !g.mayGoOn() {
		return nil, false
	}
	for scanned := 0; ; {
		buf := c.in.unread()
		limit := lineLimit(buf, g.sasl)
		i := bytes.IndexByte(buf[scanned:], '\n')
		switch {
		case !g.sasl && c.in.foreign():
			c.over(errForeign)
			return nil, false
		case i >= 0 && scanned+i < limit:
			c.setIdle(false)
			c.in.take(scanned + i + 1)
			return buf[:scanned+i+1], true
		case i >= 0 || len(buf) >= limit:
			c.end(replyLongLine, errLongLine)
			return nil, false
		case c.in.full():
			c.in.grow(4 * commandBuffer)
		}
		scanned = len(buf)
		if c.fill() != nil {
			return nil, false
		}
	}
}

// mayGoOn starts the clock for the next command, unless it is time to part.
func (g *gate) mayGoOn() bool {
	c := g.c
	c.in.shrink()
	now := time.Now()
	t := g.session.transaction()
	inside := t != nil
	switch {
	case inside && now.Sub(t.begun) > messageTime, !inside && now.Sub(c.started) > sessionTime:
		c.end(replyTooLong, nil)
		return false
	case !inside && c.stopping():
		c.end(replyShutdown, nil)
		return false
	}
	patience := commandTime
	if !inside && c.srv.cfg.Conns.Busy() {
		patience = hurriedTime
	}
	c.in.pace = pace{start: now, patience: patience, end: now.Add(2 * commandTime)}
	c.setIdle(!inside)
	return true
}

func lineLimit(line []byte, sasl bool) int {
	if sasl || len(line) >= 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) {
		return maxAuth
	}
	return maxCommand
}

// mustWait holds the commands after which a client must wait for the answer
// before it sends more (RFC 2920 3.1, RFC 3207 4, RFC 4954 4).
var mustWait = map[string]bool{"HELO": true, "EHLO": true, "DATA": true, "STARTTLS": true, "AUTH": true}

// checks holds what the gate does with a command before go-smtp sees it.
var checks = map[string]func(g *gate, raw []byte, args string) []byte{
	"STARTTLS": (*gate).startTLS,
	"MAIL":     (*gate).checkMail,
	"RCPT":     (*gate).checkRcpt,
	"BDAT":     (*gate).firstChunk,
}

// startTLS answers STARTTLS and puts TLS on (RFC 3207).
func (g *gate) startTLS(_ []byte, args string) []byte {
	c := g.c
	switch {
	case args != "":
		g.answer(replyTLSNoArgs)
	case c.tls != nil:
		g.answer(replyTLSAlready)
	case c.srv.cfg.TLS == nil:
		g.answer(replyNoTLS)
	default:
		c.send(appendReply(nil, replyGoTLS))
		if c.flush(); !c.ended && c.handshake() == nil {
			g.upgrade = true
		}
	}
	return nil
}

// checkMail parses the reverse-path as strictly as RFC 5321 4.1.2 has it,
// for go-smtp takes almost anything and gives it on without its quotes.
func (g *gate) checkMail(raw []byte, args string) []byte {
	a, params, ok := cutPath(args, "FROM:")
	if !ok {
		g.answer(replySender)
		return nil
	}
	if tooBig(params, g.c.srv.cfg.MaxSize) {
		g.answer(smtp.TooBig)
		return nil
	}
	g.offer(a)
	if !g.c.srv.submits() {
		return raw
	}
	p, rest, fault := g.c.cutMailParams(params)
	if fault != nil {
		g.answer(fault)
		return nil
	}
	if g.session != nil {
		g.session.mail = p
	}
	if rest == params {
		return raw
	}
	return []byte("MAIL FROM:" + a.Path() + rest + "\r\n")
}

// checkRcpt is checkMail for the forward-path, which cannot be null.
func (g *gate) checkRcpt(raw []byte, args string) []byte {
	a, params, ok := cutPath(args, "TO:")
	if !ok || a.IsNull() {
		g.answer(replyRecipient)
		return nil
	}
	g.offer(a)
	if a.Domain == "" { // go-smtp does not know <postmaster>, RFC 5321 4.5.1
		a = smtp.Address{Local: "postmaster", Domain: g.c.srv.cfg.Hostname}
		raw = []byte("RCPT TO:" + a.Path() + params + "\r\n")
	}
	if !g.c.srv.submits() {
		return raw
	}
	p, rest, fault := cutRcptParams(params)
	if fault != nil {
		g.answer(fault)
		return nil
	}
	if g.session != nil {
		g.session.rcpt = p
	}
	if rest == params {
		return raw
	}
	return []byte("RCPT TO:" + a.Path() + rest + "\r\n")
}

// offer gives the parsed path to the session, which takes it instead of what
// go-smtp made of it.
func (g *gate) offer(a smtp.Address) {
	if g.session != nil {
		g.session.path = a
	}
}

// cutPath takes the path off the arguments of MAIL or RCPT. A space after
// the colon is not in the grammar, but many programs send it.
func cutPath(args, keyword string) (a smtp.Address, params string, ok bool) {
	args = strings.TrimLeft(args, " ")
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) {
		return a, "", false
	}
	rest := strings.TrimLeft(args[len(keyword):], " ")
	end := pathEnd(rest)
	if end < len(rest) && rest[end] != ' ' {
		return a, "", false
	}
	a, err := smtp.ParsePath(rest[:end])
	return a, rest[end:], err == nil
}

// pathEnd returns the index after the ">" that ends a path: the first one
// outside of quotes.
func pathEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i + 1
		}
	}
	return len(s)
}

// tooBig reports whether SIZE (RFC 1870 6.1) is more than limit. go-smtp
// does not understand numbers beyond 32 bits.
func tooBig(params string, limit int64) bool {
	for p := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(key, "SIZE") || value == "" || strings.Trim(value, "0123456789") != "" {
			continue
		}
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n > limit {
			return true
		}
	}
	return false
}
