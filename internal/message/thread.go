package message

import (
	"bytes"
	"strings"
)

// BaseSubject returns the base subject of RFC 5256 2.1 of a decoded subject, and whether
// it was a reply or a forward. The result has the case of the subject.
func BaseSubject(subject string) (base string, reply bool) {
	s := oneSpaced(subject) // step 1
	for {
		s, reply = trimTrailers(s, reply) // step 2
		s, reply = trimLeaders(s, reply)  // steps 3 to 5
		inner, ok := cutForward(s)        // step 6
		if !ok {
			return s, reply
		}
		s, reply = inner, true
	}
}

// oneSpaced makes one space of all white space between words. Most subjects are so.
func oneSpaced(s string) string {
	space := true
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 || c < ' ' || c == ' ' && space {
			return strings.Join(strings.FieldsFunc(s, isSpace), " ")
		}
		space = c == ' '
	}
	return s
}

func trimTrailers(s string, reply bool) (string, bool) {
	for {
		s = strings.TrimRight(s, " ")
		if !hasSuffixFold(s, "(fwd)") {
			return s, reply
		}
		s, reply = s[:len(s)-len("(fwd)")], true
	}
}

// trimLeaders removes "Re:", "[list] Fwd:" and the like, and blobs before other text.
func trimLeaders(s string, reply bool) (string, bool) {
	for {
		s = strings.TrimLeft(s, " ")
		rest := trimBlobs(s)
		if after, ok := cutRefwd(rest); ok {
			s, reply = after, true
			continue
		}
		// No leader: of the blobs, all may go that leave something.
		for rest == "" && s != "" {
			next, ok := cutBlob(s)
			if !ok || next == "" {
				return s, reply
			}
			s = next
		}
		return rest, reply
	}
}

// trimBlobs removes all "[...] " at the start of s.
func trimBlobs(s string) string {
	for {
		rest, ok := cutBlob(s)
		if !ok {
			return s
		}
		s = rest
	}
}

func cutBlob(s string) (rest string, ok bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	i := strings.IndexAny(s[1:], "[]") + 1
	if i == 0 || s[i] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[i+1:], " "), true
}

// cutRefwd removes subj-refwd: "re", "fw" or "fwd", perhaps a blob, and a colon.
func cutRefwd(s string) (rest string, ok bool) {
	for _, word := range [...]string{"re", "fwd", "fw"} {
		if !hasPrefixFold(s, word) {
			continue
		}
		rest = strings.TrimLeft(s[len(word):], " ")
		rest, _ = cutBlob(rest)
		return strings.CutPrefix(rest, ":")
	}
	return s, false
}

// cutForward returns what stands in "[fwd: ...]".
func cutForward(s string) (inner string, ok bool) {
	if hasPrefixFold(s, "[fwd:") && strings.HasSuffix(s, "]") {
		return s[len("[fwd:") : len(s)-1], true
	}
	return s, false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && sameName(s[:len(prefix)], prefix)
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && sameName(s[len(s)-len(suffix):], suffix)
}

// MessageIDs returns the message ids in a References, In-Reply-To or Message-ID value,
// without angle brackets and with needless quoting undone (RFC 5256 3), at most
// MaxMessageIDs of them. What is none is passed over.
func MessageIDs(value string) []string {
	var list []string
	x := lexer{s: []byte(value)}
	for len(list) < MaxMessageIDs {
		for x.i < len(x.s) && x.s[x.i] != '<' {
			x.i++
		}
		if x.i == len(x.s) {
			break
		}
		x.i++
		if id, ok := x.messageID(); ok {
			list = append(list, id)
		}
	}
	return list
}

// messageID reads id-left "@" id-right ">".
func (x *lexer) messageID() (string, bool) {
	// Most are written plainly; then anything goes that has an "@".
	rest := x.s[x.i:]
	end := bytes.IndexAny(rest, `>"([`)
	if end < 0 { // never ended
		x.i = len(x.s)
		return "", false
	}
	if rest[end] == '>' {
		x.i += end + 1
		id := strings.Join(strings.FieldsFunc(string(rest[:end]), isSpace), "")
		return id, strings.IndexByte(id, '@') >= 0
	}
	if x.skip() != more {
		return "", false
	}
	var buf []byte
	var st state
	if x.is('"') {
		buf, st = x.quoted(nil)
	} else {
		buf, st = x.dotAtom(nil)
	}
	if st != more || !x.is('@') {
		return "", false
	}
	if buf, st = x.domain(append(buf, '@')); st != more || !x.is('>') {
		return "", false
	}
	x.i++
	return string(buf), true
}
