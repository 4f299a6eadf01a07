package imapd

import (
	"time"

	"buzon/internal/account"
)

// unauthenticate is UNAUTHENTICATE (RFC 8437): the session is as it was before the login, TLS
// apart.
func (s *session) unauthenticate(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.stopNotify()
	s.closeView()
	s.leaveHosts()
	s.srv.sessions.hear(s, nil)
	s.srv.sessions.remove(s)
	s.user.Release()
	s.user = nil
	s.account = account.Account{}
	s.enabled = 0
	s.enc.UTF8, s.dec.UTF8 = false, false
	s.state = notAuthenticated
	s.started = time.Now()
	s.dec.SetLimits(limitsBeforeLogin)
	return nil
}
