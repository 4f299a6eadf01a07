package message

import (
	"bufio"
	"errors"
	"iter"
)

// Field is one header field as it stands in the message.
type Field struct {
	Name   string // as written, without the colon and white space before it; "" for a line that is no field
	Raw    []byte // the whole field: name, colon, value, folded lines, line ends
	Offset int64  // of Raw from the start of the header
}

// Value returns the field's value unfolded and without white space around it.
func (f Field) Value() string { panic("todo") }

// Header is the header of a message or part, byte for byte and in order.
type Header struct {
	raw    []byte
	fields []fieldSpan
}

type fieldSpan struct{ start, colon, end int }

// HeaderLimits bounds ReadHeader. Zero values mean the defaults of limits.go.
type HeaderLimits struct {
	Bytes      int // whole header
	Fields     int
	FieldBytes int // one field
}

// Errors of ReadHeader, one for each limit.
var (
	ErrHeaderTooBig  = errors.New("header is too big")
	ErrTooManyFields = errors.New("header has too many fields")
	ErrFieldTooBig   = errors.New("header field is too big")
)

// ReadHeader reads up to and with the empty line that ends a header, so that r
// stands at the first byte of the body. A header may end with the input.
// A line that can be no field (and is not a folded one) ends the header before it
// only where that line is empty; otherwise it is kept as a Field without Name.
func ReadHeader(r *bufio.Reader, limits HeaderLimits) (*Header, error) { panic("todo") }

// ParseHeader takes raw, a header with or without its empty line, without limits.
// It keeps raw.
func ParseHeader(raw []byte) *Header { panic("todo") }

// Raw returns the header byte for byte, with its empty line if it had one.
func (h *Header) Raw() []byte { return h.raw }

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// Fields yields the fields in order.
func (h *Header) Fields() iter.Seq[Field] { panic("todo") }

// Get returns the value of the first field called name (in any case), unfolded
// and not decoded, or "".
func (h *Header) Get(name string) string { panic("todo") }

// Values returns the values of all fields called name, in order.
func (h *Header) Values(name string) []string { panic("todo") }

// Count returns how many fields are called name.
func (h *Header) Count(name string) int { panic("todo") }

// AppendFields appends to dst what HEADER.FIELDS, or HEADER.FIELDS.NOT if not is
// set, yields for header (RFC 9051 6.4.5.1): the fields named, byte for byte and in
// their order, and an empty line. Names compare without regard to case.
func AppendFields(dst, header []byte, names []string, not bool) []byte { panic("todo") }
