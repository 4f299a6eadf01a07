// Package child runs other programs for tests, in such a way that none of them
// can keep a test from ending: each has a time to end by, a process group of its
// own, and nobody waits for an output that a stranger still holds open.
package child

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// drain is how long the outputs of a program that has ended may stay open: some
// other process may have inherited them.
const drain = 5 * time.Second

// Command is a program that has this long to end. When the time is over, and
// when the test ends, it is killed with all that it started in its process group;
// it does not outlive the test's own process either.
func Command(t testing.TB, within time.Duration, program string, args ...string) *exec.Cmd {
	// Not the test's context: that one is done before the cleanups, in which some
	// programs are asked politely to end.
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	Isolate(cmd)
	cmd.Cancel = func() error {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Logf("%s: no end within %v, so it was killed", filepath.Base(program), within)
		}
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return cmd
}

// Isolate gives a program that the caller ends by himself the rest of what
// Command gives: its process group, its end with ours, and bounded outputs.
func Isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = drain
}
