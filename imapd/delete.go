package imapd

// delete is DELETE (RFC 9051 6.3.5).
func (s *session) delete(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	p, _, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	r.tree = p.owner
	if err := p.user.Delete(s.ctx, p.name); err != nil {
		return err
	}
	if s.view != nil && s.view.name == name {
		s.closeView()
		s.enc.Raw("* OK [CLOSED] The selected mailbox was deleted\r\n")
	}
	return nil
}
