package message

import (
	"bufio"
	"bytes"
	"io"
)

// HeaderEdit says what Edit changes.
type HeaderEdit struct {
	Prepend []byte   // whole fields with CRLF, put on top
	Remove  []string // names of fields to leave out, in any case
	Append  []byte   // whole fields with CRLF, put under the last field
}

// Edit returns the message r with its header changed and every other byte as it was. It
// streams: no field and no body is held in memory.
func Edit(r io.Reader, e HeaderEdit) io.Reader {
	return &editor{
		r:       bufio.NewReaderSize(r, 32<<10),
		remove:  NewFieldFilter(e.Remove, false),
		under:   e.Append,
		pending: e.Prepend,
		newLine: true,
		newline: true,
	}
}

// editor passes a header on line by line, or in pieces where a line is longer than r's
// buffer, and then the body.
type editor struct {
	r       *bufio.Reader
	remove  *FieldFilter
	under   []byte // still to be put under the last field
	pending []byte // to be read before anything else
	after   []byte // to be read after pending

	body     bool // the header has been passed
	newLine  bool // the next piece begins a line
	dropping bool // the field that is being read is left out
	newline  bool // what was passed on ends with a line feed
	some     bool // a line was read
	err      error
}

func (e *editor) Read(p []byte) (int, error) {
	for {
		switch {
		case len(e.pending) > 0:
			n := copy(p, e.pending)
			e.pending = e.pending[n:]
			return n, nil
		case len(e.after) > 0:
			e.pending, e.after = e.after, nil
		case e.err != nil:
			return 0, e.err
		case e.body:
			return e.r.Read(p)
		default:
			e.next()
		}
	}
}

// WriteTo copies what is left to w.
func (e *editor) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for !e.body && e.err == nil || len(e.pending) > 0 || len(e.after) > 0 {
		n, err := w.Write(e.pending)
		total += int64(n)
		if err != nil {
			return total, err
		}
		e.pending, e.after = e.after, nil
		if len(e.pending) == 0 && !e.body && e.err == nil {
			e.next()
		}
	}
	if e.err != nil {
		if e.err == io.EOF {
			return total, nil
		}
		return total, e.err
	}
	n, err := e.r.WriteTo(w)
	return total + n, err
}

// next reads one piece of the header.
func (e *editor) next() {
	piece, err := e.r.ReadSlice('\n')
	if e.newLine && len(piece) > 0 {
		if isEmptyLine(piece) {
			e.body = true
			e.pending, e.after = e.under, piece
			return
		}
		if !e.some || !isFolded(piece) {
			e.dropping = e.remove.picks(piece)
		}
		e.some = true
	}
	if len(piece) > 0 && !e.dropping {
		e.pending = piece
		e.newline = piece[len(piece)-1] == '\n'
	}
	e.newLine = err == nil
	if err != nil && err != bufio.ErrBufferFull {
		e.err = err
		if err == io.EOF && len(e.under) > 0 { // a message without a body
			e.after = e.under
			if !e.newline {
				e.after = append([]byte("\r\n"), e.under...)
			}
		}
	}
}

// picks reports whether the field that begins with line is one that f names.
func (f *FieldFilter) picks(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return false
	}
	var buf [64]byte
	_, ok := f.names[string(appendLower(buf[:0], string(bytes.TrimRight(line[:i], " \t"))))]
	return ok
}
