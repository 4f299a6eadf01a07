package imapd

import (
	"bytes"
	"errors"

	"buzon/maildir"
)

// An envelope is what SORT and THREAD need of an ENVELOPE: of address lists the first address. It is read from the form in which it is
// cached for FETCH, so that nothing has to be read from the message.
type envelope struct {
	date, subject        string
	from, to, cc         envelopeAddress
	inReplyTo, messageID string
}

type envelopeAddress struct{ name, mailbox, host string }

// readEnvelope reads an ENVELOPE in IMAP syntax (RFC 9051 section 9: envelope), as the store made it.
func readEnvelope(b []byte) envelope {
	p := &envelopeParser{b: b}
	p.skip('(')
	var e envelope
	e.date = p.nstring()
	e.subject = p.nstring()
	e.from = p.addresses()
	p.addresses() // Sender
	p.addresses() // Reply-To
	e.to = p.addresses()
	e.cc = p.addresses()
	p.addresses() // Bcc
	e.inReplyTo = p.nstring()
	e.messageID = p.nstring()
	return e
}

type envelopeParser struct{ b []byte }

func (p *envelopeParser) skip(c byte) bool {
	for len(p.b) > 0 && p.b[0] == ' ' {
		p.b = p.b[1:]
	}
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

// nstring reads a quoted string, a literal or NIL, which is "".
func (p *envelopeParser) nstring() string {
	switch {
	case p.skip('"'):
		return p.quoted()
	case p.skip('{'):
		n := 0
		for len(p.b) > 0 && p.b[0] >= '0' && p.b[0] <= '9' {
			n = n*10 + int(p.b[0]-'0')
			p.b = p.b[1:]
		}
		p.b = p.b[min(len("}\r\n"), len(p.b)):]
		n = min(n, len(p.b))
		s := string(p.b[:n])
		p.b = p.b[n:]
		return s
	default:
		p.b = bytes.TrimPrefix(p.b, []byte("NIL"))
		return ""
	}
}

func (p *envelopeParser) quoted() string {
	var out []byte
	for i := 0; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			out = append(out, p.b[:i]...)
			p.b = p.b[i+1:]
			return string(out)
		case c == '\\' && i+1 < len(p.b):
			out = append(out, p.b[:i]...)
			p.b = p.b[i+1:]
			i = 0 // the escaped byte itself is content
		}
	}
	return string(out)
}

// addresses reads a list and returns its first element, which may be the name of a group.
func (p *envelopeParser) addresses() envelopeAddress {
	var first envelopeAddress
	if !p.skip('(') {
		p.nstring() // NIL
		return first
	}
	for p.skip('(') {
		a := envelopeAddress{name: p.nstring()}
		p.nstring() // route
		a.mailbox = p.nstring()
		a.host = p.nstring()
		p.skip(')')
		if first == (envelopeAddress{}) {
			first = a
		}
	}
	p.skip(')')
	return first
}

func isGone(err error) bool { return errors.Is(err, maildir.ErrExpunged) }
