package message

import (
	"bytes"
	"io"
)

// Parse scans a message of size bytes once and returns its tree. The memory it needs
// does not grow with the bodies. Both CRLF and LF end a line. The error is r's;
// content never fails: what cannot be understood, or lies beyond MaxDepth or
// MaxParts, is part of an enclosing body.
func Parse(r io.ReaderAt, size int64) (*Part, error) {
	w := newWindow(r, size, parseWindow)
	return scan(w), w.err
}

// ParseBytes is Parse for a message in memory.
func ParseBytes(text []byte) *Part { return scan(memoryWindow(text)) }

// ParseBare is ParseBytes for a message without any carriage return, as if each of its
// lines ended in CRLF: the tree is that of the message with them put in.
func ParseBare(text []byte) *Part {
	w := memoryWindow(text)
	w.bare = true
	return scan(w)
}

// scan returns the tree of what w slides over.
func scan(w *window) *Part {
	root := &Part{Envelope: &Envelope{}}
	p := parser{w: w, parts: 1}
	p.open = append(p.open, openPart{Part: root})
	p.run()
	return root
}

// ReadEnvelope reads no more than the header of a message and returns its envelope.
func ReadEnvelope(r io.ReaderAt, size int64) (*Envelope, error) {
	return readEnvelope(newWindow(r, size, envelopeWindow))
}

// ParseEnvelope is ReadEnvelope for a header in memory.
func ParseEnvelope(header []byte) *Envelope {
	e, _ := readEnvelope(memoryWindow(header))
	return e
}

func readEnvelope(w *window) (*Envelope, error) {
	root := &Part{Envelope: &Envelope{}}
	p := parser{w: w}
	p.open = append(p.open, openPart{Part: root})
	p.header()
	return root.Envelope, p.w.err
}

// Sizes of windows. Both hold a boundary line; the second holds most headers.
const (
	parseWindow    = 64 << 10
	envelopeWindow = 8 << 10
)

// parser holds the open parts, from the message to the innermost, while it reads the
// message line by line. Nothing recurses, and each byte is passed once; a part's
// lines are the difference of two counts, so that depth costs nothing.
type parser struct {
	w      *window
	open   []openPart
	bounds boundaries
	parts  int // ever opened
	field  field
}

// openPart is a part whose end has not been seen.
type openPart struct {
	*Part
	firstLine int64 // lines before its body
}

// run reads header and body of one part after the other.
func (p *parser) run() {
	for {
		b := p.header()
		if b < 0 && p.top().kind == inner {
			p.begin(&Part{Envelope: &Envelope{}})
			continue
		}
		if b < 0 {
			if p.parts >= MaxParts {
				p.bounds.truncate(0)
			}
			b = p.body()
		}
		// b delimits: the parts inside its multipart have ended.
		for b >= 0 && !p.next(b) {
			b = p.body() // the epilogue
		}
		if b < 0 {
			p.endAll(0, p.w.offset(), p.w.lines)
			return
		}
	}
}

func (p *parser) top() *openPart { return &p.open[len(p.open)-1] }

// begin opens a child of the innermost part.
func (p *parser) begin(child *Part) {
	at := p.w.offset()
	child.Header = Range{at, at}
	parent := p.top()
	parent.Children = append(parent.Children, child)
	p.open = append(p.open, openPart{Part: child})
	p.parts++
}

// endAll ends the open parts from index n on.
func (p *parser) endAll(n int, at, lines int64) {
	for _, o := range p.open[n:] {
		o.Body.End = at
		o.Lines = lines - o.firstLine
	}
	p.open = p.open[:n]
}

// next passes the boundary line of index b, which is about to be read, and reports
// whether a new part begins behind it.
func (p *parser) next(b int) bool {
	x := p.bounds.list[b]
	line := p.w.unread()[len("--")+len(x.text):]
	closing := bytes.HasPrefix(line, []byte("--"))
	if closing {
		p.bounds.truncate(b)
	} else {
		p.bounds.truncate(b + 1)
	}
	if !p.w.skipLine() || closing || p.parts >= MaxParts {
		return false
	}
	p.begin(&Part{present: hasMIME})
	return true
}

// body passes lines up to a boundary, ends the parts inside its multipart and returns
// its index, or -1 at the end of the message.
func (p *parser) body() int {
	w := p.w
	start := w.offset()
	for {
		if len(p.bounds.list) == 0 {
			for w.fill(1) {
				w.skip(len(w.unread()))
			}
			return -1
		}
		if b := p.delimiter(); b >= 0 {
			var newline, lines int64
			if w.offset() > start {
				newline, lines = w.lineEndBefore(), 1
			}
			p.endAll(p.bounds.list[b].part+1, w.offset()-newline, w.lines-lines)
			return b
		}
		if !p.skipToDashes() {
			return -1
		}
	}
}

var newlineDashes = []byte("\n--")

// skipToDashes passes the rest of the line and more, up to the next that begins with
// "--". It reports false at the end of the message.
func (p *parser) skipToDashes() bool {
	w := p.w
	for w.fill(len(newlineDashes)) {
		b := w.unread()
		if i := bytes.Index(b, newlineDashes); i >= 0 {
			w.skip(i + 1)
			return true
		}
		if len(b) < len(newlineDashes) {
			w.skip(len(b))
			return false
		}
		w.skip(len(b) - len(newlineDashes) + 1)
	}
	return false
}

// delimiter returns the index of the boundary that the line about to be read is, or
// -1.
func (p *parser) delimiter() int {
	w := p.w
	if len(p.bounds.list) == 0 {
		return -1
	}
	w.fill(len("--") + MaxBoundary + len("--\r\n"))
	b := w.unread()
	if len(b) < 2 || b[0] != '-' || b[1] != '-' {
		return -1
	}
	b = b[2:min(len(b), 2+MaxBoundary+len("--\r\n"))]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = bytes.TrimSuffix(b[:i], []byte{'\r'})
	}
	return p.bounds.find(b)
}

// header reads the header of the innermost part. If a boundary cuts it short, it ends
// the parts inside its multipart and returns its index, otherwise -1.
func (p *parser) header() int {
	w := p.w
	top := p.top()
	for w.fill(2) {
		b := w.unread()
		if p.field.open && (b[0] == ' ' || b[0] == '\t') {
			p.field.read(w)
			continue
		}
		p.field.end(top.Part)
		if b[0] == '\n' || b[0] == '\r' && len(b) > 1 && b[1] == '\n' {
			w.skipLine()
			p.openBody(w.offset(), w.lines)
			if text, ok := top.boundary(); ok {
				p.bounds.push(text, len(p.open)-1)
			}
			return p.cutShort()
		}
		if i := p.cutShort(); i >= 0 {
			return i
		}
		p.field.start(w, top.Part)
	}
	p.field.end(top.Part)
	p.openBody(w.offset(), w.lines)
	return -1
}

// openBody ends the header of the innermost part.
func (p *parser) openBody(at, lines int64) {
	top := p.top()
	top.Header.End = at
	top.Body.Start = at
	top.firstLine = lines
	inDigest := len(p.open) > 1 && p.open[len(p.open)-2].kind == digest
	top.settle(inDigest)
	if top.kind != single && (len(p.open) >= MaxDepth || p.parts >= MaxParts) {
		top.kind, top.Type, top.Subtype = single, "application", "octet-stream"
	}
}

// cutShort looks for a boundary of an outer multipart in the header of the innermost
// part, or right behind it. It ends the parts inside that multipart and returns the
// boundary's index, or -1. The line end before the boundary belongs to it (RFC 2046
// 5.1.1), but where it is the last of a message/rfc822 part, the part keeps it, so that its
// last field stays whole.
func (p *parser) cutShort() int {
	i := p.delimiter()
	if i < 0 || p.bounds.list[i].part == len(p.open)-1 {
		return -1
	}
	end, lines := p.w.offset(), p.w.lines
	at, headerLines := end, lines
	if at > p.top().Header.Start {
		at -= p.w.lineEndBefore()
		headerLines--
	}
	cut := len(p.open) - 1
	p.openBody(at, headerLines)
	if p.top().kind == inner {
		p.begin(&Part{Envelope: &Envelope{}})
		p.top().Header.Start = at
		p.openBody(at, headerLines)
	}
	p.endAll(cut, at, headerLines)
	p.endAll(p.bounds.list[i].part+1, end, lines)
	return i
}
