package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// Field is one header field as it stands in the message.
type Field struct {
	Name   string // as written, without white space before the colon; "" for a line that is no field
	Raw    []byte // the whole field: name, colon, value, folded lines, line ends
	Offset int    // of Raw from the start of the header

	value int // offset of the value in Raw
}

// Value returns the field's value unfolded (RFC 5322 2.2.3) and without white space
// around it.
func (f Field) Value() string { return string(unfold(f.Raw[f.value:])) }

// unfold takes the line ends out of a value, and white space from around it.
func unfold(v []byte) []byte { return appendUnfolded(make([]byte, 0, len(v)), v) }

// appendUnfolded is unfold, behind what is in out.
func appendUnfolded(out, v []byte) []byte {
	start := len(out)
	for len(v) > 0 {
		line := v
		if i := bytes.IndexByte(v, '\n'); i >= 0 {
			line = bytes.TrimSuffix(v[:i], []byte{'\r'})
			v = v[i+1:]
		} else {
			v = nil
		}
		if len(out) == start {
			line = trimStart(line)
		}
		out = append(out, line...)
	}
	return out[:start+len(trimEnd(out[start:]))]
}

// Header is the header of a message or part, byte for byte and in order.
type Header struct {
	raw    []byte
	fields []fieldSpan
}

// fieldSpan says where in the raw header a field is. name is the length of its name,
// value the distance to what follows the colon; both are 0 where there is no colon.
type fieldSpan struct{ start, name, value, end int }

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

// ReadHeader reads up to and with the empty line that ends a header, so that r stands
// at the first byte of the body. A header may also end with the input. A line
// that is no field is kept as a Field without Name.
func ReadHeader(r *bufio.Reader, limits HeaderLimits) (*Header, error) {
	maxBytes, maxFields, maxField := limits.Bytes, limits.Fields, limits.FieldBytes
	if maxBytes == 0 {
		maxBytes = MaxHeaderBytes
	}
	if maxFields == 0 {
		maxFields = MaxHeaderFields
	}
	if maxField == 0 {
		maxField = MaxFieldBytes
	}
	var raw []byte
	fields, field := 0, 0 // how many, and how long the last one is
	newLine := true
	for {
		chunk, err := r.ReadSlice('\n')
		if len(raw)+len(chunk) > maxBytes {
			return nil, ErrHeaderTooBig
		}
		raw = append(raw, chunk...)
		switch {
		case newLine && isEmptyLine(chunk):
			return ParseHeader(raw), nil
		case newLine && len(chunk) > 0 && (fields == 0 || !isFolded(chunk)):
			if fields++; fields > maxFields {
				return nil, ErrTooManyFields
			}
			field = 0
		}
		if field += len(chunk); field > maxField {
			return nil, ErrFieldTooBig
		}
		switch err {
		case nil:
			newLine = true
		case bufio.ErrBufferFull:
			newLine = false
		case io.EOF:
			return ParseHeader(raw), nil
		default:
			return nil, err
		}
	}
}

func isEmptyLine(line []byte) bool {
	return len(line) == 1 && line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

func isFolded(line []byte) bool { return line[0] == ' ' || line[0] == '\t' }

// mostFields is how many fields most headers have at most.
const mostFields = 24

// ParseHeader takes raw, a header with or without its empty line, and whatever follows
// it is ignored. It keeps raw, and has no limits.
func ParseHeader(raw []byte) *Header {
	h := &Header{fields: make([]fieldSpan, 0, mostFields)}
	end := eachField(raw, func(f fieldSpan) { h.fields = append(h.fields, f) })
	h.raw = raw[:end]
	return h
}

// eachField calls do for each field of a header and returns where the header ends,
// behind its empty line.
func eachField(raw []byte, do func(fieldSpan)) int {
	pos := 0
	for pos < len(raw) {
		end := lineEnd(raw, pos)
		if isEmptyLine(raw[pos:end]) {
			return end
		}
		f := fieldSpan{start: pos}
		if i := bytes.IndexByte(raw[pos:end], ':'); i >= 0 {
			f.name = len(trimEnd(raw[pos : pos+i])) // RFC 5322 4.5
			f.value = i + 1
		}
		for end < len(raw) && isFolded(raw[end:]) {
			end = lineEnd(raw, end)
		}
		f.end = end
		do(f)
		pos = end
	}
	return pos
}

// lineEnd returns where the line that holds pos ends, behind its line feed.
func lineEnd(b []byte, pos int) int {
	if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(b)
}

// Raw returns the header byte for byte, with its empty line if it had one.
func (h *Header) Raw() []byte { return h.raw }

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// Fields yields the fields in order.
func (h *Header) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, s := range h.fields {
			raw := h.raw[s.start:s.end:s.end]
			if !yield(s.field(raw)) {
				return
			}
		}
	}
}

// field is the field that s spans, raw being its bytes.
func (s fieldSpan) field(raw []byte) Field {
	return Field{Name: string(raw[:s.name]), Raw: raw, Offset: s.start, value: s.value}
}

// Get returns the value of the first field called name (in any case), unfolded and not
// decoded, or "".
func (h *Header) Get(name string) string {
	for f := range h.named(name) {
		return f.Value()
	}
	return ""
}

// Values returns the values of all fields called name, in order.
func (h *Header) Values(name string) []string {
	var list []string
	for f := range h.named(name) {
		list = append(list, f.Value())
	}
	return list
}

// Count returns how many fields are called name.
func (h *Header) Count(name string) int {
	n := 0
	for range h.named(name) {
		n++
	}
	return n
}

func (h *Header) named(name string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, s := range h.fields {
			raw := h.raw[s.start:s.end:s.end]
			if s.value > 0 && sameName(raw[:s.name], name) && !yield(s.field(raw)) {
				return
			}
		}
	}
}

// sameName compares field names: ASCII letters without regard to case.
func sameName[T []byte | string](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
