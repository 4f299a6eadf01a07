// Package e2e_test runs the real program against real clients and servers. Each
// file is named after the client it uses. Everything happens on loopback, below
// temporary directories, on ports that were free a moment ago.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// buzon is the program under test: BUZON_BIN, or else built from this tree.
var buzon string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if buzon = os.Getenv("BUZON_BIN"); buzon != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "buzon-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // some hosts run as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	buzon = filepath.Join(dir, "buzon")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", buzon, "buzon/cmd/buzon")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program under test: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
