package e2e_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestService wants the systemd unit to be understood, and to leave the service
// little that it could do. The threshold is for systemd's own score, of which 0
// is the best and 10 the worst.
func TestService(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	const threshold = 2.5
	// The program is not installed here, which verify may say; a line that it
	// ignores would be a protection that is not there.
	if out, _ := run(t, nil, "systemd-analyze", "verify", "../../deploy/buzon.service"); strings.Contains(out, "ignoring") {
		t.Error(out)
	}
	out, code := run(t, nil, "systemd-analyze", "security", "--offline=true", "../../deploy/buzon.service")
	score := regexp.MustCompile(`Overall exposure level for buzon.service: ([0-9.]+)`).FindStringSubmatch(out)
	if code != 0 || score == nil {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if got, err := strconv.ParseFloat(score[1], 64); err != nil || got > threshold {
		t.Errorf("exposure %s, want at most %v\n%s", score[1], threshold, out)
	}
}
