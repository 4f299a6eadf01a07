package maildir

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// TestNamesInOrder: names that are made one after the other sort so, even while the
// clock stands still or goes back.
func TestNamesInOrder(t *testing.T) {
	clock := time.Unix(1e9, 0)
	n := newNamer(func() time.Time { return clock }, "host")
	last := n.base(1, 1)
	for i := range 2000 {
		if i%100 == 0 {
			clock = clock.Add(-time.Millisecond)
		}
		next := n.base(1, 1)
		if nameTime(last).compare(nameTime(next), last, next) >= 0 {
			t.Fatalf("%s does not come before %s", last, next)
		}
		last = next
	}
}

// A file in tmp/ that an earlier process of ours wrote is litter; one of a process
// that lives, of another host, or of another program is not.
func TestAbandoned(t *testing.T) {
	earlier, now := newNamer(time.Now, "host"), newNamer(time.Now, "host")
	dead := child.Command(t, time.Minute, "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	by := func(pid int, random, host string) string {
		return fmt.Sprintf("1700000000.M1P%dQ7R%s.%s", pid, random, host)
	}
	other := strings.Repeat("0", 16)
	for _, test := range []struct {
		name string
		want bool
	}{
		{earlier.unique(), true}, // the same process id, as in a container
		{now.unique(), false},
		{by(dead.Process.Pid, other, "host"), true},
		{by(os.Getppid(), other, "host"), false},
		{by(dead.Process.Pid, other, "elsewhere"), false},
		{by(dead.Process.Pid, other, "host") + ",S=1", false},
		{by(dead.Process.Pid, "0", "host"), false},
		{by(0, other, "host"), false},
		{"1700000000.M1P1.host", false},
		{"x", false},
	} {
		if got := now.abandoned(test.name); got != test.want {
			t.Errorf("abandoned(%q) = %v", test.name, got)
		}
	}
}
