package mx

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// What one connection carries at most, and how long it waits for more. Hosts
// do not like connections that do nothing, nor such as never end.
const (
	idleTime     = 5 * time.Second // Postfix: 2 s; a person writes no faster than this
	maxPerHost   = 4               // sessions that wait for one host
	maxIdle      = 50              // sessions that wait in all
	maxMessages  = 100             // over one connection (Postfix smtp_connection_reuse_count_limit)
	maxReuseTime = 5 * time.Minute // after its beginning (Postfix smtp_connection_reuse_time_limit)
)

// place is what a session must have in common with a hop to be of use for it:
// the same host at the same address, reached under the same policy.
type place struct {
	host      string
	remote    netip.AddrPort
	smarthost *Smarthost
	policy    string
}

func (h hop) place(addr netip.Addr) place {
	return place{host: h.host, remote: netip.AddrPortFrom(addr, h.port), smarthost: h.smarthost, policy: h.policy.key()}
}

// pool keeps sessions for a moment after their attempt: the next message for
// the same host need not begin with connecting, EHLO and TLS.
type pool struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	waiting map[place][]*idleSession
	count   int
}

// idleSession is a session that waits for work.
type idleSession struct {
	*session
	timer *time.Timer
}

// put lets the session wait, and calls end when nobody has taken it in time.
// It reports false where there is no room: the session is the caller's still.
// end is called in a state in which the pool is not closed yet.
func (p *pool) put(at place, s *session, end func(*session)) bool {
	if s.broken || s.messages >= maxMessages || time.Since(s.began) > maxReuseTime || !s.unbind() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxIdle || len(p.waiting[at]) >= maxPerHost {
		return false
	}
	if p.waiting == nil {
		p.waiting = make(map[place][]*idleSession)
	}
	i := &idleSession{session: s}
	i.timer = time.AfterFunc(idleTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.remove(at, i) {
			end(s)
		}
	})
	p.waiting[at] = append(p.waiting[at], i)
	p.count++
	return true
}

// take returns the session that waits for the least time, or nil. Its every
// wait ends with ctx from now on.
func (p *pool) take(ctx context.Context, at place) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.waiting[at]
	if len(list) == 0 {
		return nil
	}
	i := list[len(list)-1]
	i.timer.Stop()
	p.remove(at, i)
	i.bind(ctx)
	return i.session
}

// has reports whether a session waits there.
func (p *pool) has(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting[at]) > 0
}

// warmth is how many sessions wait for a host, whatever its address.
func (p *pool) warmth(host string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == 0 {
		return 0
	}
	for at, list := range p.waiting {
		if at.host == host {
			n += len(list)
		}
	}
	return n
}

// remove takes i out; false says that it was not in any more.
func (p *pool) remove(at place, i *idleSession) bool {
	list := p.waiting[at]
	for n := range list {
		if list[n] != i {
			continue
		}
		if list = append(list[:n], list[n+1:]...); len(list) == 0 {
			delete(p.waiting, at)
		} else {
			p.waiting[at] = list
		}
		p.count--
		return true
	}
	return false
}

// close calls end for all that wait, and lets none in any more.
func (p *pool) close(end func(*session)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.waiting {
		for _, i := range list {
			i.timer.Stop()
			end(i.session)
		}
	}
	p.waiting, p.count = nil, 0
}
