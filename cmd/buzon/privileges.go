package main

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeData makes the data directory where it is absent, for its owner alone.
func makeData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w; make it yourself and give it to the user that runs buzon", err)
	}
	return nil
}

// becomeOwner lets root go on as the user that owns the data directory. Files
// that root puts there the server could not read later, and nothing that reads
// from the network needs to be root. The ports are open by now.
func becomeOwner(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	uid, gid := int(st.Uid), int(st.Gid)
	switch {
	case os.Geteuid() == uid:
		if uid == 0 {
			log.Warn("running as root: better give the data directory to a user of its own", "path", dir)
		}
		return nil
	case os.Geteuid() != 0 && unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) == nil:
		log.Warn("the data belongs to another user", "path", dir, "uid", uid) // as on a shared volume
		return nil
	case os.Geteuid() != 0:
		return fmt.Errorf("%s belongs to user %d, and buzon runs as user %d: run it as that user, or change the owner of everything there", dir, uid, os.Geteuid())
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups([]int{gid}) },
		func() error { return syscall.Setgid(gid) },
		func() error { return syscall.Setuid(uid) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%s belongs to user %d, and root cannot become that user here: %w; run buzon as that user", dir, uid, err)
		}
	}
	log.Info("went on as the owner of the data", "path", dir, "uid", uid, "gid", gid)
	return nil
}
