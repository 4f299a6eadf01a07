package message

import (
	"slices"
	"strconv"
	"strings"
)

// contentField reports whether name is a MIME field that a Part has a place for.
func contentField(name []byte) bool {
	return len(name) > len("content-") && equalFold(name[:len("content-")], "content-") ||
		equalFold(name, "mime-version")
}

// setContent takes one Content-* field. The first of several with one name wins.
func (p *Part) setContent(name, value []byte) {
	x := lexer{s: value}
	switch name = name[len("content-"):]; {
	case equalFold(name, "type"):
		if !p.has(hasType) {
			p.present |= hasType | hasMIME
			p.setType(&x)
		}
	case equalFold(name, "transfer-encoding"):
		if p.Encoding == "" {
			p.setEncoding(&x)
		}
	case equalFold(name, "disposition"):
		if len(p.DispositionParams) == 0 {
			p.setDisposition(&x)
		}
	case equalFold(name, "language"):
		if p.Language == nil {
			p.Language = languages(&x)
		}
	case equalFold(name, "id"):
		p.setString(&p.ID, hasID, value)
	case equalFold(name, "description"):
		p.setString(&p.Description, hasDescription, value)
	case equalFold(name, "md5"):
		p.setString(&p.MD5, hasMD5, value)
	case equalFold(name, "location"):
		p.setString(&p.Location, hasLocation, value)
	}
}

func (p *Part) setString(field *string, bit partBits, value []byte) {
	if !p.has(bit) {
		*field = string(value)
		p.present |= bit
	}
}

// setType reads type "/" subtype *(";" param). Without a type or a subtype the field is
// as good as missing (RFC 2045 5.2); damage behind them does no harm.
func (p *Part) setType(x *lexer) {
	x.skip()
	typ, st := x.token(nil)
	if st != more || !x.is('/') || len(typ) == 0 {
		return
	}
	x.i++
	x.skip()
	subtype, st := x.token(nil)
	if len(subtype) == 0 {
		return
	}
	p.Type, p.Subtype = intern(typ), intern(subtype)
	switch {
	case strings.EqualFold(p.Type, "multipart"):
		p.kind = multipart
		if strings.EqualFold(p.Subtype, "digest") {
			p.kind = digest
		}
	case strings.EqualFold(p.Type, "message") && strings.EqualFold(p.Subtype, "rfc822"):
		p.kind = inner
	}
	if st != broken {
		p.Params = params(x)
	}
}

// boundary returns the delimiter of a multipart.
func (p *Part) boundary() (text string, ok bool) {
	if p.IsMultipart() {
		for _, q := range p.Params {
			if strings.EqualFold(q.Name, "boundary") {
				return q.Value, true
			}
		}
	}
	return "", false
}

// settle fills in what the header of p left unsaid.
func (p *Part) settle(inDigest bool) {
	if !p.has(hasMIME) { // RFC 2045 4: then the Content fields mean nothing
		*p = Part{Header: p.Header, Body: p.Body, Envelope: p.Envelope}
	}
	if p.Type != "" {
		return
	}
	if inDigest && !p.has(hasType) { // RFC 2046 5.1.5
		p.kind, p.Type, p.Subtype = inner, "message", "rfc822"
	} else { // RFC 2045 5.2
		p.Type, p.Subtype = "text", "plain"
	}
}

func (p *Part) setEncoding(x *lexer) {
	x.skip()
	if buf, st := x.token(nil); st == atEnd {
		p.Encoding = intern(buf)
	}
}

func (p *Part) setDisposition(x *lexer) {
	x.skip()
	buf, st := x.token(nil)
	if st == broken {
		return
	}
	p.Disposition = intern(buf)
	p.present |= hasDisposition
	p.DispositionParams = params(x)
}

func languages(x *lexer) []string {
	var list []string
	x.skip()
	for len(list) < MaxParams {
		buf, st := x.atom(nil)
		if len(buf) == 0 || st == broken {
			break
		}
		list = append(list, intern(buf))
		if !x.is(',') {
			break
		}
		x.i++
		x.skip()
	}
	return list
}

// continuation is one piece of a parameter that RFC 2231 splits or encodes.
type continuation struct {
	name, value string
	index       int
	extended    bool
}

// params reads *(";" attribute "=" value). Pieces of one parameter are joined (RFC 2231
// 3), but not decoded: what IMAP shows is what the sender wrote, under a name that
// ends in "*" if a piece was encoded. Joined parameters come last, sorted.
func params(x *lexer) []Param {
	var list []Param
	var pieces []continuation
	for x.i < len(x.s) && len(list)+len(pieces) < MaxParams {
		name, value, st := x.param()
		if st == broken {
			if x.i < len(x.s) {
				x.i++ // try to go on
			}
			continue
		}
		if c, ok := parseContinuation(name); ok {
			c.value = value
			pieces = append(pieces, c)
		} else {
			list = append(list, Param{name, value})
		}
	}
	if len(pieces) == 0 {
		return list
	}
	slices.SortStableFunc(pieces, func(a, b continuation) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return a.index - b.index
	})
	for len(pieces) > 0 {
		n := 1
		for n < len(pieces) && strings.EqualFold(pieces[n].name, pieces[0].name) {
			n++
		}
		list = append(list, join(pieces[:n])...)
		pieces = pieces[n:]
	}
	return list
}

// param reads ";" attribute "=" value.
func (x *lexer) param() (name, value string, st state) {
	if !x.is(';') {
		return "", "", broken
	}
	x.i++
	if x.skip() != more {
		return "", "", broken
	}
	buf, st := x.token(nil)
	if st != more || !x.is('=') {
		return "", "", broken
	}
	name = intern(buf)
	x.i++
	buf = buf[:0]
	switch st = x.skip(); {
	case st != more:
	case x.is('"'):
		buf, st = x.quoted(buf)
	case x.is('='): // an encoded word without quotes: name==?utf-8?b?...?=
		for x.i < len(x.s) && strings.IndexByte("; \t\r\n", x.s[x.i]) < 0 {
			buf = append(buf, x.s[x.i])
			x.i++
		}
	default:
		buf, st = x.token(buf)
	}
	return name, intern(buf), st
}

// parseContinuation takes "name*", "name*1" and "name*1*" apart.
func parseContinuation(s string) (continuation, bool) {
	name, rest, ok := strings.Cut(s, "*")
	if !ok {
		return continuation{}, false
	}
	c := continuation{name: name}
	if rest == "" {
		c.extended = true
		return c, true
	}
	for len(rest) > 0 && '0' <= rest[0] && rest[0] <= '9' {
		if c.index = c.index*10 + int(rest[0]-'0'); c.index > MaxParams {
			return continuation{}, false
		}
		rest = rest[1:]
	}
	if rest == "*" {
		c.extended = true
		rest = ""
	}
	return c, rest == ""
}

// join puts the pieces of one parameter together; where one is missing, each stays
// a parameter of its own.
func join(pieces []continuation) []Param {
	extended := false
	for i, c := range pieces {
		if c.index != i {
			return apart(pieces)
		}
		extended = extended || c.extended
	}
	if !extended {
		var b strings.Builder
		for _, c := range pieces {
			b.WriteString(c.value)
		}
		return []Param{{pieces[0].name, b.String()}}
	}
	var b strings.Builder
	if !pieces[0].extended {
		b.WriteString("''") // RFC 2231 4: charset and language, both empty
	}
	for _, c := range pieces {
		if c.extended {
			b.WriteString(c.value)
		} else {
			b.WriteString(strings.ReplaceAll(c.value, "%", "%25"))
		}
	}
	return []Param{{pieces[0].name + "*", b.String()}}
}

func apart(pieces []continuation) []Param {
	list := make([]Param, len(pieces))
	for i, c := range pieces {
		name := c.name + "*" + strconv.Itoa(c.index)
		if c.extended {
			name += "*"
		}
		list[i] = Param{name, c.value}
	}
	return list
}

// intern returns b as a string, without allocation for the words of most mail.
func intern(b []byte) string {
	if s, ok := commonWords[string(b)]; ok {
		return s
	}
	return string(b)
}

var commonWords = func() map[string]string {
	m := map[string]string{}
	for _, s := range []string{
		"", "text", "plain", "html", "multipart", "mixed", "alternative", "related", "signed", "report",
		"application", "octet-stream", "pdf", "image", "png", "jpeg", "gif", "message", "rfc822",
		"delivery-status", "calendar", "charset", "boundary", "name", "filename", "format", "flowed", "delsp",
		"type", "size", "UTF-8", "utf-8", "us-ascii", "US-ASCII", "iso-8859-1", "ISO-8859-1", "windows-1252",
		"7bit", "8bit", "base64", "quoted-printable", "attachment", "inline",
	} {
		m[s] = s
	}
	return m
}()

// equalFold compares with a lower-case ASCII word without regard to case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
