package imapd

// delete is DELETE (RFC 9051 6.3.5).
func (s *session) delete(r *request) error {
	name := r.SP().Mailbox()
	if err := r.End(); err != nil {
		return err
	}
	if s.view != nil && s.view.name == name {
		s.closeView()
		s.enc.Raw("* OK [CLOSED] The selected mailbox is being deleted\r\n")
	}
	return s.user.Delete(s.ctx, name)
}
