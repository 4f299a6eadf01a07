package daily

import (
	"context"
	"hash/fnv"
	"log/slog"
	"time"
)

// Spread is over how many hours after midnight reports leave, so that nobody
// gets those of all hosts at once (RFC 8460 4.1).
const Spread = 4 * time.Hour

const (
	checkPeriod = 10 * time.Minute
	retryPeriod = time.Hour // for a domain that could not be told
)

// A Teller tells a domain of its figures of a day. An error means that it can
// be tried again later; what will never work is its own to log.
type Teller[T any] func(ctx context.Context, day Day, domain string, figures *T) error

// Run saves what is counted, and tells of each day when it is over, until ctx
// ends. from is who tells: with it and the domain the hour of a report varies.
func (b *Book[T]) Run(ctx context.Context, from string, log *slog.Logger, tell Teller[T]) error {
	tick := time.NewTicker(checkPeriod)
	defer tick.Stop()
	failed := make(map[page]time.Time)
	for {
		select {
		case <-ctx.Done():
			return b.Save()
		case <-tick.C:
		}
		b.tell(ctx, from, failed, log, tell)
		if err := b.Save(); err != nil {
			log.Error("figures for reports not written", "err", err)
		}
	}
}

// Tell tells of all days that are over, whatever the hour.
func (b *Book[T]) Tell(ctx context.Context, log *slog.Logger, tell Teller[T]) {
	b.tell(ctx, "", nil, log, tell)
}

// tell tells those whose time has come; failed has when it last failed, nil to
// wait for nothing. The figures of days that are over do not change any more.
func (b *Book[T]) tell(ctx context.Context, from string, failed map[page]time.Time, log *slog.Logger, tell Teller[T]) {
	for _, p := range b.over() {
		now := b.cfg.Now()
		if failed != nil && (now.Before(due(p, from)) || now.Sub(failed[p]) < retryPeriod) {
			continue
		}
		b.mu.Lock()
		figures := b.pages[p]
		b.mu.Unlock()
		err := tell(ctx, p.Day, p.Domain, figures)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Warn("report not sent, tried again later", "domain", p.Domain, "day", string(p.Day), "err", err)
			if failed != nil {
				failed[p] = now
			}
			continue
		}
		delete(failed, p)
		b.mu.Lock()
		b.tear(p)
		b.mu.Unlock()
	}
}

// due is when a domain is told of a day.
func due(p page, from string) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(from + " " + p.Domain)) // a hash takes everything
	return p.Day.Start().Add(24*time.Hour + time.Duration(h.Sum64()%uint64(Spread)))
}
