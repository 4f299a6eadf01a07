package imapd

import (
	"errors"
	"os"
	"sync"
	"time"
)

// A session waits for its client in one place, await, and tells news there if the client wants them:
// one goroutine does both. Whoever has news rings the session's bell, which ends the read that waits;
// the read begins anew once the news is told, since nothing was read (crypto/tls goes on after a
// time-out as if nothing had been).
//
// What a session costs while it waits is what its goroutine's stack has grown to. So one that has
// waited for restAfter ends its work and waits on, in rest, on the stack of a goroutine that has
// never done anything else. All that happens there is that it ends, and a goroutine for work begins.

// restAfter is how long a session waits before it rests. Most clients that come to more than that have
// said what they had to say.
const restAfter = time.Second

// errWoken ends a wait that is not over: something else is to be done first.
var errWoken = errors.New("woken from waiting")

// waiting says how a session waits for its client.
type waiting uint8

const (
	notWaiting waiting = iota // it reads a command
	attentive                 // it tells news
	resting                   // it must be woken for whatever there is to do
)

// A bell is rung by whoever has news for a session.
type bell struct {
	mu     sync.Mutex
	rung   bool
	listen func() // ends the wait under way; nil: the session is at work, and will look by itself
}

// ring may be called by any goroutine, and does not block.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rung = true
	if b.listen != nil {
		b.listen()
	}
}

// take says whether the bell was rung since it was taken before.
func (b *bell) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	rung := b.rung
	b.rung = false
	return rung
}

// await waits for the first byte of a command, or of the line that ends IDLE. errWoken: there is
// nothing to do for now.
func (s *session) await() error {
	if n := s.notifier; n != nil && n.view != s.view {
		n.forward(s.view, s.bell.ring)
		s.bell.ring() // what came in between
	}
	s.restAt = time.Now().Add(restAfter)
	err := s.wait(attentive)
	if err == nil || errors.Is(err, errWoken) {
		return err
	}
	return s.bye(err)
}

// rest is await for a session that has nothing to do. It is over when there is.
func (s *session) rest() {
	s.srv.tidier.calmed()
	_ = s.wait(resting) // await will see what there is
}

func (s *session) wait(how waiting) error {
	s.dec.Release()
	s.waits = how
	err := s.dec.Wait()
	s.disarm()
	return err
}

// beforeRead sends what is buffered and sets the deadline for the read that follows.
func (s *session) beforeRead() error {
	if err := s.enc.Flush(); err != nil {
		return err
	}
	return s.armRead()
}

// armRead sets the deadline of the next read.
func (s *session) armRead() error {
	until := s.deadline
	switch s.waits {
	case attentive:
		if s.mayRest() {
			until = earlier(until, s.restAt)
		}
		fallthrough
	case resting:
		if s.idling != nil {
			until = earlier(until, s.idling.alive)
		}
		s.bell.mu.Lock()
		defer s.bell.mu.Unlock()
		if s.hearsNews() {
			s.bell.listen = s.interrupt
			if s.bell.rung {
				until = time.Unix(1, 0)
			}
		}
	}
	// In this order, or the deadline that interrupt sets could be lost.
	if err := s.stream.SetReadDeadline(until); err != nil {
		return err
	}
	if _, leave := s.leaving(); leave {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// disarm ends the wait: no bell disturbs the reads that follow.
func (s *session) disarm() {
	s.waits = notWaiting
	s.bell.mu.Lock()
	defer s.bell.mu.Unlock()
	s.bell.listen = nil
}

// hearsNews says whether the client is told of news while it says nothing.
func (s *session) hearsNews() bool { return s.idling != nil || s.notifier != nil }

// mayRest: half a line that ends IDLE is on the stack.
func (s *session) mayRest() bool { return !s.inLine }

// timedOut is called when a read has come to its deadline without a byte. It does what that was for,
// and returns nil to read on.
func (s *session) timedOut() error {
	if s.waits == notWaiting {
		return os.ErrDeadlineExceeded
	}
	now := time.Now()
	if _, leave := s.leaving(); leave || !now.Before(s.deadline) {
		return os.ErrDeadlineExceeded
	}
	if s.waits == resting {
		return errWoken
	}
	if s.hearsNews() && s.bell.take() {
		if err := s.tellNews(); err != nil {
			return err
		}
	}
	if s.idling != nil && !now.Before(s.idling.alive) {
		// Keeps the state in NATs, and finds out about clients that are gone.
		s.enc.Raw("* OK Still here\r\n")
		s.idling.alive = now.Add(s.srv.cfg.KeepAlive)
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	if s.mayRest() && !now.Before(s.restAt) {
		return errWoken
	}
	return s.armRead()
}

// tellNews tells whatever there is. What fails of it, and is no reason to end the session, is logged.
func (s *session) tellNews() error {
	err := s.tellNotify()
	if err == nil && s.idling != nil {
		err = s.tellIdle()
	}
	s.tellAnnotations()
	if err != nil && !fatal(err) {
		s.log.Error("news", "user", string(s.account.ID), "err", err)
		return nil
	}
	return err
}
