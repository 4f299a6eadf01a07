package imapd

import "time"

// An aside is a read from the client that another goroutine does, while the session's own one may
// write.
type aside struct {
	done     chan struct{}
	finished bool
	text     []byte // of a line
	err      error
}

// readAside begins to read; the deadline is the session's. Neither goroutine holds a buffer
// meanwhile.
func (s *session) readAside(read func() ([]byte, error)) *aside {
	s.dec.Release()
	flush := s.dec.BeforeRead
	s.dec.BeforeRead = s.armRead // the encoder is not the reader's
	a := &aside{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.text, a.err = read()
		s.dec.BeforeRead = flush
	}()
	return a
}

// watch tells the news until the client has said something. When it fails, the read is over as
// well.
func (s *session) watch(a *aside, news <-chan struct{}, tell func() error, keepAlive bool) error {
	err := s.tellUntil(a, news, tell, keepAlive)
	if !a.finished {
		s.kick("the session has failed")
		<-a.done
	}
	if err == nil {
		err = a.err
	}
	return err
}

func (s *session) tellUntil(a *aside, news <-chan struct{}, tell func() error, keepAlive bool) error {
	var alive <-chan time.Time
	if keepAlive {
		t := time.NewTicker(s.srv.cfg.KeepAlive)
		defer t.Stop()
		alive = t.C
	}
	for {
		select {
		case <-a.done:
			a.finished = true
			return nil
		case <-news:
			if err := tell(); fatal(err) {
				return err
			} else if err != nil {
				s.log.Error("news", "user", string(s.account.ID), "err", err)
			}
		case <-s.annotationWake():
			s.tellAnnotations()
		case <-alive:
			// Keeps the state in NATs, and finds out about clients that are gone.
			s.enc.Raw("* OK Still here\r\n")
		}
		if err := s.enc.Flush(); err != nil {
			return err
		}
	}
}
