package message

// FieldFilter picks fields of headers by name, as HEADER.FIELDS and HEADER.FIELDS.NOT do
// (RFC 9051 6.4.5.1). It may be used by several goroutines.
type FieldFilter struct {
	names map[string]struct{} // in lower case
	not   bool
}

// NewFieldFilter returns a filter for the fields called names, or, if not is set, for
// all others. Names compare without regard to case.
func NewFieldFilter(names []string, not bool) *FieldFilter {
	f := &FieldFilter{names: make(map[string]struct{}, len(names)), not: not}
	for _, n := range names {
		f.names[string(appendLower(nil, n))] = struct{}{}
	}
	return f
}

// Append appends the fields of header that f picks, byte for byte and in their order, and
// the empty line behind them. A header that lacks the empty line gets one if
// fields are picked by name; of the others nothing is asked but what is there.
func (f *FieldFilter) Append(dst, header []byte) []byte {
	var buf [64]byte
	last := 0       // where the last field ends
	newline := true // dst ends with one
	end := eachField(header, func(s fieldSpan) {
		raw := header[s.start:s.end]
		_, named := f.names[string(appendLower(buf[:0], string(raw[:s.name])))]
		if named != f.not {
			dst = append(dst, raw...)
			newline = raw[len(raw)-1] == '\n'
		}
		last = s.end
	})
	if last < end || f.not {
		return append(dst, header[last:end]...)
	}
	if !newline {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, lower(s[i]))
	}
	return dst
}

// AppendFields is NewFieldFilter(names, not).Append(dst, header).
func AppendFields(dst, header []byte, names []string, not bool) []byte {
	return NewFieldFilter(names, not).Append(dst, header)
}
