// Package smtp has the words that every part of Buzón that moves mail shares:
// addresses, envelopes, replies and results. It speaks no protocol.
package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reply is an SMTP reply (RFC 5321 4.2) with its enhanced status code (RFC
// 3463), and the error that carries a client's answer up to the one place
// that sends it. A Reply that is wrapped together with a cause keeps the
// cause for the log; only the Reply itself is ever shown to the client.
type Reply struct {
	Code     int    // 200 to 599
	Enhanced [3]int // zero: none was given
	Text     string // "\n" between lines; no CR, no controls
}

// Replies that callers branch on or that more than one package gives.
var (
	TryLater    = NewReply(451, [3]int{4, 3, 0}, "Temporary trouble here, please try again later")
	DiskFull    = NewReply(452, [3]int{4, 3, 1}, "Not enough storage here, please try again later")
	MailboxFull = NewReply(452, [3]int{4, 2, 2}, "The mailbox is full, please try again later")
	NoSuchUser  = NewReply(550, [3]int{5, 1, 1}, "No such user here")
	NoRelay     = NewReply(550, [3]int{5, 7, 1}, "Relaying is refused: this is not a domain of ours")
	TooBig      = NewReply(552, [3]int{5, 3, 4}, "The message is larger than is accepted here")
	MailLoop    = NewReply(554, [3]int{5, 4, 6}, "The message goes round in a loop")
	BadSequence = NewReply(503, [3]int{5, 5, 1}, "Bad sequence of commands")
)

// maxReplyText bounds what is kept of a reply's text, in bytes: enough for
// any honest explanation, and a peer's text ends up in notices and logs.
const maxReplyText = 4096

// NewReply makes a Reply whose text is safe on the wire, in a header and in
// a log: controls and invalid UTF-8 become "?", CRLF becomes "\n", and the
// text is cut to 4 KiB.
func NewReply(code int, enhanced [3]int, text string) *Reply {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029') {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxReplyText {
		text = strings.ToValidUTF8(text[:maxReplyText], "")
	}
	return &Reply{Code: code, Enhanced: enhanced, Text: text}
}

// Error gives the reply on one line, as a log or a notice wants it.
func (r *Reply) Error() string {
	text := strings.ReplaceAll(r.Text, "\n", " ")
	if r.Enhanced == [3]int{} {
		return fmt.Sprintf("%d %s", r.Code, text)
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Status(), text)
}

// Status is the enhanced code in its dotted form. Where none was given it is
// the general one of the code's class (RFC 3463 2), as RFC 3464 2.3.4 needs.
func (r *Reply) Status() string {
	e := r.Enhanced
	if e == [3]int{} {
		e[0] = r.Code / 100
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// Temporary reports whether the peer may succeed later with the same (4yz).
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports whether trying again is of no use (5yz).
func (r *Reply) Permanent() bool { return r.Code/100 == 5 }

// Is2xx reports whether the reply says yes.
func (r *Reply) Is2xx() bool { return r.Code/100 == 2 }

// ReplyFor returns the Reply that err carries, or TryLater: what we cannot
// explain is our trouble and must not become the sender's failure.
func ReplyFor(err error) *Reply {
	if r, ok := errors.AsType[*Reply](err); ok {
		return r
	}
	return TryLater
}
