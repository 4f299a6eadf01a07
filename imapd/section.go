package imapd

import (
	"bytes"
	"errors"
	"io"

	"buzon/internal/message"
)

// A piece is what a section came to in one message: bytes at hand, a range of the file, or nothing.
type piece struct {
	none  bool
	bytes []byte
	in    message.Range
	inMem bool // bytes, not in
	// BINARY: the range is decoded while it is sent. It was decoded once before, to know its size.
	encoding string
	decoded  bool
	size     int64
	nul      bool
}

// resolve finds the section in the message (RFC 9051 6.4.5.1).
func (c *content) resolve(sec *section) (piece, error) {
	if sec.header() {
		h, err := c.someHeader(sec.cached)
		if err != nil {
			return piece{}, err
		}
		if sec.fields != nil {
			h = c.pick(sec, h)
		}
		return sec.cutBytes(h), nil
	}
	if len(sec.path) == 0 && sec.what == message.Whole {
		f, err := c.open()
		if err != nil {
			return piece{}, err
		}
		return c.cut(sec, message.Range{End: f.Size()}, "")
	}
	if len(sec.path) == 0 { // TEXT: all behind the header, known without parsing
		f, err := c.open()
		if err != nil {
			return piece{}, err
		}
		h, err := c.rawHeader()
		if err != nil {
			return piece{}, err
		}
		return c.cut(sec, message.Range{Start: int64(len(h)), End: f.Size()}, "")
	}
	return c.resolvePart(sec)
}

// pick takes the fields that the section names.
func (c *content) pick(sec *section, header []byte) []byte {
	start := len(c.scratch)
	c.scratch = sec.fields.Append(c.scratch, header)
	return c.scratch[start:len(c.scratch):len(c.scratch)]
}

func (c *content) resolvePart(sec *section) (piece, error) {
	root, err := c.structure()
	if err != nil {
		return piece{}, err
	}
	in, ok := root.Section(sec.path, sec.what)
	if !ok {
		return piece{none: true}, nil
	}
	if sec.fields != nil {
		r, err := c.reader(in)
		if err != nil {
			return piece{}, err
		}
		h, err := io.ReadAll(r)
		if err != nil {
			return piece{}, err
		}
		return sec.cutBytes(c.pick(sec, h)), nil
	}
	encoding := ""
	if p := root.Find(sec.path); sec.binary && p != nil && !p.IsMultipart() && !p.IsMessage() {
		encoding = p.Encoding
	}
	return c.cut(sec, in, encoding)
}

func (sec *section) cutBytes(b []byte) piece {
	if sec.partial {
		lo := min(sec.offset, int64(len(b)))
		b = b[lo : lo+min(sec.size, int64(len(b))-lo)]
	}
	return piece{bytes: b, inMem: true, size: int64(len(b))}
}

// cut applies <offset.size> to a range of the file, decoded first for BINARY.
func (c *content) cut(sec *section, in message.Range, encoding string) (piece, error) {
	if sec.binary {
		return c.cutBinary(sec, in, encoding)
	}
	if sec.partial {
		in.Start = min(in.Start+min(sec.offset, in.Len()), in.End)
		in.End = in.Start + min(sec.size, in.Len())
	}
	if _, err := c.open(); err != nil {
		return piece{}, err
	}
	return piece{in: in, size: in.Len()}, nil
}

// errUnknownCTE is RFC 3516 4.3.
var errUnknownCTE = no("UNKNOWN-CTE", "The content transfer encoding cannot be undone")

func (c *content) cutBinary(sec *section, in message.Range, encoding string) (piece, error) {
	p := piece{in: in, encoding: encoding, decoded: true}
	r, err := c.decodedPiece(sec, p)
	if err != nil {
		return piece{}, err
	}
	var nul nulCounter
	if p.size, err = io.Copy(&nul, r); err != nil {
		if errors.Is(err, message.ErrBadEncoding) {
			return piece{}, errUnknownCTE
		}
		return piece{}, err
	}
	p.nul = nul.found
	return p, nil
}

// decodedPiece reads the decoded content, cut to the range asked for.
func (c *content) decodedPiece(sec *section, p piece) (io.Reader, error) {
	raw, err := c.reader(p.in)
	if err != nil {
		return nil, err
	}
	r := raw
	if p.encoding != "" {
		var known bool
		if r, known = message.DecodeTransfer(raw, p.encoding); !known {
			return nil, errUnknownCTE
		}
	}
	if sec.partial {
		if _, err := io.CopyN(io.Discard, r, sec.offset); err != nil && err != io.EOF {
			return nil, err
		}
		r = io.LimitReader(r, sec.size)
	}
	return r, nil
}

type nulCounter struct{ found bool }

func (n *nulCounter) Write(p []byte) (int, error) {
	n.found = n.found || bytes.IndexByte(p, 0) >= 0
	return len(p), nil
}

// pieceReader reads what a section came to.
func (c *content) pieceReader(sec *section, p piece) (io.Reader, error) {
	switch {
	case p.inMem:
		return bytes.NewReader(p.bytes), nil
	case p.decoded:
		return c.decodedPiece(sec, p)
	default:
		return c.reader(p.in)
	}
}

// writePiece sends it as label and literal.
func (s *session) writePiece(c *content, sec *section, p piece) {
	s.enc.Raw(sec.label).SP()
	switch {
	case p.none && sec.sizeOnly:
		s.enc.Raw("0")
	case p.none:
		s.enc.Raw("NIL")
	case sec.sizeOnly:
		s.enc.Num(uint64(p.size))
	case p.inMem:
		s.enc.Literal(p.size).Bytes(p.bytes)
	default:
		if p.nul {
			s.enc.Raw("~")
		}
		s.enc.Literal(p.size)
		r, err := c.pieceReader(sec, p)
		if err != nil {
			s.enc.Fail(err)
			return
		}
		s.enc.Copy(r, p.size)
	}
}
