package smtpd

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-sasl"

	"buzon/internal/account"
	"buzon/internal/smtp"
)

const (
	// maxCredential bounds login and password before anything is hashed.
	maxCredential = 1024
	// maxLogins is how many refused logins end a session.
	maxLogins = 5
	// maxLoggedName is how much of a login that failed goes into the log.
	maxLoggedName = 64
)

var (
	replyBadLogin    = smtp.NewReply(535, [3]int{5, 7, 8}, "Authentication failed: login or password is wrong")
	replyBusy        = smtp.NewReply(454, [3]int{4, 7, 0}, "Temporary authentication failure, please try again")
	replyGuessing    = smtp.NewReply(421, [3]int{4, 7, 0}, "Too many failed logins, please try again later")
	replyBadResponse = smtp.NewReply(501, [3]int{5, 5, 2}, "Malformed authentication response")
)

// loginFunc checks a login. authzid is "" where the mechanism has none.
type loginFunc func(authzid, login, password string) error

// newMechanism returns the server side of a SASL mechanism.
func newMechanism(name string, login loginFunc) sasl.Server {
	if name == sasl.Login {
		return &loginMechanism{login: login}
	}
	return plainMechanism{login}
}

// plainMechanism is PLAIN (RFC 4616).
type plainMechanism struct{ login loginFunc }

func (m plainMechanism) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return nil, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, toGoSMTP(replyBadResponse)
	}
	err = m.login(string(parts[0]), string(parts[1]), string(parts[2]))
	return nil, err == nil, err
}

// loginMechanism is LOGIN, which has no RFC but clients that know nothing
// else (draft-murchison-sasl-login).
type loginMechanism struct {
	login loginFunc
	name  *string
}

func (m *loginMechanism) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case m.name == nil:
		name := string(response)
		m.name = &name
		return []byte("Password:"), false, nil
	}
	err = m.login("", *m.name, string(response))
	return nil, err == nil, err
}

// login checks a password and makes the session the account's. The answers
// come later with each failure from the same address (limit.Guard), so that
// guessing takes long; the account itself is never locked.
func (s *session) login(authzid, login, password string) error {
	c := s.c
	wait, refuse := c.srv.cfg.Guard.Check(c.ip)
	if refuse {
		c.log().Warn("login refused, too many failures", "user", printable(login, maxLoggedName))
		return toGoSMTP(replyGuessing)
	}
	pause(c.ctx, wait)
	a, err := s.authenticate(authzid, login, password)
	switch {
	case errors.Is(err, account.ErrBadCredentials):
		c.srv.cfg.Guard.Failed(c.ip, login+"\x00"+password)
		c.log().Warn("login refused", "user", printable(login, maxLoggedName))
		if s.refused++; s.refused >= maxLogins {
			return toGoSMTP(replyGuessing)
		}
		return toGoSMTP(replyBadLogin)
	case errors.Is(err, account.ErrBusy):
		return toGoSMTP(replyBusy)
	case err != nil:
		c.log().Error("login failed", "user", printable(login, maxLoggedName), "err", err)
		return toGoSMTP(replyBusy)
	}
	c.srv.cfg.Guard.Succeeded(c.ip)
	s.account, c.user = a, string(a.ID)
	c.log().Info("login", "user", c.user)
	return nil
}

// authenticate asks the directory. Nobody may act for another one: an
// authorization identity (RFC 4616 2) must be the login itself.
func (s *session) authenticate(authzid, login, password string) (account.Account, error) {
	if authzid != "" && !strings.EqualFold(authzid, login) || !credible(login) || len(password) > maxCredential || !utf8.ValidString(password) {
		return account.Account{}, account.ErrBadCredentials
	}
	return s.c.srv.cfg.Directory.Authenticate(s.c.ctx, login, password)
}

// credible reports whether a login could be one at all.
func credible(login string) bool {
	return login != "" && len(login) <= maxCredential && utf8.ValidString(login) && !strings.ContainsFunc(login, unicode.IsControl)
}
