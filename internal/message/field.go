package message

import "bytes"

// field takes one field after the other from a header that is being scanned, and
// holds the value of those that a Part or Envelope wants.
type field struct {
	open  bool // inside a field: a line that begins with white space belongs to it
	want  bool
	name  []byte
	value []byte // unfolded; at most MaxFieldBytes
}

// start reads the first line of a field.
func (f *field) start(w *window, p *Part) {
	line := w.line()
	f.open = true
	f.want = false
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name := trimEnd(line[:i]) // RFC 5322 4.5
		if contentField(name) || p.isRoot() && envelopeField(name) {
			f.want = true
			f.name = append(f.name[:0], name...)
			f.value = f.value[:0]
			w.skip(i + 1)
		}
	}
	f.read(w)
	if f.want {
		f.value = trimValue(f.value)
	}
}

// trimValue takes away white space before a value; of one that is only white space,
// the first byte.
func trimValue(v []byte) []byte {
	t := trimStart(v)
	if len(t) == 0 && len(v) > 0 {
		t = v[1:]
	}
	return v[:copy(v, t)]
}

// trimStart takes away white space before b.
func trimStart(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// trimEnd takes away white space behind b.
func trimEnd(b []byte) []byte {
	n := len(b)
	for n > 0 && (b[n-1] == ' ' || b[n-1] == '\t') {
		n--
	}
	return b[:n]
}

// read reads to the end of the line.
func (f *field) read(w *window) {
	if !f.want {
		w.skipLine()
		return
	}
	for w.fill(1) {
		b := w.line()
		text, ended := bytes.CutSuffix(b, lineFeed)
		f.value = append(f.value, text[:min(len(text), MaxFieldBytes-len(f.value))]...)
		w.skip(len(b))
		if ended {
			f.value = bytes.TrimSuffix(f.value, carriageReturn)
			return
		}
	}
}

var carriageReturn = []byte{'\r'}

// end hands the field to p.
func (f *field) end(p *Part) {
	if f.open && f.want {
		switch {
		case equalFold(f.name, "mime-version"):
			p.present |= hasMIME
		case contentField(f.name):
			p.setContent(f.name, f.value)
		default:
			p.Envelope.set(f.name, f.value)
		}
	}
	f.open = false
}
