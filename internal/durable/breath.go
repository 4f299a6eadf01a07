package durable

import (
	"runtime"
	"time"
)

// A Breath is for who makes system calls without end, some for each of many files.
// The scheduler takes him for stuck in one of them when he did nothing else for 10 ms,
// and looks after him every 20 µs from then on: that costs a tenth of what he does.
type Breath struct {
	files int
	last  time.Time
}

const (
	breathTime  = 4 * time.Millisecond
	breathFiles = 8 // between two looks at the clock
)

// Take is called before each file.
func (b *Breath) Take() {
	if b.files++; b.files%breathFiles != 0 {
		return
	}
	if now := time.Now(); now.Sub(b.last) > breathTime {
		runtime.Gosched()
		b.last = now
	}
}
