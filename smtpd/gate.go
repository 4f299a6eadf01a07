package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"buzon/internal/smtp"
)

const (
	// softErrors is how many negative replies a client may collect without
	// delivering anything before each further one takes errorDelay, and
	// hardErrors how many end the session (Postfix smtpd_soft_error_limit).
	softErrors = 10
	hardErrors = 20
	errorDelay = time.Second
)

// gate is the net.Conn that go-smtp is given. It passes one command at a
// time, so that when go-smtp asks for more it has answered the last one
// completely, and the gate always knows what the next octets are: a command,
// an answer to an AUTH challenge, or a message.
//
// go-smtp never sees a message. Two scanners for the end of a message are one
// too many: where they disagree, mail turns into commands. The session reads
// the message from the gate, and go-smtp is given the final dot alone. (It is
// also ten times as fast.) BDAT becomes DATA on the way, for in go-smtp the
// end of the connection completes a message that comes in chunks, and the
// answer to one that RSET has ended can become the answer to the next.
type gate struct {
	c       *client
	engines *engines
	session *session // nil before EHLO

	verb     string // of the command that go-smtp works on
	reply    []byte // what it has answered so far
	muted    bool   // its next reply is not for the client
	pending  []byte // input that it has not read yet
	returned []byte // a line that was read but belongs behind pending
	sasl     bool   // an AUTH challenge is open
	body     *body  // the message that is being sent
	doubt    bool   // not everybody would have ended the last message where it ended
	answers  []byte // for each recipient, in place of the one to a message (LMTP)
	upgrade  bool   // TLS was put on; another gate takes over
}

// Read gives go-smtp its next input.
func (g *gate) Read(p []byte) (n int, err error) {
	defer g.c.catch(&err)
	for len(g.pending) == 0 {
		g.settle()
		switch {
		case g.c.ended:
			g.c.close()
			return 0, io.EOF
		case g.upgrade:
			return 0, io.EOF
		case g.body != nil:
			g.endBody()
		default:
			g.pending = g.command()
		}
	}
	n = copy(p, g.pending)
	g.pending = g.pending[n:]
	return n, nil
}

// endBody skips what the session did not read of a message, and gives
// go-smtp the end of it.
func (g *gate) endBody() {
	g.body.skip()
	g.body = nil
	if !g.c.ended {
		g.pending = []byte(".\r\n")
	}
}

// Write takes a piece of go-smtp's reply. It is looked at as a whole when
// go-smtp wants to read on.
func (g *gate) Write(p []byte) (int, error) {
	g.reply = append(g.reply, p...)
	return len(p), nil
}

// settle sends the reply that go-smtp has completed, and learns from it what
// comes next.
func (g *gate) settle() {
	if len(g.reply) == 0 {
		return
	}
	reply := correct(g.verb, g.c.srv.cfg.Hostname, g.reply)
	if g.verb == "EHLO" && g.c.srv.submits() && bytes.HasPrefix(reply, []byte("250-")) {
		first := bytes.IndexByte(reply, '\n') + 1
		reply = slices.Insert(reply, first, []byte(g.c.extensions())...)
	}
	g.reply = g.reply[:0]
	if g.c.srv.perRecipient() {
		reply = inLMTP(reply)
	}
	if g.answers != nil {
		reply, g.answers = g.answers, nil
	}
	if g.muted {
		g.muted = false
		return
	}
	c := g.c
	code := replyCode(reply)
	g.sasl = code == 334 && g.verb == "AUTH"
	c.send(reply)
	switch {
	case code == 354:
		c.in.pace = newPace(messageTime)
		g.body = &body{source: &dataReader{g: g, limit: c.srv.cfg.MaxSize, lineStart: true}}
	case code == 421, g.doubt: // RFC 5321 3.8: the server closes the channel
		c.linger = true
		c.flush()
		c.over(nil)
	case code >= 400:
		g.countError()
	}
}

// countError slows down and then ends a client that only makes mistakes. A
// mail host in front of us passes on what others did.
func (g *gate) countError() {
	c := g.c
	if c.srv.perRecipient() {
		return
	}
	c.errors++
	switch {
	case c.errors >= hardErrors:
		c.end(smtp.NewReply(421, [3]int{4, 7, 0}, "Too many errors"), errors.New("too many errors"))
	case c.errors > softErrors:
		pause(c.ctx, errorDelay)
	}
}

// answer replies to a command that go-smtp never sees.
func (g *gate) answer(r *smtp.Reply) {
	g.c.send(appendReply(nil, r))
	if r.Code >= 400 {
		g.countError()
	}
}

// Close ends the connection, or gives it on to the gate that serves it under
// TLS: only now does go-smtp know nothing of it any more.
func (g *gate) Close() (err error) {
	defer g.c.catch(&err)
	if g.upgrade {
		g.engines.serve(&gate{c: g.c, engines: g.engines, muted: true})
		return nil
	}
	g.settle()
	g.c.close()
	return nil
}

func (g *gate) LocalAddr() net.Addr              { return g.c.nc.LocalAddr() }
func (g *gate) RemoteAddr() net.Addr             { return g.c.nc.RemoteAddr() }
func (g *gate) SetDeadline(time.Time) error      { return nil } // the client keeps time
func (g *gate) SetReadDeadline(time.Time) error  { return nil }
func (g *gate) SetWriteDeadline(time.Time) error { return nil }

// replyCode returns the code of the last line of a reply.
func replyCode(reply []byte) int {
	last := bytes.TrimSuffix(reply, []byte("\r\n"))
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	code, _ := strconv.Atoi(string(last[:min(3, len(last))]))
	return code
}

// appendReply appends r as it goes over the wire (RFC 5321 4.2.1).
func appendReply(dst []byte, r *smtp.Reply) []byte {
	lines := bytes.Split([]byte(r.Text), []byte("\n"))
	for i, line := range lines {
		dst = strconv.AppendInt(dst, int64(r.Code), 10)
		sep := byte(' ')
		if i < len(lines)-1 {
			sep = '-'
		}
		dst = append(dst, sep)
		if r.Enhanced != [3]int{} {
			dst = append(append(dst, r.Status()...), ' ')
		}
		dst = append(append(dst, line...), '\r', '\n')
	}
	return dst
}

// pause waits, or until the server must end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
