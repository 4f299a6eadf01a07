package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"buzon/internal/smtp"
)

// notify makes the notices that the entry owes: one for each recipient that
// failed, and one for those of the settlement's domain who wait too long. It
// writes that they are made, and only then are they scheduled.
func (q *Queue) notify(s *settlement, l *letter, st *state, age time.Duration) error {
	var made []string
	var late []int
	for i := range st.Recipients {
		switch r := &st.Recipients[i]; {
		case r.Status == Failed:
			id := s.entry.id + failureMark + strconv.Itoa(i)
			if err := q.makeNotice(id, actionFailed, l, st, []int{i}); err != nil {
				return err
			}
			r.Status = Bounced
			made = append(made, id)
		case r.Status == Relayed:
			id := s.entry.id + successMark + strconv.Itoa(i)
			if err := q.makeNotice(id, actionRelayed, l, st, []int{i}); err != nil {
				return err
			}
			r.Status = Delivered
			made = append(made, id)
		case r.Status == Waiting && !r.Warned && r.Address.Domain == s.domain && q.waitsLong(l.Envelope, q.now(), age) && !s.entry.notice &&
			wantsNotice(l.Envelope.From, l.Envelope.To[i].Notify)&smtp.NotifyDelay != 0:
			r.Warned = true
			late = append(late, i)
		}
	}
	if len(late) > 0 {
		id := s.entry.id + delayMark + strconv.Itoa(late[0])
		if err := q.makeNotice(id, actionDelayed, l, st, late); err != nil {
			return err
		}
		made = append(made, id)
	}
	if len(made) == 0 {
		return nil
	}
	if err := q.commit(s.entry, st); err != nil {
		return err
	}
	for _, id := range made {
		if err := q.sendNotice(id); err != nil {
			return err
		}
	}
	return nil
}

// makeNotice puts a notice about the recipients into the spool, unless it is
// there already.
func (q *Queue) makeNotice(id, action string, l *letter, st *state, about []int) error {
	if q.spool.exists(id) {
		return nil
	}
	header, err := readHeader(l.Body)
	if err != nil {
		return err
	}
	r := &report{
		id: id, action: action, hostname: q.cfg.Hostname, now: q.now(),
		envelope: l.Envelope, queued: l.Queued, header: header,
		until: l.Queued.Add(q.cfg.Schedule.GiveUpAfter),
	}
	if action == actionFailed && l.Envelope.Return == "FULL" {
		if r.whole, err = wholeMessage(l.Body); err != nil {
			return err
		}
	}
	for _, i := range about {
		r.about = append(r.about, subject{recipient: st.Recipients[i], original: l.Envelope.To[i].Original})
	}
	text := r.format()
	h := head{Queued: stamp(r.now), Envelope: smtp.Envelope{
		To:       []smtp.Recipient{{Address: l.Envelope.From}},
		UTF8:     l.Envelope.From.NeedsUTF8(),
		EightBit: !isASCII(text),
	}}
	// The attempt's context may have ended; the notice is made all the same.
	if _, err := q.spool.create(context.Background(), id, h, bytes.NewReader(text)); err != nil {
		return fmt.Errorf("make notice: %w", err)
	}
	return nil
}

// Confirm tells the sender that the recipients of env who asked for that have
// got a message which never came into the queue, because it was delivered
// here; or, when expanded, that it went to those whom their addresses stand for
// (RFC 3461 5.2.7.2). It does nothing where nobody asked.
func (q *Queue) Confirm(_ context.Context, env smtp.Envelope, expanded bool, msg io.ReaderAt) error {
	action, words := actionDelivered, "delivered"
	if expanded {
		action, words = actionExpanded, "expanded"
	}
	now := stamp(q.now())
	st := newState(head{Queued: now, Envelope: env})
	var about []int
	for i, to := range env.To {
		if wantsNotice(env.From, to.Notify)&smtp.NotifySuccess != 0 {
			about = append(about, i)
		}
		st.Recipients[i].Last = outcome{At: now, Host: q.cfg.Hostname, Reply: smtp.NewReply(250, [3]int{2, 1, 5}, words)}
	}
	if len(about) == 0 {
		return nil
	}
	id := q.ids.next(q.sched.has) + successMark + strconv.Itoa(about[0])
	l := &letter{head: head{Queued: now, Envelope: env}, Body: io.NewSectionReader(msg, 0, maxReturned)}
	if err := q.makeNotice(id, action, l, st, about); err != nil {
		return err
	}
	return q.sendNotice(id)
}

// sendNotice schedules a notice that makeNotice has put into the spool.
func (q *Queue) sendNotice(id string) error {
	if q.sched.has(id) {
		return nil
	}
	l, err := q.spool.open(id)
	if err != nil {
		return fmt.Errorf("open notice: %w", err)
	}
	defer l.Close()
	to := l.Envelope.To[0].Address
	q.log.Info("queued", "id", id, "from", "", "to", to.String(), "recipients", 1, "size", l.Body.Size())
	q.schedule(newEntry(id, l.head.Queued), newState(l.head), q.now())
	return nil
}

// maxReturned is how much of a message's header a notice returns at most, in
// bytes. The body is returned to those only who want it (RET=FULL), and these
// are our own users, at an address of theirs: the others have it, and a forged
// reverse-path must not lead it to people by way of us.
const maxReturned = 32 << 10

// maxWhole is how long a message may be that comes back whole, in bytes. Of a
// longer one the header comes back, as RFC 3461 6.2 allows.
const maxWhole = 1 << 20

// wholeMessage returns a message that can stand in a notice as it is; nil where
// it is too long, or has lines that no encoding is allowed for.
func wholeMessage(msg *io.SectionReader) ([]byte, error) {
	if msg.Size() > maxWhole {
		return nil, nil
	}
	text := make([]byte, msg.Size())
	if _, err := msg.ReadAt(text, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read message: %w", err)
	}
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > maxLineLength || bytes.ContainsAny(line, "\r\n\x00") {
			return nil, nil
		}
	}
	return text, nil
}

// readHeader returns the header of a message, cut to whole lines.
func readHeader(msg io.ReaderAt) ([]byte, error) {
	buf := make([]byte, maxReturned)
	n, err := msg.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read header: %w", err)
	}
	buf = buf[:n]
	var out []byte
	for len(buf) > 0 {
		line, rest, whole := bytes.Cut(buf, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || !whole && n == maxReturned {
			break
		}
		out = append(append(out, line...), '\r', '\n')
		buf = rest
	}
	return out, nil
}
