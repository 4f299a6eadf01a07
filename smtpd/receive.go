package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// edit is what a door changes in the header of a message: fields that go on
// top, and those that go.
type edit struct {
	add  []byte
	drop func(message.Field) bool
}

// headerReaders are shared: each has a buffer that a header is read through.
var headerReaders = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

var replyHeader = smtp.NewReply(552, [3]int{5, 3, 4}, "The header of the message is too large")

// receive reads a message into the spool, with its header as decide wants
// it. No part of the body is held in memory or changed.
func (s *Server) receive(content io.Reader, decide func(*message.Header) (edit, error)) (*spooled, error) {
	r := headerReaders.Get().(*bufio.Reader)
	r.Reset(content)
	defer func() {
		r.Reset(nil)
		headerReaders.Put(r)
	}()
	h, err := message.ReadHeader(r, message.HeaderLimits{})
	switch {
	case errors.Is(err, message.ErrHeaderTooBig), errors.Is(err, message.ErrTooManyFields), errors.Is(err, message.ErrFieldTooBig):
		return nil, replyHeader
	case err != nil:
		return nil, err
	}
	e, err := decide(h)
	if err != nil {
		return nil, err
	}
	m := newSpooled(s.cfg.Dir)
	m.header = h
	if head := slices.Concat(e.add, without(h, e.drop)); !bytes.Equal(head, h.Raw()) {
		m.header = message.ParseHeader(head)
	}
	_, err = m.Write(m.header.Raw())
	if err == nil {
		_, err = r.WriteTo(m)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// without returns the header without the fields that drop chooses, and every
// other byte as it was.
func without(h *message.Header, drop func(message.Field) bool) []byte {
	raw := h.Raw()
	var out []byte
	from := 0 // raw[from:] is not in out yet
	for f := range h.Fields() {
		if drop(f) {
			out = append(out, raw[from:f.Offset]...)
			from = f.Offset + len(f.Raw)
		}
	}
	if from == 0 {
		return raw
	}
	return append(out, raw[from:]...)
}

// separate ends the trace fields with an empty line where the message begins
// with white space: as a folded line it would become part of what we say.
func separate(trace []byte, m io.ReaderAt) []byte {
	var first [1]byte
	if n, _ := m.ReadAt(first[:], 0); n == 1 && (first[0] == ' ' || first[0] == '\t') {
		return fmt.Append(trace, "\r\n")
	}
	return trace
}
