package maildir

import (
	"testing"
	"time"
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
