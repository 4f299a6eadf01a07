package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"buzon/internal/account"
)

// mayLogin: passwords only under TLS (RFC 9051 11.1).
func (s *session) mayLogin() bool {
	return s.tls || s.srv.cfg.PlaintextFromLoopback && s.ip.IsLoopback()
}

// login is LOGIN (RFC 9051 6.2.3).
func (s *session) login(r *request) error {
	name := r.SP().AString()
	password := r.SP().AString()
	if err := r.End(); err != nil {
		return err
	}
	return s.enter(r, name, password)
}

// enter checks a password and lets its owner in.
func (s *session) enter(r *request, name, password string) error {
	if !s.mayLogin() {
		return no("PRIVACYREQUIRED", "Passwords only under TLS, use STARTTLS first")
	}
	acct, err := s.checkPassword(name, password)
	if err != nil {
		return err
	}
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
	s.log.Info("login", "user", string(acct.ID), "tls", s.tls)
	r.code = "CAPABILITY " + strings.Join(s.capabilities(), " ")
	r.text = "Logged in"
	return nil
}

// checkPassword asks the directory. The guard's delays come before every answer, so that nobody
// learns from their length.
func (s *session) checkPassword(name, password string) (account.Account, error) {
	guard := s.srv.cfg.Guard
	if guard != nil {
		wait, refuse := guard.Check(s.ip)
		if refuse {
			s.log.Info("login refused", "user", clip(name), "err", "too many failures from this address")
			return account.Account{}, no("UNAVAILABLE", "Too many failed logins from your address, try again later")
		}
		if err := s.pause(wait); err != nil {
			return account.Account{}, err
		}
	}
	acct, err := s.srv.cfg.Directory.Authenticate(s.ctx, name, password)
	switch {
	case errors.Is(err, account.ErrBadCredentials):
		if guard != nil {
			guard.Failed(s.ip, name+"\x00"+password)
		}
		s.log.Info("login failed", "user", clip(name))
		return acct, no("AUTHENTICATIONFAILED", "Login or password is wrong")
	case errors.Is(err, account.ErrBusy):
		return acct, no("UNAVAILABLE", "Too many logins at once, try again")
	case err != nil:
		return acct, err
	}
	if guard != nil {
		guard.Succeeded(s.ip)
	}
	return acct, nil
}

// pause waits, but not longer than the session may live.
func (s *session) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return context.Canceled
	}
}

// clip keeps a login name short enough for the log.
func clip(name string) string { return name[:min(len(name), 64)] }
