package maildir

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"buzon/internal/message"
	"buzon/maildir/textindex"
)

// Text indexes are completed and merged in the background: one mailbox after the
// other for the whole store, by one goroutine that rests as long as it works, and
// longer where others have to wait for the processor. Threads of low priority would
// not do: the garbage collector waits for them.
type textQueue struct {
	mu      sync.Mutex
	names   []textJob
	running bool
	eager   bool // in tests
}

// textJob is a mailbox whose index may have something to do.
type textJob struct{ user, mailbox string }

// maxTextJobs bounds the mailboxes that wait. One more is searched again some time.
const maxTextJobs = 1000

// KeepTexts has the mailbox's text index completed in the background, where that is
// worth it. It does not wait.
func (m *Mailbox) KeepTexts() {
	s := m.user.store
	if x := m.index.Load(); x == nil || s.ctx.Err() != nil {
		return
	}
	job := textJob{m.user.id, m.Name()}
	q := &s.texts
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, known := range q.names {
		if known == job {
			return
		}
	}
	if len(q.names) >= maxTextJobs {
		return
	}
	q.names = append(q.names, job)
	if !q.running {
		q.running = true
		s.background.Go(s.keepTexts)
	}
}

// keepTexts does what waits, and ends.
func (s *Store) keepTexts() {
	q := &s.texts
	for {
		q.mu.Lock()
		if len(q.names) == 0 || s.ctx.Err() != nil {
			q.running = false
			q.mu.Unlock()
			return
		}
		job := q.names[0]
		q.names = q.names[1:]
		q.mu.Unlock()
		if err := s.keepTextsOf(job); err != nil && s.ctx.Err() == nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrClosed) {
			s.log.Warn("text index is not complete", "user", job.user, "mailbox", job.mailbox, "err", err)
		}
	}
}

func (s *Store) keepTextsOf(job textJob) error {
	u, err := s.User(s.ctx, job.user)
	if err != nil {
		return err
	}
	defer u.Release()
	m, err := u.Open(s.ctx, job.mailbox)
	if err != nil {
		return err
	}
	defer m.Close()
	x := m.index.Load()
	if x == nil {
		return nil
	}
	w := &textWorker{m: m, files: &x.texts, pace: pace{ctx: s.ctx, eager: s.texts.eager}}
	if err := w.complete(); err != nil {
		return err
	}
	for {
		some := x.texts.mergeable(m.State())
		if some == nil {
			return nil
		}
		if err := x.texts.merge(some, w.pace.rest); err != nil {
			return err
		}
		if slices.Contains(x.texts.open(), some[0]) {
			return nil // not now
		}
	}
}

// textWorker completes the index of a mailbox.
type textWorker struct {
	m     *Mailbox
	files *textFiles
	pace  pace
}

// missingTexts are the messages that the index does not know.
func (t *textFiles) missingTexts(s *State) (uids []UID) {
	segments := t.open()
next:
	for _, uid := range s.UIDs() {
		for _, x := range segments {
			if _, ok := x.Number(uint32(uid)); ok {
				continue next
			}
		}
		uids = append(uids, uid)
	}
	return uids
}

// complete indexes the messages that no segment has. One that cannot be read is left
// out, and read by each search.
func (w *textWorker) complete() error {
	s := w.m.State()
	missing := w.files.missingTexts(s)
	if len(missing) < TextWorth {
		return nil
	}
	g := &TextGatherer{files: w.files, validity: s.validity, builder: &textindex.Builder{}, known: map[UID]bool{}}
	r := g.Reader()
	for _, uid := range missing {
		if err := w.pace.rest(); err != nil {
			return err
		}
		if w.m.deleted.Load() || w.m.State().validity != s.validity {
			return nil
		}
		if err := w.readMessage(r, uid); err != nil && !errors.Is(err, ErrExpunged) && !errors.Is(err, ErrUnreadable) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	if g.builder.Len() > 0 {
		g.write(g.builder)
	}
	return nil
}

func (w *textWorker) readMessage(r *TextReader, uid UID) error {
	f, err := w.m.OpenMessage(w.pace.ctx, uid)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := message.Parse(f, f.Size())
	if err != nil {
		return err
	}
	if err := r.read(root, f); err != nil {
		return err
	}
	r.gather.add(uid, r.collector.Grams())
	return nil
}

// pace lets work take at most half of one processor, and less where it is scarce.
type pace struct {
	ctx   context.Context
	eager bool      // never rests: tests do not wait
	since time.Time // the work that was not rested for
}

const (
	workSlice = 2 * time.Millisecond
	// lateness is how much too late a timer fires where others wait for the processor.
	lateness = 2 * time.Millisecond
	longRest = 30 * time.Millisecond
)

// rest is called in between pieces of work of less than workSlice each. The error is
// that of a store that closes.
func (p *pace) rest() error {
	if p.eager {
		return p.ctx.Err()
	}
	now := time.Now()
	if p.since.IsZero() {
		p.since = now
	}
	worked := now.Sub(p.since)
	if worked < workSlice {
		runtime.Gosched()
		return p.ctx.Err()
	}
	if err := p.sleep(worked); err != nil {
		return err
	}
	if time.Since(now)-worked > lateness {
		if err := p.sleep(longRest); err != nil {
			return err
		}
	}
	p.since = time.Now()
	return nil
}

func (p *pace) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
