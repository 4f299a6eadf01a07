package imapd

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"buzon/imapd/wire"
)

// A messageURL is an IMAP URL of a message or a part of one (RFC 5092), without the server:
// /mailbox;UIDVALIDITY=1/;UID=2/;SECTION=3/;PARTIAL=0.10
type messageURL struct {
	mailbox     string
	uidValidity uint32 // 0: not given
	uid         uint32
	section     string // as between the brackets of BODY[…]; "" is the whole message
	partial     bool
	offset      int64
	size        int64 // 0: to the end
}

var errURL = errors.New("not the URL of a message")

// parseMessageURL takes absolute paths, which RFC 4469 5 has CATENATE use.
func parseMessageURL(s string) (messageURL, error) {
	u := messageURL{}
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return u, errURL
	}
	parts := splitParameters(rest)
	name, err := url.PathUnescape(parts[0].value)
	if err != nil || name == "" || !utf8.ValidString(name) {
		return u, errURL
	}
	u.mailbox = wire.FoldInbox(name)
	for _, p := range parts[1:] {
		if err := u.set(p.name, p.value); err != nil {
			return u, err
		}
	}
	if u.uid == 0 {
		return u, errURL
	}
	return u, nil
}

type urlParameter struct{ name, value string }

// splitParameters cuts at ";NAME=" and "/;NAME=". The first one has no name.
func splitParameters(s string) []urlParameter {
	var out []urlParameter
	head, rest, more := strings.Cut(s, ";")
	out = append(out, urlParameter{"", strings.TrimSuffix(head, "/")})
	for more {
		var p string
		p, rest, more = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(strings.TrimSuffix(p, "/"), "=")
		out = append(out, urlParameter{strings.ToUpper(name), value})
	}
	return out
}

func (u *messageURL) set(name, value string) error {
	value, err := url.PathUnescape(value)
	if err != nil {
		return errURL
	}
	number := func(s string) uint32 {
		n, nerr := strconv.ParseUint(s, 10, 32)
		if nerr != nil {
			err = errURL
		}
		return uint32(n)
	}
	switch name {
	case "UIDVALIDITY":
		u.uidValidity = number(value)
	case "UID":
		u.uid = number(value)
	case "SECTION":
		u.section = value
	case "PARTIAL":
		first, second, _ := strings.Cut(value, ".")
		u.partial = true
		u.offset = int64(number(first))
		if second != "" {
			u.size = int64(number(second))
		}
	default:
		err = errURL
	}
	return err
}

// parseSection reads the section as FETCH does.
func (u messageURL) parseSection() (section, error) {
	d := wire.NewDecoder(strings.NewReader(u.section+"]\r\n"), wire.Limits{Line: 8 << 10, Literal: 1024, Sum: 1024, Items: 100, Depth: 2})
	d.Begin()
	sec := section{label: "BODY"}
	sec.readSpec(&request{Decoder: d})
	if d.End() != nil {
		return section{}, errURL
	}
	if u.partial {
		sec.partial, sec.offset, sec.size = true, u.offset, u.size
		if u.size == 0 {
			sec.size = 1<<62 - 1
		}
	}
	return sec, nil
}
