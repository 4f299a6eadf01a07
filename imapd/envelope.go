package imapd

import (
	"bytes"
	"errors"

	"buzon/maildir"
)

// An envelope is what SORT and THREAD need of an ENVELOPE: of address lists the first address. It
// is read from the form in which it is cached for FETCH, so that nothing has to be read from the
// message.
type envelope struct {
	date, subject        []byte
	from, to, cc         envelopeAddress
	inReplyTo, messageID []byte
}

type envelopeAddress struct{ name, mailbox, host []byte }

// readEnvelope reads an ENVELOPE in IMAP syntax (RFC 9051 section 9: envelope), as the store made
// it.
func readEnvelope(b []byte) envelope {
	p := &envelopeParser{b: b}
	p.skip('(')
	var e envelope
	e.date = p.nstring()
	e.subject = p.nstring()
	e.from = p.addresses(true)
	p.addresses(false) // Sender
	p.addresses(false) // Reply-To
	e.to = p.addresses(true)
	e.cc = p.addresses(true)
	p.addresses(false) // Bcc
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

// nstring reads a quoted string, a literal or NIL, which is empty. It is valid as long as the
// envelope is.
func (p *envelopeParser) nstring() []byte {
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
		s := p.b[:n]
		p.b = p.b[n:]
		return s
	default:
		p.b = bytes.TrimPrefix(p.b, []byte("NIL"))
		return nil
	}
}

func (p *envelopeParser) quoted() []byte {
	end := bytes.IndexByte(p.b, '"')
	if end < 0 {
		end = len(p.b)
	}
	if bytes.IndexByte(p.b[:end], '\\') < 0 {
		s := p.b[:end]
		p.b = p.b[min(end+1, len(p.b)):]
		return s
	}
	var out []byte
	for i := 0; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			p.b = p.b[i+1:]
			return out
		case c == '\\' && i+1 < len(p.b):
			i++
			out = append(out, p.b[i])
		default:
			out = append(out, c)
		}
	}
	p.b = nil
	return out
}

// addresses reads a list and returns its first element, which may be the name of a group, if it is
// wanted.
func (p *envelopeParser) addresses(wanted bool) envelopeAddress {
	var first envelopeAddress
	if !p.skip('(') {
		p.nstring() // NIL
		return first
	}
	for p.skip('(') {
		name := p.nstring()
		p.nstring() // route
		mailbox, host := p.nstring(), p.nstring()
		p.skip(')')
		if wanted {
			first = envelopeAddress{name, mailbox, host}
			wanted = false
		}
	}
	p.skip(')')
	return first
}

func isGone(err error) bool { return errors.Is(err, maildir.ErrExpunged) }
