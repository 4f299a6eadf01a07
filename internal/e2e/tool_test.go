package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// patience is how long anything that should happen at once may take on a
// machine that does other things too.
const patience = 30 * time.Second

// need leaves the test out where a program is not installed. On a machine that
// calls itself CI that is a failure.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", program)
		}
		t.Skipf("%s is not installed", program)
	}
}

// run runs a client to its end and returns what it printed on both outputs,
// and its exit code.
func run(t testing.TB, stdin io.Reader, program string, args ...string) (output string, code int) {
	t.Helper()
	cmd := child.Command(t, 2*patience, program, args...)
	cmd.Stdin = stdin
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", program, err)
	}
	if !cmd.ProcessState.Exited() {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// eventually waits until check has nothing to complain about.
func eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(err)
		case <-deadline:
			t.Fatalf("after %v: %v", within, err)
		}
	}
}
