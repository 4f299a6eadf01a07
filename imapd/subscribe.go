package imapd

// subscribe is SUBSCRIBE (RFC 9051 6.3.7).
func (s *session) subscribe(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	return s.user.Subscribe(s.ctx, name)
}

// unsubscribe is UNSUBSCRIBE (RFC 9051 6.3.8).
func (s *session) unsubscribe(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	return s.user.Unsubscribe(s.ctx, name)
}
