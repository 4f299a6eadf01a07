package smtpd

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"buzon/internal/smtp"
)

var (
	replyChunk    = smtp.NewReply(501, [3]int{5, 5, 4}, "Malformed BDAT, closing the connection")
	replyNeedRcpt = smtp.NewReply(503, [3]int{5, 5, 1}, "Bad sequence of commands: need RCPT first")
	replyContinue = smtp.NewReply(250, [3]int{2, 0, 0}, "Continue")
	replyInChunks = smtp.NewReply(503, [3]int{5, 5, 1}, "Bad sequence of commands: the message is not complete")
)

// errDropped ends a message in chunks that another command has ended.
var errDropped = errors.New("message was dropped")

// firstChunk begins a message that is sent with BDAT (RFC 3030). go-smtp sees
// one DATA for all of its chunks.
func (g *gate) firstChunk(_ []byte, args string) []byte {
	r := &chunkReader{g: g, limit: g.c.srv.cfg.MaxSize}
	if !r.begin(args) {
		return nil
	}
	if t := g.session.transaction(); t == nil || len(t.env.To) == 0 {
		r.skip()
		g.answer(replyNeedRcpt)
		return nil
	}
	g.body = &body{source: r}
	g.muted = true // the 354
	return []byte("DATA\r\n")
}

// chunkReader reads a message that is sent in chunks. Without BINARYMIME a
// bare CR or LF is no more allowed in them than elsewhere (RFC 3030 3).
type chunkReader struct {
	g     *gate
	limit int64

	left   int64 // octets of this chunk still to come
	last   bool  // no chunk follows it
	size   int64 // of the message so far
	heldCR bool  // the last octet was a CR
	fault  *smtp.Reply
	err    error // set at the end
}

// begin takes the arguments of a BDAT command. When they are malformed the
// connection has to end, for nobody knows where the next command begins.
func (r *chunkReader) begin(args string) bool {
	f := strings.Fields(args)
	if len(f) == 1 || len(f) == 2 && strings.EqualFold(f[1], "LAST") {
		if n, err := strconv.ParseUint(f[0], 10, 32); err == nil {
			r.left, r.last = int64(n), len(f) == 2
			r.g.c.in.pace = newPace(messageTime)
			return true
		}
	}
	r.g.c.end(replyChunk, errors.New("malformed BDAT"))
	return false
}

func (r *chunkReader) next() ([]byte, error) {
	for r.err == nil {
		switch {
		case r.left > 0:
			if piece := r.piece(); len(piece) > 0 && r.fault == nil {
				return piece, nil
			}
		case r.last && r.heldCR:
			r.err = replyStray
		case r.fault != nil:
			r.err = r.fault
		case r.last:
			r.err = io.EOF
		default:
			r.another()
		}
	}
	return nil, r.err
}

// piece takes what is there of the chunk.
func (r *chunkReader) piece() []byte {
	in := &r.g.c.in
	in.grow(messageBuffer)
	if in.buffered() == 0 {
		if r.err = r.g.c.fill(); r.err != nil {
			return nil
		}
	}
	piece := in.unread()
	piece = piece[:min(int64(len(piece)), r.left)]
	in.take(len(piece))
	r.left -= int64(len(piece))
	r.size += int64(len(piece))
	switch {
	case r.fault != nil:
	case r.size > r.limit:
		r.fault = smtp.TooBig
	case r.stray(piece):
		r.fault = replyStray
	}
	return piece
}

// stray reports whether p, which follows what came before, holds a bare CR
// or LF.
func (r *chunkReader) stray(p []byte) bool {
	for len(p) > 0 {
		if r.heldCR != (p[0] == '\n') { // a CR without its LF, or an LF without its CR
			return true
		}
		if r.heldCR {
			p, r.heldCR = p[1:], false
			continue
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			return false
		}
		if p[i] == '\n' {
			return true
		}
		p, r.heldCR = p[i+1:], true
	}
	return false
}

// another answers for a chunk and waits for the command that follows it.
func (r *chunkReader) another() {
	g := r.g
	g.answer(replyContinue)
	for !g.c.ended {
		raw, ok := g.line()
		if !ok {
			break
		}
		verb, args, _ := strings.Cut(strings.TrimSuffix(string(raw), "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "BDAT":
			r.begin(args)
			if g.c.ended {
				break
			}
			return
		case "RSET", "EHLO", "HELO", "LHLO", "QUIT":
			r.err = errDropped
			g.muted, g.returned = true, bytes.Clone(raw) // go-smtp shall answer the command and not for the message
			return
		default:
			g.answer(replyInChunks)
		}
	}
	r.err = errOver
}

// skip reads to the end of the chunk.
func (r *chunkReader) skip() {
	for r.left > 0 && r.err == nil {
		r.piece()
	}
}
