package smtpd

import (
	"fmt"
	"syscall"

	"buzon/internal/smtp"
)

// What must stay free on the disk when a message comes in, beside one and a
// half times its size (Postfix queue_minfree): room to delete mail in, and
// for the files that are not mail.
const (
	minFreeBytes   = 100 << 20
	minFreePercent = 1
	minFreeInodes  = 1000
)

// room refuses a message of size octets when the disk is nearly full.
func (s *Server) room(size int64) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.cfg.Dir, &fs); err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	if !enough(&fs, size) {
		return fmt.Errorf("%w: %d blocks and %d inodes are free", smtp.DiskFull, fs.Bavail, fs.Ffree)
	}
	return nil
}

func enough(fs *syscall.Statfs_t, size int64) bool {
	block := uint64(fs.Bsize)
	floor := max(minFreeBytes, fs.Blocks*block/100*minFreePercent)
	if fs.Bavail*block < max(floor, uint64(size)+uint64(size)/2) {
		return false
	}
	return fs.Files == 0 || fs.Ffree >= minFreeInodes // some file systems count no inodes
}
