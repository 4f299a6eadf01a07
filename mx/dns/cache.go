package dns

import (
	"container/list"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// maxCacheBytes bounds the records of all cached answers as they would be on
// the wire, so that answers of 64 KiB cannot fill memory.
const maxCacheBytes = 16 << 20

// cache keeps outcomes until they expire; when it is full the one that was not
// asked for longest goes.
type cache struct {
	max int // entries; none are kept when negative
	now func() time.Time

	mu      sync.Mutex // guards what follows
	entries map[question]*list.Element
	recent  *list.List // of *entry, the last used in front
	bytes   int
}

type entry struct {
	q     question
	out   *outcome
	bytes int
}

func newCache(max int, now func() time.Time) *cache {
	return &cache{max: max, now: now, entries: make(map[question]*list.Element), recent: list.New()}
}

func (c *cache) get(q question) (*outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[q]
	if !ok {
		return nil, false
	}
	e := el.Value.(*entry)
	if !c.now().Before(e.out.expires) {
		c.remove(el)
		return nil, false
	}
	c.recent.MoveToFront(el)
	return e.out, true
}

func (c *cache) put(q question, out *outcome) {
	if c.max < 0 || !c.now().Before(out.expires) {
		return
	}
	e := &entry{q: q, out: out, bytes: len(q.name)}
	for _, rr := range out.records {
		e.bytes += mdns.Len(rr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[q]; ok {
		c.remove(el)
	}
	c.entries[q] = c.recent.PushFront(e)
	c.bytes += e.bytes
	for c.recent.Len() > c.max || c.bytes > maxCacheBytes {
		c.remove(c.recent.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	e := c.recent.Remove(el).(*entry)
	delete(c.entries, e.q)
	c.bytes -= e.bytes
}
