package imapd

import "strings"

// lsub is LSUB (RFC 3501 6.3.9), which RFC 9051 replaces by LIST (SUBSCRIBED) and every old client
// still sends.
func (s *session) lsub(r *request) error {
	reference := r.SP().Mailbox()
	name := r.SP().ListMailbox()
	if err := r.End(); err != nil {
		return err
	}
	if name == "" {
		s.enc.Raw("* LSUB (\\Noselect) \"/\" \"\"\r\n")
		return nil
	}
	subscriptions, err := s.user.Subscriptions(s.ctx)
	if err != nil {
		return err
	}
	p := newPattern(reference, name)
	listed := make(map[string]bool, len(subscriptions))
	for _, sub := range subscriptions {
		if p.match(sub) {
			listed[sub] = true
			s.enc.Raw(`* LSUB () "/" `).Mailbox(sub).CRLF()
		}
	}
	if !strings.Contains(string(p), "%") {
		return nil
	}
	// With "%", a parent that is not subscribed shows that one of its children is.
	for _, sub := range subscriptions {
		for parent := sub; ; {
			i := strings.LastIndexByte(parent, '/')
			if i < 0 {
				break
			}
			if parent = parent[:i]; !listed[parent] && p.match(parent) && !p.match(sub) {
				listed[parent] = true
				s.enc.Raw(`* LSUB (\Noselect) "/" `).Mailbox(parent).CRLF()
			}
		}
	}
	return nil
}
