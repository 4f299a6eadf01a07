package arc

import (
	"bytes"
	"slices"
	"strings"

	"buzon/internal/message"
)

// tags is a tag-list (RFC 6376 3.2), values without white space.
type tags struct {
	values map[string]string
	twice  bool // some tag is there twice
}

func (t tags) get(name string) string { return t.values[name] }

func (t tags) lookup(name string) (string, bool) {
	v, ok := t.values[name]
	return v, ok
}

func parseTags(s string) tags {
	t := tags{values: make(map[string]string)}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); !ok {
			continue
		}
		if _, twice := t.values[name]; twice {
			t.twice = true
			continue
		}
		t.values[name] = strings.Map(func(r rune) rune {
			if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, value)
	}
	return t
}

// canonicalizations reads c=; "" for what is unknown (RFC 6376 3.5).
func canonicalizations(c string) (header, body string) {
	header, body, _ = strings.Cut(c, "/")
	check := func(s string) string {
		switch s {
		case "":
			return "simple"
		case "simple", "relaxed":
			return s
		}
		return ""
	}
	return check(header), check(body)
}

func contains(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.TrimSpace(s) == name })
}

// pick returns the fields that h= names, each name from the bottom up (RFC
// 6376 5.4.2).
func pick(header *message.Header, names []string) []message.Field {
	byName := make(map[string][]message.Field)
	for f := range header.Fields() {
		name := strings.ToLower(f.Name)
		byName[name] = append(byName[name], f)
	}
	var out []message.Field
	for _, name := range names {
		name = strings.TrimSpace(name)
		if left := byName[name]; len(left) > 0 {
			out = append(out, left[len(left)-1])
			byName[name] = left[:len(left)-1]
		}
	}
	return out
}

// withoutSignature empties the b= of a signature field.
func withoutSignature(raw []byte) []byte {
	colon := bytes.IndexByte(raw, ':') + 1
	out := bytes.Clone(raw[:colon])
	for i, part := range bytes.Split(raw[colon:], []byte(";")) {
		if i > 0 {
			out = append(out, ';')
		}
		name, _, ok := bytes.Cut(part, []byte("="))
		if ok && string(bytes.TrimSpace(name)) == "b" {
			part = part[:len(name)+1]
		}
		out = append(out, part...)
	}
	return out
}
