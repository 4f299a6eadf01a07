package message

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDoubtful bounds the domains that AuthorDomain returns for a message whose
// author is in doubt.
const maxDoubtful = 20

// AuthorDomain returns the Author Domain of a message from a stranger (RFC 9989
// 3.2.2): the one domain of the addresses of its one From field, in lower
// case. Where two readers could see different authors the domain is "" and
// doubtful has every domain that one of them could show, if any; the same where
// the addresses have several domains, or no domain at all.
func AuthorDomain(h *Header) (domain string, doubtful []string) {
	var from []Field
	for f := range h.Fields() {
		if authorField(f) == "from" {
			from = append(from, f)
		}
	}
	if len(from) == 1 && sameName(from[0].Name, "From") && plainFields(h) == nil {
		if list, err := strictMailboxes(from[0]); err == nil {
			for _, m := range list {
				if host := strings.ToLower(m.Host); host != "" && !slices.Contains(doubtful, host) {
					doubtful = append(doubtful, host)
				}
			}
			if len(doubtful) == 1 && !strings.HasPrefix(doubtful[0], "[") {
				return doubtful[0], nil
			}
			return "", doubtful
		}
	}
	for f := range h.Fields() {
		if authorField(f) != "" {
			doubtful = appendDomains(doubtful, f)
		}
	}
	return "", doubtful
}

// authorField returns what a field could be for a tolerant reader: "from",
// "sender", or the same of a resent message; "" for other fields. Names may be
// surrounded by white space, folded, or written where no field is.
func authorField(f Field) string {
	name := f.Raw
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	if len(name) > 200 {
		return ""
	}
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToLower(string(name)))
	switch clean {
	case "from", "sender", "resent-from", "resent-sender":
		return clean
	}
	if first, _, spaced := strings.Cut(strings.TrimLeft(strings.ToLower(string(name)), " \t"), " "); spaced && first == "from" {
		return "from" // "From ana@a.test Thu": a reader of mbox files
	}
	return ""
}

// appendDomains adds whatever follows an "@" in a field, as it is written and
// as its encoded words decode.
func appendDomains(list []string, f Field) []string {
	text := string(f.Raw)
	for _, s := range []string{text, DecodeHeader(text)} {
		for rest := s; len(list) < maxDoubtful; {
			_, after, found := strings.Cut(rest, "@")
			if !found {
				break
			}
			end := strings.IndexFunc(after, func(r rune) bool {
				return r < utf8.RuneSelf && !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
			})
			if end < 0 {
				end = len(after)
			}
			domain := strings.ToLower(strings.Trim(after[:end], "."))
			if domain != "" && !slices.Contains(list, domain) {
				list = append(list, domain)
			}
			rest = after
		}
	}
	return list
}
