package queue

import (
	"fmt"

	"buzon/internal/smtp"
)

// checkSpace refuses a message of the announced size when the disk is low. A
// message that is larger than announced meets the disk's own end.
func (q *Queue) checkSpace(size int64) error {
	space, err := q.disk()
	if err != nil {
		return err
	}
	if !space.Room(size) {
		return fmt.Errorf("%w: %v", smtp.DiskFull, space)
	}
	return nil
}
