package message

import "strings"

// GroupMark tells the marks of a group from a mailbox in an address list.
type GroupMark uint8

const (
	NoMark     GroupMark = iota // a mailbox
	GroupStart                  // "Name:"; Mailbox is the name
	GroupEnd                    // ";"
)

// Address is one element of an address list in the form that IMAP gives it
// (RFC 9051 7.5.2): a mailbox, or the start or end of a group of them.
type Address struct {
	Name    string // display name, unquoted but not decoded
	Route   string // obsolete source route, "@a,@b"
	Mailbox string // local part, unquoted
	Host    string
	Group   GroupMark

	flaws flaw
}

// flaw says what an address lacks. ENVELOPE shows it in words, where Dovecot shows
// the same, so that a client never takes a broken address for a good one.
type flaw uint8

const (
	noMailbox flaw = 1 << iota
	noHost
	badSyntax // shown in place of the host
	badRoute
	emptyName // a name was there, but nothing was in it
)

// String returns the addr-spec, with the local part quoted where RFC 5322 needs it:
// `ana@buzon.test`, `"a b"@buzon.test`.
func (a Address) String() string {
	var b strings.Builder
	if isDotAtom(a.Mailbox) {
		b.WriteString(a.Mailbox)
	} else {
		b.WriteByte('"')
		for i := 0; i < len(a.Mailbox); i++ {
			if c := a.Mailbox[i]; c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(a.Mailbox[i])
		}
		b.WriteByte('"')
	}
	if a.Host != "" {
		b.WriteByte('@')
		b.WriteString(a.Host)
	}
	return b.String()
}

// isDotAtom reports whether s is a dot-atom of RFC 5322 3.2.3.
func isDotAtom(s string) bool {
	dot := true // a dot may not come next
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			if dot {
				return false
			}
			dot = true
			continue
		}
		if charClass[s[i]]&atext == 0 {
			return false
		}
		dot = false
	}
	return !dot
}

// Addresses parses the value of an address field. It never fails: what cannot be an
// address is kept as far as it can be shown, up to MaxAddresses.
func Addresses(value string) []Address { return parseAddresses([]byte(value)) }

func parseAddresses(value []byte) []Address {
	p := addressParser{lexer: lexer{s: value}}
	if p.skip() != more {
		return nil
	}
	for p.address() && p.is(',') && len(p.list) < MaxAddresses {
		p.i++
		if st := p.skip(); st != more {
			if st == broken { // ends in garbage, which shows as an empty address
				p.addMailbox()
			}
			break
		}
	}
	return p.list
}

// addressParser follows RFC 5322 3.4 and 4.4. The order of its attempts, and what it
// makes of broken input, is what Dovecot does.
type addressParser struct {
	lexer
	list []Address
	cur  Address // the one being read; its flaws are those of the syntax only
	buf  []byte

	hasMailbox, hasHost bool // cur.Mailbox, cur.Host are set, perhaps empty
	invalid             bool
}

// address reads one mailbox or group. It reports whether input is left.
func (p *addressParser) address() bool {
	start := p.i
	if left, ok := p.group(); ok {
		return left
	}
	p.i = start
	return p.mailbox() != atEnd
}

// group reads `name: mailboxes;`; ok is false if this is no group.
func (p *addressParser) group() (left, ok bool) {
	var st state
	if p.buf, st = p.phrase(p.buf[:0]); st != more || !p.is(':') {
		return false, false
	}
	p.i++
	p.list = append(p.list, Address{Mailbox: string(p.buf), Group: GroupStart})
	st = p.skip()
	if st == more && !p.is(';') {
		for {
			p.mailbox()
			if !p.is(',') || len(p.list) >= MaxAddresses {
				break
			}
			p.i++
			if p.skip() != more {
				st = broken
				break
			}
		}
	}
	if st != broken {
		if p.is(';') {
			p.i++
			st = p.skip()
		} else {
			st = broken
		}
	}
	p.list = append(p.list, Address{Group: GroupEnd})
	return st != atEnd, true
}

// mailbox reads a name-addr or an addr-spec.
func (p *addressParser) mailbox() state {
	start := p.i
	st, ok := p.nameAddr()
	if !ok {
		p.i = start
		st = p.addrSpec()
		if p.invalid && p.cur.Name == "" && p.hasMailbox && !p.hasHost {
			// one word in quotes, or cut short: rather a name than an address
			p.cur.Name, p.hasMailbox = p.cur.Mailbox, false
			if p.cur.Name == "" {
				p.cur.flaws |= emptyName
			}
		}
	}
	p.addMailbox()
	return st
}

func (p *addressParser) addMailbox() {
	if !p.hasMailbox {
		p.cur.Mailbox = ""
		p.cur.flaws |= noMailbox
	}
	if p.cur.Host == "" {
		p.cur.flaws |= noHost
	}
	p.list = append(p.list, p.cur)
	p.cur = Address{}
	p.hasMailbox, p.hasHost, p.invalid = false, false, false
}

// nameAddr reads `[name] <addr>`; ok is false if this is something else.
func (p *addressParser) nameAddr() (st state, ok bool) {
	if p.buf, st = p.phrase(p.buf[:0]); st != more || !p.is('<') {
		return broken, false
	}
	p.cur.Name = string(p.buf)
	if p.angleAddr() == broken {
		p.cur.flaws |= badSyntax
	}
	return p.rest(), true
}

// angleAddr reads "<" [route ":"] local-part "@" domain ">".
func (p *addressParser) angleAddr() state {
	p.i++
	if p.skip() != more {
		return broken
	}
	if p.is('@') {
		if p.route() && p.is(':') {
			p.i++
		} else {
			p.cur.flaws |= badRoute
			if p.rest() == atEnd {
				return broken
			}
		}
		if p.skip() != more {
			return broken
		}
	}
	if !p.is('>') { // <> is no address, but no damage either
		if p.localPart() != more {
			return broken
		}
		if p.is('@') && p.host() != more {
			return broken
		}
	}
	if !p.is('>') {
		return broken
	}
	p.i++
	return p.skip()
}

// route reads an obs-domain-list of RFC 5322 4.4.
func (p *addressParser) route() bool {
	p.buf = p.buf[:0]
	for p.is('@') {
		if len(p.buf) > 0 {
			p.buf = append(p.buf, ',')
		}
		p.buf = append(p.buf, '@')
		var st state
		if p.buf, st = p.domain(p.buf); st != more {
			return false
		}
		for p.skip() == more && p.is(',') {
			p.i++
		}
	}
	if p.rest() == atEnd {
		return false
	}
	p.cur.Route = string(p.buf)
	return true
}

// addrSpec reads local-part "@" domain. A comment beside it is taken for the name, as
// was the custom before RFC 822.
func (p *addressParser) addrSpec() state {
	p.comment = p.comment[:0]
	quoted := p.is('"')
	st := p.localPart()
	p.invalid = st != more
	sawHost := false
	if st != atEnd && p.is('@') {
		sawHost = true
		if h := p.host(); h != more {
			st = h
		}
	}
	switch {
	case len(p.comment) > 0:
		p.cur.Name = string(p.comment)
	case !sawHost:
		// One word alone is taken for a mailbox, several are a name.
		p.buf = append(p.buf, ' ')
		n := len(p.buf)
		p.buf, _ = p.phrase(p.buf)
		if len(p.buf) != n {
			p.cur.Name, p.hasMailbox = string(p.buf), false
		} else if !quoted {
			p.hasHost = true
		}
		p.invalid = true
		st = broken
	}
	return st
}

func (p *addressParser) localPart() state {
	p.buf = p.buf[:0]
	var st state
	if p.is('"') {
		p.buf, st = p.quoted(p.buf)
	} else {
		p.buf, st = p.looseDotAtom(p.buf)
	}
	if st != broken {
		p.cur.Mailbox, p.hasMailbox = string(p.buf), true
	}
	return st
}

func (p *addressParser) host() state {
	var st state
	if p.buf, st = p.domain(p.buf[:0]); st != broken {
		p.cur.Host, p.hasHost = string(p.buf), true
	}
	return st
}
