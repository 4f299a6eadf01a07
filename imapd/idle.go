package imapd

import (
	"strings"
	"time"

	"buzon/maildir"
)

// An idling is an IDLE under way. The session waits as it does for a command, and tells news.
type idling struct {
	request *request
	sub     *maildir.Subscription // nil: no mailbox is selected, or NOTIFY watches it
	alive   time.Time             // when the client is next told that we are still here
}

// idle is IDLE (RFC 9051 6.3.13, RFC 2177). Every bit of news goes out as soon as the store has it.
func (s *session) idle(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	i := &idling{request: r, alive: time.Now().Add(s.srv.cfg.KeepAlive)}
	if s.notifier == nil && s.view != nil {
		// In this order, or a message could come between: subscribe, look, then wait.
		i.sub = s.view.box.Subscribe(s.bell.ring)
	}
	s.idling = i
	s.enc.Raw("+ idling\r\n")
	if err := s.tellIdle(); err != nil {
		s.stopIdle()
		return err
	}
	return errAnswered
}

// endIdle reads the line that ends IDLE, and answers. News are told until the line is whole.
func (s *session) endIdle() error {
	r := s.idling.request
	s.waits, s.inLine = attentive, true
	line, err := s.dec.Line(64)
	s.disarm()
	s.inLine = false
	s.stopIdle()
	if err == nil && !strings.EqualFold(strings.TrimSpace(string(line)), "DONE") {
		err = bad("Expected DONE")
	}
	return s.conclude(r, commands[r.name], err)
}

func (s *session) stopIdle() {
	if i := s.idling; i != nil && i.sub != nil {
		i.sub.Close()
	}
	s.idling = nil
}

func (s *session) tellIdle() error {
	if s.view == nil {
		return nil
	}
	if _, err := s.view.box.Sync(s.ctx); err != nil {
		return s.mailboxLost(err)
	}
	if err := s.sync(syncOptions{expunge: true}); err != nil {
		return err
	}
	s.correctModSeq()
	return nil
}
