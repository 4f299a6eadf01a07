package durable

import "errors"

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
