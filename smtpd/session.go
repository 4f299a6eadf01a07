package smtpd

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"buzon/internal/account"
	"buzon/internal/milter"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/mx/dnsbl"
	"buzon/smtpd/lda"
)

var (
	replyMany  = smtp.NewReply(452, [3]int{4, 5, 3}, "Too many recipients")
	replyCut   = smtp.NewReply(451, [3]int{4, 4, 2}, "The message did not arrive whole")
	replyStart = smtp.NewReply(451, [3]int{4, 3, 0}, "The session is over")
)

// door is what makes one kind of port differ from another. An error carries
// the Reply for the client; an error without one is our trouble.
type door interface {
	// sender decides on t.env.From.
	sender(t *transaction) error
	// recipient decides on to, and adds it to t.
	recipient(t *transaction, to smtp.Address) error
	// accept reads the message and takes responsibility for it. The Reply
	// says where it is.
	accept(t *transaction, content io.Reader) (*smtp.Reply, error)
	// mechanisms are the SASL mechanisms that c is offered.
	mechanisms(c *client) []string
}

// session is what go-smtp talks to: it checks again what go-smtp should have
// checked, and gives decisions to the door.
type session struct {
	c    *client
	conn *gosmtp.Conn
	path smtp.Address // of the MAIL or RCPT being looked at, from the gate, and
	mail mailParams   // of MAIL
	rcpt rcptParams   // of RCPT
	tx   *transaction // nil outside of one

	account   account.Account // who has logged in; zero before
	mechanism string          // by which
	refused   int             // logins

	filters *milter.Conversation // nil: they have heard nothing yet
}

// transaction is one message from MAIL on (RFC 5321 3.3).
type transaction struct {
	s     *session
	ctx   context.Context // ends when the transaction is dropped
	drop  context.CancelFunc
	id    string // the queue id
	begun time.Time
	helo  string
	// extended is set when the client said EHLO and not HELO.
	extended bool
	env      smtp.Envelope
	local    []lda.Recipient
	away     []away           // in other domains
	expanded []smtp.Recipient // who stand for several, and whose success is to be told
	// alias is the address of ours by which a stranger's message goes away;
	// null when it is a notice that goes back to whom we have forwarded for.
	alias smtp.Address
	marks []string // Delivered-To of the message
	// spamClaims is set when the message says what a spam filter thinks of it,
	// junk and spam are what our own think.
	spamClaims, junk bool
	spam             sieve.Spam
	// listings are what the blocklists know, when they were asked.
	asked    bool
	listings []dnsbl.Listing

	// Of LMTP, one for each of env.To: the transaction as it would be with this
	// recipient alone, and what the client is answered.
	legs    []*transaction
	answers []*smtp.Reply
}

func (s *Server) newSession(conn *gosmtp.Conn) (gosmtp.Session, error) {
	g, ok := conn.Conn().(*gate)
	if !ok {
		return nil, toGoSMTP(replyStart)
	}
	g.session = &session{c: g.c, conn: conn}
	return g.session, nil
}

// Mail begins a transaction. go-smtp allows a second MAIL, which would give
// the recipients of one sender to another.
func (s *session) Mail(_ string, opts *gosmtp.MailOptions) error {
	if s.tx != nil {
		return toGoSMTP(smtp.BadSequence)
	}
	t := &transaction{s: s, id: newID(), begun: time.Now(), helo: s.conn.Hostname(), extended: s.c.extended}
	t.ctx, t.drop = context.WithCancel(s.c.ctx)
	t.env = smtp.Envelope{
		From:     s.path,
		UTF8:     opts.UTF8 || s.path.NeedsUTF8(), // programs that know UTF-8 but not RFC 6531 say so by doing it
		EightBit: opts.Body == gosmtp.Body8BitMIME,
		Size:     opts.Size,
		Return:   s.mail.ret, EnvelopeID: s.mail.envid, NotBefore: s.mail.release, By: s.mail.by,
	}
	if s.mail.requireTLS {
		t.env.TLS = smtp.TLSRequired
	}
	err := s.c.srv.room(t.env.Size)
	if err == nil {
		err = s.c.srv.door.sender(t)
	}
	if err == nil {
		err = s.filterSender(t)
	}
	if err != nil {
		t.drop()
		return s.answer(err, "MAIL")
	}
	s.tx = t
	return nil
}

// Rcpt adds a recipient to the transaction.
func (s *session) Rcpt(string, *gosmtp.RcptOptions) error {
	t := s.tx
	switch {
	case t == nil:
		return toGoSMTP(smtp.BadSequence)
	case len(t.env.To) >= s.c.srv.cfg.MaxRecipients:
		return toGoSMTP(replyMany)
	}
	to := s.path
	t.env.UTF8 = t.env.UTF8 || to.NeedsUTF8()
	if to.Domain == "" { // RFC 5321 4.5.1: postmaster, whatever the domain
		to.Domain = s.c.srv.cfg.Hostname
	}
	local, away, alias := len(t.local), len(t.away), t.alias
	err := s.c.srv.door.recipient(t, to)
	if err == nil && s.filters != nil {
		err = s.filters.Rcpt(to)
	}
	if err != nil {
		t.local, t.away, t.alias = t.local[:local], t.away[:away], alias
		return s.answer(err, "RCPT")
	}
	t.env.To = append(t.env.To, smtp.Recipient{Address: to, Original: s.rcpt.original, Notify: s.rcpt.notify})
	return nil
}

// Data receives the message, from the gate itself, and answers for it.
func (s *session) Data(io.Reader) error {
	g := s.conn.Conn().(*gate)
	g.settle() // the 354
	if s.tx == nil || g.body == nil {
		return toGoSMTP(smtp.BadSequence)
	}
	reply, err := s.c.srv.door.accept(s.tx, g.body)
	if err != nil {
		reply = s.replyTo(err, "DATA")
	}
	if s.c.srv.perRecipient() {
		g.answers = s.tx.appendAnswers(nil, reply)
	}
	return toGoSMTP(reply)
}

// transaction returns the one under way, or nil; s may be nil too.
func (s *session) transaction() *transaction {
	if s == nil {
		return nil
	}
	return s.tx
}

// Reset ends the transaction: RSET, EHLO, or go-smtp after a message.
func (s *session) Reset() {
	if s.tx != nil {
		s.tx.drop()
		s.tx = nil
		if s.filters != nil {
			s.filters.Abort()
		}
	}
}

// Logout is called when the connection ends or TLS begins.
func (s *session) Logout() error {
	s.Reset()
	if s.filters != nil {
		s.filters.Close()
		s.filters = nil
	}
	return nil
}

// answer turns an error into what go-smtp sends.
func (s *session) answer(err error, command string) error {
	return toGoSMTP(s.replyTo(err, command))
}

// replyTo turns an error into what the client hears, here and nowhere else: what
// is not a bare Reply has a cause, which goes to the log and not to the client.
func (s *session) replyTo(err error, command string) *smtp.Reply {
	r := smtp.ReplyFor(err)
	if err != error(r) {
		s.c.log().Warn("command failed", "command", command, "code", r.Code, "err", err)
	}
	return r
}

// toGoSMTP makes the only kind of error that go-smtp does not show as it is.
// go-smtp gives the last line its enhanced code; RFC 2034 4 wants it in all.
func toGoSMTP(r *smtp.Reply) *gosmtp.SMTPError {
	lines := strings.Split(r.Text, "\n")
	for i := range len(lines) - 1 {
		if r.Enhanced != [3]int{} {
			lines[i] = r.Status() + " " + lines[i]
		}
	}
	text := strings.Join(lines, "\n")
	return &gosmtp.SMTPError{Code: r.Code, EnhancedCode: gosmtp.EnhancedCode(r.Enhanced), Message: text}
}

// receiveError gives an error met while a message was read its Reply.
func receiveError(err error) error {
	if _, ok := errors.AsType[*smtp.Reply](err); ok {
		return err
	}
	if errors.Is(err, errOver) || errors.Is(err, errDropped) {
		return replyCut
	}
	return err
}
