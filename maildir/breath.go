package maildir

import (
	"runtime"
	"time"
)

// A breath is for who makes system calls without end, one for each of many files.
// The scheduler takes him for stuck in one of them when he did nothing else for 10 ms,
// and looks after him every 20 µs from then on: that costs a tenth of what he does.
type breath struct {
	calls int
	last  time.Time
}

const (
	breathTime  = 4 * time.Millisecond
	breathCalls = 8 // between two looks at the clock
)

// take is called before each system call.
func (b *breath) take() {
	if b.calls++; b.calls%breathCalls != 0 {
		return
	}
	if now := time.Now(); now.Sub(b.last) > breathTime {
		runtime.Gosched()
		b.last = now
	}
}
