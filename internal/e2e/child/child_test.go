package child_test

import (
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// A program that hangs, and has started another one that holds its output open,
// ends at its time.
func TestCommand(t *testing.T) {
	start := time.Now()
	out, err := child.Command(t, 300*time.Millisecond, "sh", "-c", "echo hola; sleep 300 & sleep 300").CombinedOutput()
	if err == nil || string(out) != "hola\n" {
		t.Errorf("%q, %v", out, err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// Nobody waits for a program that left the group with the output in its hands.
func TestCommandAbandoned(t *testing.T) {
	start := time.Now()
	child.Command(t, 200*time.Millisecond, "sh", "-c", "setsid sleep 20 & sleep 300").CombinedOutput()
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
}
