package imapd

import (
	"io"
	"time"

	"buzon/imapd/wire"
)

// progressInterval is how often a long command says that it goes on (RFC 9585 3 asks for no less
// than 10 seconds between two).
const progressInterval = 10 * time.Second

// A progress tells the client of a command that takes its time (RFC 9585).
type progress struct {
	s     *session
	tag   string
	total int
	next  time.Time
}

func newProgress(s *session, r *request, total int) *progress {
	return &progress{s: s, tag: r.tag, total: total, next: time.Now().Add(progressInterval)}
}

// at reports that done of the total are done. It is asked now and then, and returns an error when
// nobody waits for the result any more.
func (p *progress) at(done int) error {
	if err := p.s.ctx.Err(); err != nil {
		return err
	}
	if p.s.stream.gone() {
		return &wire.StreamError{Err: io.ErrUnexpectedEOF}
	}
	if time.Now().Before(p.next) {
		return nil
	}
	p.next = time.Now().Add(progressInterval)
	p.s.enc.Raw("* OK [INPROGRESS (").String(p.tag).SP().Num(uint64(done)).SP().Num(uint64(p.total)).Raw(")] Still at it\r\n")
	return p.s.enc.Flush()
}
