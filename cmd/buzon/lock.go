package main

import (
	"errors"
	"fmt"
	"os"

	"buzon/internal/durable"
)

// lockName is the file in the data directory whose lock says that a process
// works there.
const lockName = "buzon.lock"

// lockError explains why the data directory cannot be had.
func lockError(cfg *config, err error) error {
	if errors.Is(err, durable.ErrLocked) {
		return fmt.Errorf("another buzon works on %s: stop it first, or give this one a data directory of its own: %w", cfg.Data, err)
	}
	return err
}

// alreadyServed returns the lockError when another process has the data
// directory: that explains why the ports are taken better than they do.
func alreadyServed(cfg *config) error {
	if _, err := os.Stat(cfg.path(lockName)); err != nil {
		return nil
	}
	unlock, err := durable.Lock(cfg.path(lockName))
	if errors.Is(err, durable.ErrLocked) {
		return lockError(cfg, err)
	}
	if err == nil {
		_ = unlock()
	}
	return nil
}
