package imapd

import "log/slog"

// id is ID (RFC 2971).
func (s *session) id(r *request) error {
	const (
		mostFields = 30
		longest    = 1024
	)
	var client []any
	fields := 0
	if r.SP().Peek() == '(' {
		r.List(func() {
			key := r.String()
			value, _ := r.SP().NString()
			if fields++; fields > mostFields || len(key) > 30 || len(value) > longest {
				r.Fail("too much identification")
			}
			switch key {
			case "name", "version", "os":
				client = append(client, slog.String(key, value))
			}
		})
	} else if _, ok := r.NString(); ok {
		r.Fail("expected a list or NIL")
	}
	if err := r.End(); err != nil {
		return err
	}
	if len(client) > 0 {
		s.log.Debug("client", client...)
	}
	s.enc.Raw(`* ID ("name" "Buzon"`)
	if v := s.srv.cfg.Version; v != "" {
		s.enc.Raw(` "version" `).String(v)
	}
	s.enc.Raw(")\r\n")
	return nil
}
