package milter

import (
	"encoding/binary"
	"io"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// What a filter may change once it has seen the message (SMFIR_).
const (
	changeAddRcpt         = '+'
	changeAddRcptWithArgs = '2'
	changeDeleteRcpt      = '-'
	changeFrom            = 'e'
	changeAddHeader       = 'h'
	changeInsertHeader    = 'i'
	changeHeader          = 'm'
	changeBody            = 'b'
	changeQuarantine      = 'q'
)

// permits tells which right each change needs.
var permits = map[byte]uint32{
	changeAddRcpt: mayAddRcpt, changeAddRcptWithArgs: mayAddRcptWithArgs, changeDeleteRcpt: mayDeleteRcpt, changeFrom: mayChangeFrom,
	changeAddHeader: mayAddHeaders, changeInsertHeader: mayAddHeaders | mayChangeHeaders, changeHeader: mayChangeHeaders,
	changeBody: mayChangeBody, changeQuarantine: mayQuarantine,
}

// maxChanges bounds what one filter may change in one message, besides the
// pieces of a body, which are bounded by its size.
const maxChanges = 500

// A Body is where a filter's new body goes.
type Body interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Size() int64
}

// changes is what a filter wants changed.
type changes struct {
	limit   int64 // of the body
	newBody func() Body

	count      int
	size       int // of the changes
	fields     []fieldChange
	add, drop  []smtp.Address // recipients
	from       *smtp.Address
	quarantine bool
	reason     string
	body       Body // nil: as it was
	heldCR     bool // the last octet of the body was a CR, which is not written yet
}

// take notes a change; it reports whether the packet was one.
func (c *changes) take(s *session, code byte, data []byte) (bool, error) {
	permit, is := permits[code]
	if !is {
		return false, nil
	}
	if s.actions&permit == 0 {
		return true, nonsense("a change (%q) that it did not ask for", code)
	}
	if code == changeBody {
		return true, c.write(data)
	}
	if c.count++; c.count > maxChanges {
		return true, nonsense("more than %d changes", maxChanges)
	}
	if c.size += len(data); c.size > message.MaxHeaderBytes {
		return true, nonsense("changes of more than %d octets", message.MaxHeaderBytes)
	}
	switch code {
	case changeAddHeader, changeInsertHeader, changeHeader:
		f, err := parseFieldChange(code, data, s.steps&leadingSpace != 0)
		c.fields = append(c.fields, f)
		return true, err
	case changeQuarantine:
		reason, _, err := cut(data)
		c.quarantine, c.reason = true, clean(reason)
		return true, err
	}
	a, err := parsePath(data)
	if err != nil {
		return true, err
	}
	switch code {
	case changeFrom:
		c.from = &a
	case changeDeleteRcpt:
		c.drop = append(c.drop, a)
	default:
		if a.IsNull() {
			return true, nonsense("a recipient without an address")
		}
		c.add = append(c.add, a)
	}
	return true, nil
}

// write appends a piece of a new body. Some filters end lines in LF; in what we
// keep and send on every line ends in CRLF, and nothing else is a line end.
func (c *changes) write(piece []byte) error {
	if c.body == nil {
		c.body = c.newBody()
	}
	lines := make([]byte, 0, len(piece)+len(piece)/40+2)
	for _, b := range piece {
		switch {
		case b == '\n', c.heldCR:
			lines = append(lines, "\r\n"...)
			if c.heldCR = b == '\r'; b == '\n' || c.heldCR {
				continue
			}
			lines = append(lines, b)
		case b == '\r':
			c.heldCR = true
		default:
			lines = append(lines, b)
		}
	}
	return c.append(lines)
}

// finish ends a new body.
func (c *changes) finish() error {
	if !c.heldCR {
		return nil
	}
	return c.append([]byte("\r\n"))
}

func (c *changes) append(piece []byte) error {
	if c.body.Size()+int64(len(piece)) > c.limit {
		return nonsense("a body of more than %d octets", c.limit)
	}
	if _, err := c.body.Write(piece); err != nil {
		return &ownTrouble{err}
	}
	return nil
}

// discard forgets what cannot be used.
func (c *changes) discard() {
	if c.body != nil {
		c.body.Close()
		c.body = nil
	}
}

// parsePath reads an address, for which filters write brackets or do not;
// ESMTP parameters behind it are left out.
func parsePath(data []byte) (smtp.Address, error) {
	path, _, err := cut(data)
	if err != nil {
		return smtp.Address{}, err
	}
	if path == "" || path[0] != '<' {
		path = "<" + path + ">"
	}
	a, err := smtp.ParsePath(path)
	if err != nil {
		return smtp.Address{}, nonsense("the address %.80q", path)
	}
	return a, nil
}

func parseFieldChange(code byte, data []byte, asIs bool) (f fieldChange, err error) {
	f.kind = code
	if code != changeAddHeader {
		if len(data) < 4 {
			return f, nonsense("a change of a header without its place")
		}
		f.index, data = binary.BigEndian.Uint32(data), data[4:]
	}
	if f.name, data, err = cut(data); err != nil {
		return f, err
	}
	if f.value, _, err = cut(data); err != nil {
		return f, err
	}
	if !isFieldName(f.name) {
		return f, nonsense("the field name %.80q", f.name)
	}
	if !asIs && f.value != "" {
		f.value = " " + f.value
	}
	return f, nil
}

// isFieldName follows RFC 5322 3.6.8, with a bound of its own.
func isFieldName(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return true
}
