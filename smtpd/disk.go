package smtpd

import (
	"fmt"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// diskLook is how long what the disk had left is taken for what it has left: much
// less than a disk of any size needs to lose what is kept free.
const diskLook = 50 * time.Millisecond

// disk knows what the disk has left. The zero disk has never looked.
type disk struct{ seen atomic.Pointer[diskSight] }

type diskSight struct {
	durable.Space
	at time.Time
}

// space is what the disk that holds dir had left a moment ago.
func (d *disk) space(dir string) (durable.Space, error) {
	now := time.Now()
	if s := d.seen.Load(); s != nil && now.Sub(s.at) < diskLook {
		return s.Space, nil
	}
	space, err := durable.SpaceAt(dir)
	if err == nil {
		d.seen.Store(&diskSight{space, now})
	}
	return space, err
}

// room refuses a message of size octets when the disk is nearly full.
func (s *Server) room(size int64) error {
	space, err := s.disk.space(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	if !space.Room(size) {
		return fmt.Errorf("%w: %v", smtp.DiskFull, space)
	}
	return nil
}
