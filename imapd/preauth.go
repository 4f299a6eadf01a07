package imapd

import (
	"context"
	"net"

	"buzon/internal/account"
)

// ServeUser runs a session on nc for an account that somebody else has let in: the commands that
// import and export mail, over the control socket. It greets with PREAUTH (RFC 9051 7.1.4), is not
// counted among the user's sessions, and returns when the session is over.
func (s *Server) ServeUser(ctx context.Context, nc net.Conn, acct account.Account) {
	defer nc.Close()
	c := newSession(s, nc, remoteAddr(nc))
	c.account, c.preauth = acct, true
	c.serve(ctx, false)
}

// enterPreauth opens the mail of a session that begins logged in.
func (s *session) enterPreauth() error {
	s.srv.sessions.add(s, 1<<30, 1<<30)
	user, err := s.srv.cfg.Store.User(s.ctx, string(s.account.ID))
	if err != nil {
		s.srv.sessions.remove(s)
		return err
	}
	s.user, s.state = user, authenticated
	s.dec.SetLimits(limitsAfterLogin(s.srv.cfg.MessageSize))
	return nil
}
