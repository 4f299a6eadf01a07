package message

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxAuthors bounds the addresses of one field that Authors accepts.
const maxAuthors = 100

// Authors returns every address that a mail reader could show as the author of a message:
// those of From and Sender (RFC 5322 3.6.2), of their Resent forms, and those hidden in
// the encoded words of display names. It is for submission, where the sender must own
// them all, so it is as strict as the rest of the package is tolerant: whatever two
// readers could understand differently is an *AuthorError.
func Authors(h *Header) ([]Address, error) {
	if err := plainFields(h); err != nil {
		return nil, err
	}
	if n := h.Count("From"); n != 1 {
		return nil, authorError("the message must have one From field, not %d", n)
	}
	if n := h.Count("Sender"); n > 1 {
		return nil, authorError("the message must have at most one Sender field, not %d", n)
	}
	var all []Address
	for f := range h.Fields() {
		many := false
		switch strings.ToLower(f.Name) {
		case "from", "resent-from":
			many = true
		case "sender", "resent-sender":
		default:
			continue
		}
		list, err := strictMailboxes(f)
		if err != nil {
			return nil, err
		}
		if len(list) != 1 && !many {
			return nil, authorError("the %s field must have one address", f.Name)
		}
		for _, m := range list {
			all = append(all, m.Address)
			all = append(all, m.hidden...)
		}
	}
	return all, nil
}

// AuthorError says why the author of a message cannot be told beyond doubt. Its text may
// be shown to the client.
type AuthorError struct{ Reason string }

func (e *AuthorError) Error() string { return e.Reason }

func authorError(format string, args ...any) error {
	return &AuthorError{fmt.Sprintf(format, args...)}
}

// plainFields refuses a header in which two readers could find different fields: a line
// that is no field, white space or controls in a name, NUL or a CR that ends no line.
func plainFields(h *Header) error {
	raw := h.Raw()
	if bytes.IndexByte(raw, 0) >= 0 {
		return authorError("the header holds a NUL byte")
	}
	if bytes.Count(raw, []byte{'\r'}) != bytes.Count(raw, []byte("\r\n")) {
		return authorError("the header holds a bare CR")
	}
	for f := range h.Fields() {
		name := f.Raw[:max(f.value-1, 0)]
		if len(name) == 0 {
			return authorError("the header holds a line that is no field: %.40q", f.Raw)
		}
		for _, c := range name {
			if c <= ' ' || c >= 0x7f { // RFC 5322 2.2
				return authorError("malformed header field name %.40q", name)
			}
		}
	}
	return nil
}

// strictMailbox is one mailbox of a strict list.
type strictMailbox struct {
	Address
	hidden []Address // in encoded words of its name
}

// strictMailboxes parses a field as the mailbox-list of RFC 5322 3.4, without any
// of section 4's obsolete forms, groups, quoted pairs outside quotes, or comments, but
// for one behind an address that holds no address itself.
func strictMailboxes(f Field) ([]strictMailbox, error) {
	bad := func(why string) error { return authorError("the %s field %s", f.Name, why) }
	for line := range bytes.Lines(f.Raw[f.value:]) {
		// Some readers end the header at such a line.
		if isFolded(line) && len(bytes.TrimSpace(line)) == 0 {
			return nil, bad("is folded with an empty line")
		}
	}
	value := f.Value()
	if !utf8.ValidString(value) {
		return nil, bad("is not valid UTF-8")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return nil, bad("holds control characters")
	}
	x := strictLexer{s: value}
	var list []strictMailbox
	for {
		m, ok := x.mailbox()
		if !ok {
			return nil, bad("is not a list of plain addresses")
		}
		list = append(list, m)
		if len(list) > maxAuthors {
			return nil, bad("has too many addresses")
		}
		if x.s == "" {
			return list, nil
		}
		if x.s[0] != ',' {
			return nil, bad("is not a list of plain addresses")
		}
		x.s = x.s[1:]
	}
}

// strictLexer takes tokens from the start of s.
type strictLexer struct{ s string }

func (x *strictLexer) space() { x.s = strings.TrimLeft(x.s, " \t") }

func (x *strictLexer) cut(c byte) bool {
	if x.s == "" || x.s[0] != c {
		return false
	}
	x.s = x.s[1:]
	return true
}

// mailbox reads an addr-spec, or a phrase and an addr-spec in angle brackets.
func (x *strictLexer) mailbox() (m strictMailbox, ok bool) {
	x.space()
	start := x.s
	if m.Address, ok = x.addrSpec(); !ok {
		x.s = start
		if m.Name, ok = x.phrase(); !ok {
			return m, false
		}
		if m.hidden, ok = hiddenAddresses(m.Name); !ok || !x.cut('<') {
			return m, false
		}
		name := m.Name
		if m.Address, ok = x.addrSpec(); !ok || !x.cut('>') {
			return m, false
		}
		m.Name = name
	}
	x.space()
	return m, x.comment()
}

// phrase reads what stands before "<": atoms, dots and quoted strings; it may be empty.
func (x *strictLexer) phrase() (string, bool) {
	var words []string
	x.space()
	if strings.HasPrefix(x.s, ".") {
		return "", false
	}
	for {
		x.space()
		w, ok := "", true
		if strings.HasPrefix(x.s, `"`) {
			w, ok = x.quoted()
		} else {
			w = x.atoms()
		}
		if !ok {
			return "", false
		}
		if w == "" && !strings.HasPrefix(x.s, `"`) {
			return strings.Join(words, " "), true
		}
		words = append(words, w)
	}
}

// atoms reads atext and dots.
func (x *strictLexer) atoms() string {
	i := 0
	for i < len(x.s) && (charClass[x.s[i]]&atext != 0 || x.s[i] == '.') {
		i++
	}
	w := x.s[:i]
	x.s = x.s[i:]
	return w
}

// quoted reads a quoted string and returns its content.
func (x *strictLexer) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(x.s); i++ {
		switch x.s[i] {
		case '"':
			x.s = x.s[i+1:]
			return b.String(), true
		case '\\':
			if i++; i == len(x.s) {
				return "", false
			}
		}
		b.WriteByte(x.s[i])
	}
	return "", false
}

// addrSpec reads local-part "@" domain without white space in it.
func (x *strictLexer) addrSpec() (a Address, ok bool) {
	if strings.HasPrefix(x.s, `"`) {
		a.Mailbox, ok = x.quoted()
	} else {
		a.Mailbox = x.atoms()
		ok = isDotAtom(a.Mailbox)
	}
	// Some readers decode an encoded word before they look for addresses.
	if !ok || !x.cut('@') || strings.Contains(a.Mailbox, "=?") {
		return a, false
	}
	if strings.HasPrefix(x.s, "[") {
		i := strings.IndexAny(x.s, "] \t\\")
		if i < 0 || x.s[i] != ']' {
			return a, false
		}
		a.Host, x.s = x.s[:i+1], x.s[i+1:]
		return a, true
	}
	a.Host = x.atoms()
	return a, isDotAtom(a.Host) && !strings.Contains(a.Host, "=?")
}

// comment passes "(text)", where text holds nothing that looks like an address.
func (x *strictLexer) comment() bool {
	if !x.cut('(') {
		return true
	}
	text, rest, ok := strings.Cut(x.s, ")")
	if !ok || strings.ContainsAny(text, `(@<>,;:"\`) || strings.Contains(text, "=?") {
		return false
	}
	x.s = rest
	x.space()
	return true
}

// hiddenAddresses returns the addresses that a reader finds who decodes the encoded words
// of a name before taking the field apart. It is not ok if the decoded name could end
// the name itself.
func hiddenAddresses(name string) ([]Address, bool) {
	if !strings.Contains(name, "=?") {
		return nil, true
	}
	decoded := DecodeHeader(name)
	if strings.ContainsAny(decoded, "<>") || strings.Count(decoded, `"`)%2 != 0 || strings.Contains(decoded, "=?") {
		return nil, false
	}
	var list []Address
	for _, w := range strings.FieldsFunc(decoded, func(r rune) bool { return isSpace(r) || strings.ContainsRune(`,;:()"`, r) }) {
		if strings.Contains(w, "@") {
			x := strictLexer{s: w}
			a, ok := x.addrSpec()
			if !ok || x.s != "" {
				return nil, false
			}
			list = append(list, a)
		}
	}
	return list, true
}
