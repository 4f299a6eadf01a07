package imapd

import (
	"errors"
	"fmt"
	"strings"

	"buzon/internal/account"
	"buzon/internal/sasl"
)

// login is LOGIN (RFC 9051 6.2.3).
func (s *session) login(r *request) error {
	name := r.SP().AString()
	password := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	acct, err := s.srv.cfg.Logins.Password(s.ctx, s.client(), name, password)
	if err != nil {
		return loginAnswer(err)
	}
	return s.enter(r, acct)
}

// enter opens the mail of whoever has proved to be the owner of an account.
func (s *session) enter(r *request, acct account.Account) error {
	s.account = acct
	if !s.srv.sessions.add(s, s.srv.cfg.SessionsPerUser, s.srv.cfg.SessionsPerUserIP) {
		s.account = account.Account{}
		return no("LIMIT", "Too many sessions of this user")
	}
	user, err := s.srv.cfg.Store.User(s.ctx, string(acct.ID))
	if err != nil {
		s.srv.sessions.remove(s)
		s.account = account.Account{}
		return fmt.Errorf("open mail of %s: %w", acct.ID, err)
	}
	s.user = user
	s.state = authenticated
	s.dec.SetLimits(limitsAfterLogin(s.srv.cfg.MessageSize))
	r.code = "CAPABILITY " + strings.Join(s.capabilities(), " ")
	r.text = "Logged in"
	return nil
}

// loginAnswer words why a login came to nothing (RFC 5530 3).
func loginAnswer(err error) error {
	switch {
	case errors.Is(err, sasl.ErrCredentials):
		return no("AUTHENTICATIONFAILED", "Login or password is wrong")
	case errors.Is(err, sasl.ErrAuthorization):
		return no("AUTHORIZATIONFAILED", "Nobody logs in for others here")
	case errors.Is(err, sasl.ErrGuessing):
		return no("UNAVAILABLE", "Too many failed logins from your address, try again later")
	case errors.Is(err, sasl.ErrBusy):
		return no("UNAVAILABLE", "Too many logins at once, try again")
	case errors.Is(err, sasl.ErrUnavailable):
		return no("UNAVAILABLE", "The login cannot be checked now, try again later")
	case errors.Is(err, sasl.ErrInsecure):
		return no("PRIVACYREQUIRED", "Passwords only under TLS, use STARTTLS first")
	case errors.Is(err, sasl.ErrMechanism):
		return no("CANNOT", "No such authentication mechanism")
	case errors.Is(err, sasl.ErrMalformed):
		return bad("Not a response of this mechanism")
	}
	return err
}
