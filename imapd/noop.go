package imapd

// noop is NOOP and CHECK (RFC 9051 6.1.2, RFC 3501 6.4.1): the news comes with every answer.
func (s *session) noop(r *request) error { return r.End() }

// logout is LOGOUT (RFC 9051 6.1.3).
func (s *session) logout(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.closeView()
	s.enc.Raw("* BYE Logging out\r\n")
	s.state = loggedOut
	return nil
}
