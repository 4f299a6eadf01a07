package imapd

import (
	"strings"
	"time"
)

// idle is IDLE (RFC 9051 6.3.13, RFC 2177). Every bit of news goes out as soon as the store has it.
func (s *session) idle(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	var news <-chan struct{}
	tell := s.tellIdle
	switch {
	case s.notifier != nil:
		news = s.notifier.wake
		tell = func() error {
			if err := s.tellNotify(); err != nil {
				return err
			}
			return s.tellIdle()
		}
	case s.view != nil:
		// In this order, or a message could come between: subscribe, look, then wait.
		sub := s.view.box.Subscribe()
		defer sub.Close()
		news = sub.C
	}
	s.enc.Raw("+ idling\r\n")
	if err := s.tellIdle(); err != nil {
		return err
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	s.deadline = time.Now().Add(s.srv.cfg.IdleTimeout)
	line := s.readAside(func() ([]byte, error) { return s.dec.Line(64) })
	if err := s.watch(line, news, tell, true); err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(string(line.text)), "DONE") {
		return bad("Expected DONE")
	}
	return nil
}

func (s *session) tellIdle() error {
	if s.view == nil {
		return nil
	}
	if _, err := s.view.box.Sync(s.ctx); err != nil {
		return s.mailboxLost(err)
	}
	return s.sync(syncOptions{expunge: true})
}
