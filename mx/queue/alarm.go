package queue

import (
	"container/heap"
	"time"
)

// alarm is a time at which a job, a destination or an entry needs attention:
// exactly one of them is set. It lives inside of it.
type alarm struct {
	at    time.Time
	index int // in the heap, -1: not set
	job   *job
	dest  *destination
	entry *entry
}

// alarms are the alarms that are set, the first one on top.
type alarms struct{ heap alarmHeap }

// set sets an alarm that is not set, or moves one whose time has changed.
func (s *alarms) set(a *alarm) {
	if a.index >= 0 {
		heap.Fix(&s.heap, a.index)
		return
	}
	heap.Push(&s.heap, a)
}

// stop takes an alarm away; it does nothing to one that is not set.
func (s *alarms) stop(a *alarm) {
	if a.index >= 0 {
		heap.Remove(&s.heap, a.index)
	}
}

// first returns the next alarm, or nil.
func (s *alarms) first() *alarm {
	if len(s.heap) == 0 {
		return nil
	}
	return s.heap[0]
}

type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *alarmHeap) Push(x any) {
	a := x.(*alarm)
	a.index = len(*h)
	*h = append(*h, a)
}

func (h *alarmHeap) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	a.index = -1
	*h = old[:len(old)-1]
	return a
}
