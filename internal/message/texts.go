package message

import (
	"io"
	"strings"
)

// A TextVisitor is shown the texts of a message that SEARCH looks into (RFC 9051 6.4.4). It ends
// the visit by saying that it is done.
type TextVisitor interface {
	// Header is a header of the message or of one of its parts. inBody: of a message within the
	// message, which is text of the body.
	Header(h *Header, inBody bool) (done bool)
	// Body is the text of a part, decoded, in UTF-8.
	Body(text io.Reader) (done bool, err error)
}

// VisitTexts shows v the texts of the message r, whose tree is p: those that BODY looks into, and
// with headers also those that only TEXT does. The error is r's, or v's.
func (p *Part) VisitTexts(r io.ReaderAt, headers bool, v TextVisitor) (done bool, err error) {
	if headers {
		h, err := p.readHeader(r)
		if err != nil || v.Header(h, false) {
			return err == nil, err
		}
	}
	return p.visitBelow(r, headers, v)
}

func (p *Part) visitBelow(r io.ReaderAt, headers bool, v TextVisitor) (done bool, err error) {
	for _, child := range p.Children {
		if headers || p.IsMessage() {
			h, err := child.readHeader(r)
			if err != nil || v.Header(h, p.IsMessage()) {
				return err == nil, err
			}
		}
		if done, err := child.visitBelow(r, headers, v); done || err != nil {
			return done, err
		}
	}
	if len(p.Children) > 0 || !p.isText() {
		return false, nil
	}
	body := io.NewSectionReader(r, p.Body.Start, p.Body.Len())
	return v.Body(DecodeText(body, p.Encoding, p.Charset()))
}

func (p *Part) isText() bool {
	return strings.EqualFold(p.Type, "text") || strings.EqualFold(p.Type, "message") || p.IsMultipart()
}

func (p *Part) readHeader(r io.ReaderAt) (*Header, error) {
	raw := make([]byte, p.Header.Len())
	if n, err := r.ReadAt(raw, p.Header.Start); n < len(raw) {
		if err == nil || err == io.EOF { // somebody cut the file
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return ParseHeader(raw), nil
}

// TextSearch is a TextVisitor that is done when it has found a Needle. It keeps
// its buffers from visit to visit, so it is for one goroutine.
type TextSearch struct {
	needle *Needle
	finder *Finder
}

// NewTextSearch returns the search for n.
func NewTextSearch(n *Needle) *TextSearch { return &TextSearch{n, NewFinder(n.Text)} }

// Header implements TextVisitor.
func (s *TextSearch) Header(h *Header, _ bool) bool { return s.needle.InHeader(h) }

// Body implements TextVisitor.
func (s *TextSearch) Body(text io.Reader) (bool, error) { return s.finder.In(text) }
