package imapd

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
)

// A charset is that of the strings of a SEARCH. The zero value is UTF-8, of which US-ASCII is a part.
type charset struct{ enc encoding.Encoding }

// errBadCharset names what every client can fall back to (RFC 9051 7.1: BADCHARSET).
var errBadCharset = no("BADCHARSET (US-ASCII UTF-8)", "The charset is not known")

func newCharset(name string) (*charset, error) {
	switch strings.ToUpper(name) {
	case "UTF-8", "UTF8", "US-ASCII", "ASCII":
		return &charset{}, nil
	}
	enc, err := ianaindex.MIME.Encoding(name)
	if err != nil || enc == nil {
		return nil, errBadCharset
	}
	return &charset{enc}, nil
}

// decode returns s in UTF-8.
func (c *charset) decode(s string) (string, bool) {
	if c.enc == nil {
		return s, utf8.ValidString(s)
	}
	s, err := c.enc.NewDecoder().String(s)
	return s, err == nil
}
