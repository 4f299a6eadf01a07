package queue

import (
	"fmt"

	"golang.org/x/sys/unix"

	"buzon/internal/smtp"
)

// space is what a file system has.
type space struct {
	Total, Free int64 // bytes; Free: for us, not for root
	Inodes      int64 // free; -1: the file system does not count them
}

func diskSpace(path string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return space{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	s := space{
		Total:  int64(st.Blocks) * int64(st.Bsize),
		Free:   int64(st.Bavail) * int64(st.Bsize),
		Inodes: int64(st.Ffree),
	}
	if st.Files == 0 { // btrfs and others make inodes as they go
		s.Inodes = -1
	}
	return s, nil
}

// What Submit leaves free: states and notices of the mail that is queued
// already must find room, and so must everybody else on the disk.
const (
	minFree   = 100 << 20
	maxFree   = 1 << 30 // one per cent of a large disk need not be more
	minInodes = 1000
)

// floor is the number of bytes that must stay free: Limits.MinFree, or one per
// cent of the disk, but at least 100 MiB and at most 1 GiB.
func (q *Queue) floor(total int64) int64 {
	if q.cfg.Limits.MinFree > 0 {
		return q.cfg.Limits.MinFree
	}
	return min(max(total/100, minFree), maxFree)
}

// checkSpace refuses a message of the announced size when the disk is low. A
// message that is larger than announced meets the disk's own end.
func (q *Queue) checkSpace(size int64) error {
	s, err := q.disk()
	if err != nil {
		return err
	}
	floor := q.floor(s.Total)
	if s.Free < floor || s.Free-floor < size+size/2 || s.Inodes >= 0 && s.Inodes < minInodes {
		return fmt.Errorf("%w: %d bytes and %d inodes are free, %d bytes are kept free",
			smtp.DiskFull, s.Free, s.Inodes, floor)
	}
	return nil
}
