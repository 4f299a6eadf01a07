package imapd

// namespace is NAMESPACE (RFC 9051 6.3.10, RFC 2342): one's own mailboxes, and those of others.
func (s *session) namespace(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.enc.Raw("* NAMESPACE ((\"\" \"/\")) ((\"" + othersPrefix + "\" \"/\")) NIL\r\n")
	return nil
}
