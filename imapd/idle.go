package imapd

import (
	"strings"
	"time"
)

// idle is IDLE (RFC 9051 6.3.13, RFC 2177). Every bit of news goes out as soon as the store has it. One goroutine waits for the client's DONE,
// this one for the store; neither holds a buffer meanwhile.
func (s *session) idle(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	var news <-chan struct{}
	if s.view != nil {
		// In this order, or a message could come between: subscribe, look, then wait.
		sub := s.view.box.Subscribe()
		defer sub.Close()
		news = sub.C
		if _, err := s.view.box.Sync(s.ctx); err != nil {
			if err := s.mailboxLost(err); err != nil {
				return err
			}
		}
	}
	s.enc.Raw("+ idling\r\n")
	if s.view != nil {
		if err := s.sync(syncOptions{expunge: true}); err != nil {
			return err
		}
	}
	if err := s.enc.Flush(); err != nil {
		return err
	}
	line := s.readAside()
	err := s.watch(news, line)
	if err != nil {
		s.interrupt()
		if !line.done {
			<-line.c
		}
		return err
	}
	if line.err != nil {
		return line.err
	}
	if !strings.EqualFold(strings.TrimSpace(string(line.text)), "DONE") {
		return bad("Expected DONE")
	}
	return nil
}

// An asideLine is a line of the client that another goroutine waits for.
type asideLine struct {
	c    chan struct{}
	done bool
	text []byte
	err  error
}

// readAside waits for a line while this goroutine writes.
func (s *session) readAside() *asideLine {
	s.deadline = time.Now().Add(s.srv.cfg.IdleTimeout)
	s.dec.Release()
	flush := s.dec.BeforeRead
	s.dec.BeforeRead = s.armRead // the encoder is not the reader's
	l := &asideLine{c: make(chan struct{})}
	go func() {
		defer close(l.c)
		l.text, l.err = s.dec.Line(64)
		s.dec.BeforeRead = flush
	}()
	return l
}

// watch tells the news until the client's line is there.
func (s *session) watch(news <-chan struct{}, line *asideLine) error {
	alive := time.NewTicker(s.srv.cfg.KeepAlive)
	defer alive.Stop()
	for {
		select {
		case <-line.c:
			line.done = true
			return nil
		case <-news:
			if err := s.newsWhileIdle(); err != nil {
				return err
			}
		case <-alive.C:
			// Keeps the state in NATs, and finds out about clients that are gone.
			s.enc.Raw("* OK Still here\r\n")
		}
		if err := s.enc.Flush(); err != nil {
			return err
		}
	}
}

func (s *session) newsWhileIdle() error {
	if _, err := s.view.box.Sync(s.ctx); err != nil {
		return s.mailboxLost(err)
	}
	return s.sync(syncOptions{expunge: true})
}
