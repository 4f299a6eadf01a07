package queue

import (
	"context"
	"sync"
)

// movers is how many entries leave the journal at once: their fsyncs share what the
// file system does for each.
const movers = 8

// emptyJournal gives files of their own to entries that have lain in the journal for
// too long, or on a part of the disk that fails, until ctx ends.
func (q *Queue) emptyJournal(ctx context.Context) {
	for {
		select {
		case <-q.spool.journal.crowded:
			q.moveAll(ctx, q.spool.journal.waiting())
		case <-ctx.Done():
			return
		}
	}
}

func (q *Queue) moveAll(ctx context.Context, ids []string) {
	line := make(chan string)
	var work sync.WaitGroup
	for range movers {
		work.Go(func() {
			for id := range line {
				q.move(id)
			}
		})
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		line <- id
	}
	close(line)
	work.Wait()
	q.spool.journal.later.ask()
}

func (q *Queue) move(id string) {
	e := q.sched.find(id)
	if e == nil {
		return // it is done, or not yet scheduled: its turn comes with the next
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return
	}
	if err := q.spool.moveOut(id); err != nil {
		q.log.Error("message stays in the journal", "id", id, "err", err)
	}
}
