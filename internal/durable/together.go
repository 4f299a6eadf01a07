package durable

import (
	"errors"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"
)

// SyncTogether makes the contents of f and what sync makes durable so, and returns
// when both are. On a disk that happens at the same time: a journal that has to be
// written for either is written once for both.
func SyncTogether(f File, sync func() error) error {
	if _, ok := f.(*diskFile); !ok {
		return errors.Join(sync(), f.SyncData()) // in this order, for those who count
	}
	other := make(chan error, 1)
	go func() { other <- sync() }()
	err := f.SyncData()
	return errors.Join(err, <-other)
}

// waiters bounds how many threads wait for the disk at the same time in SyncAll and
// AtOnce: a disk's caches are flushed once for all who wait, and more only fight for
// the same locks.
const waiters = 4

// SyncAll is Sync of each file. Their errors are in the order of the files, nil for a
// file that is durable. The disk is given all that is to be written before it is
// waited for the first time.
func SyncAll(files []File) []error {
	syncs := make([]func() error, len(files))
	onDisk := true
	for i, f := range files {
		syncs[i] = f.Sync
		d, ok := f.(*diskFile)
		if onDisk = onDisk && ok; !ok || len(files) < 2 {
			continue
		}
		if err := d.startSync(); err != nil {
			syncs[i] = func() error { return err }
		}
	}
	if !onDisk {
		return inOrder(syncs) // for those who count
	}
	return AtOnce(syncs)
}

// AtOnce calls all syncs, some of them at the same time, and returns their errors in
// their order.
func AtOnce(syncs []func() error) []error {
	errs := make([]error, len(syncs))
	share := func(first int) {
		for i := first; i < len(syncs); i += waiters {
			errs[i] = syncs[i]()
		}
	}
	var others sync.WaitGroup
	for first := 1; first < min(waiters, len(syncs)); first++ {
		others.Go(func() { share(first) })
	}
	share(0)
	others.Wait()
	return errs
}

func inOrder(syncs []func() error) []error {
	errs := make([]error, len(syncs))
	for i, sync := range syncs {
		errs[i] = sync()
	}
	return errs
}

// startSync begins to write the contents of the file, for a Sync that follows. An
// error is as final as one of Sync: the kernel may have dropped what it did not write.
func (f *diskFile) startSync() error {
	switch err := unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE); err {
	case nil, unix.EINTR, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM: // Sync does all of it
		return nil
	default:
		return &fs.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
	}
}
