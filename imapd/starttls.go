package imapd

import "fmt"

// startTLS is STARTTLS (RFC 9051 6.2.1). Whatever came in the clear behind the command was put
// there by somebody in the middle: the session ends. What comes later fails the handshake, with the
// same end.
func (s *session) startTLS(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	if s.tls {
		return bad("TLS is active already")
	}
	if s.srv.cfg.TLS == nil {
		return bad("TLS is not available")
	}
	if s.dec.Buffered() > 0 {
		s.tagged(r.tag, "BAD", "", "Text behind STARTTLS")
		return s.dismiss("text behind STARTTLS")
	}
	s.tagged(r.tag, "OK", "", "Begin TLS negotiation now")
	if err := s.enc.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errBye, err)
	}
	s.dec.Reset(s.stream)
	if err := s.stream.startTLS(s.srv.cfg.TLS); err != nil {
		return fmt.Errorf("%w: TLS handshake: %w", errBye, err)
	}
	s.tls = true
	return errAnswered
}
