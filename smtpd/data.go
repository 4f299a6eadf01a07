package smtpd

import (
	"bytes"
	"io"

	"buzon/internal/smtp"
)

var replyStray = smtp.NewReply(554, [3]int{5, 6, 0}, "Lines must end in CR LF: a bare CR or LF is refused")

// dataReader reads a message that is sent with DATA (RFC 5321 4.5.2), up to
// and with its end, which is CRLF.CRLF and nothing else. Where servers differ
// about bare CR and LF a message can be made to end for one and go on for the
// other ("SMTP smuggling"), so a message that holds one is read to its true
// end and then refused. The same goes for one that is too large.
type dataReader struct {
	g     *gate
	limit int64

	lineStart bool // the next octet follows a CRLF or begins the message
	doubt     bool // that CRLF followed another CR
	size      int64
	fault     *smtp.Reply // why the message cannot be taken
	err       error       // set at the end
}

// next returns the next piece of the message, which is valid until the next
// call. After the last piece the error is io.EOF, the Reply for a message
// that is refused, or errOver where the connection ended first.
func (d *dataReader) next() ([]byte, error) {
	d.g.c.in.grow(messageBuffer)
	for d.err == nil {
		piece, used, end := d.scan(d.g.c.in.unread())
		d.g.c.in.take(used)
		d.size += int64(len(piece))
		if d.size > d.limit && d.fault == nil {
			d.fault = smtp.TooBig
		}
		switch {
		case end && d.fault != nil:
			d.err, d.g.doubt = d.fault, d.doubt
		case end:
			d.err = io.EOF
		case used == 0:
			if err := d.g.c.fill(); err != nil {
				d.err = err
			}
		case len(piece) > 0 && d.fault == nil:
			return piece, nil
		}
	}
	return nil, d.err
}

// scan takes what can be told from buf: a piece of the message that follows
// in one stretch, how many octets of buf it has used, and whether they hold
// the end. When nothing can be told without more input, used is 0.
func (d *dataReader) scan(buf []byte) (piece []byte, used int, end bool) {
	start := 0
	if d.lineStart && len(buf) > 0 && buf[0] == '.' {
		switch {
		case len(buf) == 1, len(buf) == 2 && buf[1] == '\r':
			return nil, 0, false
		case buf[1] == '\r' && buf[2] == '\n':
			return nil, 3, true
		}
		start, d.lineStart = 1, false // the dot was stuffed
	}
	pos := start
	for pos < len(buf) && !(d.lineStart && pos > start && buf[pos] == '.') {
		i := bytes.IndexByte(buf[pos:], '\n')
		if i < 0 {
			tail := buf[pos:]
			if tail[len(tail)-1] == '\r' { // its LF may follow
				tail = tail[:len(tail)-1]
			}
			d.check(tail)
			if len(tail) > 0 {
				d.lineStart = false
			}
			pos += len(tail)
			break
		}
		line := buf[pos : pos+i]
		d.lineStart = len(line) > 0 && line[len(line)-1] == '\r'
		if d.lineStart {
			line = line[:len(line)-1]
			d.doubt = bytes.HasSuffix(line, []byte("\r"))
		} else {
			d.refuse(replyStray)
		}
		d.check(line)
		pos += i + 1
	}
	return buf[start:pos], pos, false
}

// check looks for a CR that no LF follows.
func (d *dataReader) check(b []byte) {
	if bytes.IndexByte(b, '\r') >= 0 {
		d.refuse(replyStray)
	}
}

func (d *dataReader) refuse(r *smtp.Reply) {
	if d.fault == nil {
		d.fault = r
	}
}

// skip reads up to the end.
func (d *dataReader) skip() {
	for {
		if _, err := d.next(); err != nil {
			return
		}
	}
}
