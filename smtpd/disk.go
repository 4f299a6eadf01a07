package smtpd

import (
	"fmt"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// room refuses a message of size octets when the disk is nearly full.
func (s *Server) room(size int64) error {
	space, err := durable.SpaceAt(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	if !space.Room(size) {
		return fmt.Errorf("%w: %v", smtp.DiskFull, space)
	}
	return nil
}
