package dns

import (
	"context"
	"errors"
	"sync/atomic"
)

// errNotInMemory is what a question comes to that may not be asked.
var errNotInMemory = errors.New("not in memory")

type memoryKey struct{}

// FromMemory returns a context under which nothing is asked: what is not remembered
// is trouble. missed reports whether there was any such question. Whoever has
// several checks to make need not start a goroutine for one that would not wait.
func FromMemory(ctx context.Context) (_ context.Context, missed func() bool) {
	m := new(atomic.Bool)
	return context.WithValue(ctx, memoryKey{}, m), m.Load
}

// onlyMemory reports that a question under ctx must not be asked, and notes that
// there was one.
func onlyMemory(ctx context.Context) bool {
	m, ok := ctx.Value(memoryKey{}).(*atomic.Bool)
	if ok {
		m.Store(true)
	}
	return ok
}
