package imapd

// namespace is NAMESPACE (RFC 9051 6.3.10, RFC 2342): one's own mailboxes, and nothing else.
func (s *session) namespace(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.enc.Raw("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
	return nil
}
