package smtpd

import (
	"errors"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"buzon/internal/sasl"
	"buzon/internal/smtp"
)

// maxLogins is how many refused logins end a session.
const maxLogins = 5

var (
	replyBadLogin    = smtp.NewReply(535, [3]int{5, 7, 8}, "Authentication failed: login or password is wrong")
	replyBusy        = smtp.NewReply(454, [3]int{4, 7, 0}, "Temporary authentication failure, please try again")
	replyGuessing    = smtp.NewReply(421, [3]int{4, 7, 0}, "Too many failed logins, please try again later")
	replyBadResponse = smtp.NewReply(501, [3]int{5, 5, 2}, "Malformed authentication response")
)

// AuthMechanisms implements gosmtp.AuthSession.
func (s *session) AuthMechanisms() []string { return s.c.srv.door.mechanisms(s.c) }

// Auth implements gosmtp.AuthSession (RFC 4954). The mechanisms are those of
// package sasl.
func (s *session) Auth(mechanism string) (gosasl.Server, error) {
	if s.tx != nil {
		return nil, toGoSMTP(smtp.BadSequence) // RFC 4954 4
	}
	if len(s.AuthMechanisms()) == 0 {
		return nil, gosmtp.ErrAuthUnknownMechanism
	}
	x, err := s.c.srv.cfg.Logins.Start(s.c.ctx, s.c.login(), mechanism)
	if err != nil {
		return nil, gosmtp.ErrAuthUnknownMechanism
	}
	return login{s, x, mechanism}, nil
}

// login is the client as package sasl sees it.
func (c *client) login() sasl.Client {
	return sasl.Client{IP: c.ip, TLS: c.tls, Service: "submission", Log: c.log()}
}

// login is a SASL exchange that makes the session the account's.
type login struct {
	s *session
	*sasl.Exchange
	mechanism string
}

func (l login) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = l.Exchange.Next(response)
	switch {
	case err != nil:
		return nil, false, toGoSMTP(l.s.refuse(err))
	case done:
		l.s.account, l.s.c.user, l.s.mechanism = l.Account, string(l.Account.ID), l.mechanism
	}
	return challenge, done, nil
}

// refuse words why a login came to nothing. The account itself is never
// locked: the delays and refusals are the address' (limit.Guard).
func (s *session) refuse(err error) *smtp.Reply {
	switch {
	case errors.Is(err, sasl.ErrCredentials), errors.Is(err, sasl.ErrAuthorization):
		if s.refused++; s.refused >= maxLogins {
			return replyGuessing
		}
		return replyBadLogin
	case errors.Is(err, sasl.ErrGuessing):
		return replyGuessing
	case errors.Is(err, sasl.ErrMalformed):
		return replyBadResponse
	case errors.Is(err, sasl.ErrBusy), errors.Is(err, sasl.ErrUnavailable):
		return replyBusy
	}
	s.c.log().Error("login failed", "err", err)
	return replyBusy
}
