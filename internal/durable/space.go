package durable

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is what a file system has left for us.
type Space struct {
	Total, Free int64 // bytes; Free: for us, not for root
	Inodes      int64 // free; -1 where the file system does not count them
}

// What must stay free when mail comes in: room to delete mail in, for the
// states and notices of the mail that is queued already, and for everybody
// else on the disk.
const (
	floorPercent = 1
	floorLeast   = 100 << 20
	floorMost    = 1 << 30 // one per cent of a large disk need not be more
	floorShare   = 10      // of a small disk at most a tenth
	floorInodes  = 1000
)

// SpaceAt asks the file system that path is on.
func SpaceAt(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	s := Space{
		Total:  int64(st.Blocks) * int64(st.Bsize),
		Free:   int64(st.Bavail) * int64(st.Bsize),
		Inodes: int64(st.Ffree),
	}
	if st.Files == 0 { // btrfs and others make inodes as they go
		s.Inodes = -1
	}
	return s, nil
}

// Floor is the number of bytes that are kept free: one per cent of the disk,
// but between 100 MiB and 1 GiB, and not more than a tenth of a small disk.
func (s Space) Floor() int64 {
	floor := min(max(s.Total/100*floorPercent, floorLeast), floorMost)
	return min(floor, s.Total/floorShare)
}

// Room reports whether a message of size bytes may come in: half as much again
// as its size must fit above the floor (Postfix's queue_minfree has the same
// factor), and files can still be made.
func (s Space) Room(size int64) bool {
	if s.Inodes >= 0 && s.Inodes < floorInodes {
		return false
	}
	return s.Free-s.Floor() >= size+size/2
}

func (s Space) String() string {
	return fmt.Sprintf("%d bytes and %d inodes are free, %d bytes are kept free", s.Free, s.Inodes, s.Floor())
}
