package message

// FieldFilter picks fields of headers by name, as HEADER.FIELDS and HEADER.FIELDS.NOT do
// (RFC 9051 6.4.5.1). It may be used by several goroutines.
type FieldFilter struct {
	byLength [][]string // names of each length
	not      bool
}

// NewFieldFilter returns a filter for the fields called names, or, if not is set, for
// all others. Names compare without regard to case.
func NewFieldFilter(names []string, not bool) *FieldFilter {
	f := &FieldFilter{not: not}
	for _, n := range names {
		for len(f.byLength) <= len(n) {
			f.byLength = append(f.byLength, nil)
		}
		f.byLength[len(n)] = append(f.byLength[len(n)], n)
	}
	return f
}

// names says whether name is one of the filter's. Few have its length.
func (f *FieldFilter) names(name []byte) bool {
	if len(name) < len(f.byLength) {
		for _, n := range f.byLength[len(name)] {
			if sameName(name, n) {
				return true
			}
		}
	}
	return false
}

// Append appends the fields of header that f picks, byte for byte and in their order, and
// the empty line behind them. A header that lacks the empty line gets one if
// fields are picked by name; of the others nothing is asked but what is there.
func (f *FieldFilter) Append(dst, header []byte) []byte {
	last := 0       // where the last field ends
	newline := true // dst ends with one
	end := eachField(header, func(s fieldSpan) {
		raw := header[s.start:s.end]
		if f.names(raw[:s.name]) != f.not {
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

// AppendFields is NewFieldFilter(names, not).Append(dst, header).
func AppendFields(dst, header []byte, names []string, not bool) []byte {
	return NewFieldFilter(names, not).Append(dst, header)
}
