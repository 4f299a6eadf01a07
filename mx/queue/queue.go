// Package queue keeps outgoing messages on disk until the hosts of their
// recipients have taken them or refused them, or their time is up. It has the
// spool, the retry schedule and the notices that go back to senders. How a
// message reaches a host it does not know: one attempt is the work of a Sender.
//
// docs/queue.md shows the files and lists their legal states.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// A Sender makes one attempt to hand a message to recipients of one domain.
// It returns a Result for each of them and never retries: the queue does that.
// A Result with an Err means that no host has answered; its Reply, if there is
// one, are the Sender's words for that. It must be safe for concurrent use,
// must not keep msg after it returns, and gives up when ctx ends; the results
// then say what is known. env.ID is the queue id, for the log.
type Sender interface {
	Send(ctx context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result
}

// A Notifier puts a notice into the mailbox of a sender who is ours. It
// returns nil once the notice is durable there. A *smtp.Reply that is
// permanent means that this can never be done; any other error is tried again.
// It must be safe for concurrent use.
type Notifier interface {
	Notify(ctx context.Context, to smtp.Address, msg io.ReaderAt, size int64) error
}

// Config is what a Queue needs. Dir, Sender and Hostname must be given.
type Config struct {
	Dir      string // the spool; made where it does not exist
	Sender   Sender
	Hostname string // our name in notices

	// Notices to addresses in a LocalDomain go to the Notifier. Without
	// either of the two every notice is sent like any other message.
	Notifier    Notifier
	LocalDomain func(domain string) bool

	Schedule Schedule
	Limits   Limits
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: slog.Default()
}

// Limits bound what the queue does at once. A zero field has the default.
type Limits struct {
	Attempts       int           // at once; 20
	PerDestination int           // of these, to one domain; 5
	AttemptTime    time.Duration // of one attempt; 1 h (RFC 5321 4.5.3.2 allows each step minutes)
	Grace          time.Duration // for the attempts in flight when Run is to end; 20 s
	Segment        int           // bytes of a file of the journal; 4 MiB
}

// withDefaults fills the fields that are zero.
func (l Limits) withDefaults() Limits {
	orDefault(&l.Attempts, 20)
	orDefault(&l.PerDestination, 5)
	orDefault(&l.AttemptTime, time.Hour)
	orDefault(&l.Grace, 20*time.Second)
	orDefault(&l.Segment, segmentSize)
	return l
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// A Queue is the spool and everything that happens to it. It is safe for
// concurrent use. One process at a time may have a spool open; the caller sees
// to that with a lock on the data directory.
type Queue struct {
	cfg   Config // with its defaults
	now   func() time.Time
	log   *slog.Logger
	spool *spool
	ids   ids
	sched *scheduler
	disk  func() (free durable.Space, err error)

	debts     []*entry // that Open found with notices to be made; Run's
	clockless bool     // Run has seen that the clock is not set

	attempts sync.WaitGroup
	running  atomic.Bool   // Run runs
	wake     chan struct{} // cap 1: there may be something to start
}

// maxRecipients bounds one message: what submission allows and room to spare.
const maxRecipients = 1000

// Open reads the spool at cfg.Dir. What is damaged or foreign there is put
// aside into corrupt/ and logged. Nothing is sent before Run.
func Open(cfg Config) (*Queue, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	root, err := durable.OpenDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	parent, err := durable.OpenDir(filepath.Dir(cfg.Dir))
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	defer parent.Close()
	if err := parent.Sync(); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	return openIn(root, cfg)
}

// openIn is Open for a spool on any file system; it takes root over.
func openIn(root durable.Dir, cfg Config) (*Queue, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Schedule = cfg.Schedule.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	q := &Queue{
		cfg: cfg, now: cfg.Now, log: cfg.Log,
		ids:   ids{now: cfg.Now},
		sched: newScheduler(cfg.Limits, cfg.Schedule),
		disk:  func() (durable.Space, error) { return durable.SpaceAt(cfg.Dir) },
		wake:  make(chan struct{}, 1),
	}
	var err error
	if q.spool, err = openSpool(root, int64(cfg.Limits.Segment), cfg.Log); err != nil {
		root.Close()
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := q.load(); err != nil {
		q.spool.close()
		return nil, fmt.Errorf("read spool: %w", err)
	}
	return q, nil
}

// Close gives the spool's directories back. Run must have returned.
func (q *Queue) Close() error { return q.spool.close() }

// Submit takes a message over: when it returns an id, the message and its
// envelope are on stable storage. Recipients named twice count once. Errors
// carry a *smtp.Reply where there is something to tell the client: DiskFull,
// or whatever reading msg ended with.
func (q *Queue) Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (id string, err error) {
	env.To = distinct(env.To)
	if err := checkEnvelope(env); err != nil {
		return "", fmt.Errorf("queue message: %w", err)
	}
	if err := q.checkSpace(env.Size); err != nil {
		return "", fmt.Errorf("queue message: %w", err)
	}
	id = q.ids.next(q.sched.has)
	size, err := q.put(ctx, id, env, msg)
	if err != nil {
		return "", fmt.Errorf("queue message: %w", err)
	}
	q.log.Info("queued", "id", id, "from", env.From.String(), "to", env.To[0].Address.String(),
		"recipients", len(env.To), "size", size)
	return id, nil
}

// put writes a new entry and schedules its first attempt.
func (q *Queue) put(ctx context.Context, id string, env smtp.Envelope, msg io.Reader) (size int64, err error) {
	h := head{Queued: stamp(q.now()), Envelope: env}
	if !env.NotBefore.IsZero() { // its time in the queue begins then
		h.Envelope.NotBefore = stamp(env.NotBefore)
		if h.Envelope.NotBefore.After(h.Queued) {
			h.Queued = h.Envelope.NotBefore
		}
	}
	if size, err = q.spool.accept(ctx, id, h, msg); err != nil {
		if durable.IsFull(err) {
			err = fmt.Errorf("%w: %w", smtp.DiskFull, err)
		}
		return 0, err
	}
	q.schedule(newEntry(id, h.Queued), newState(h), q.now())
	return size, nil
}

// schedule makes the entry known to the scheduler, once it is durable.
func (q *Queue) schedule(e *entry, st *state, now time.Time) {
	q.sched.add(e, st, now)
	q.poke()
}

// poke makes Run look for something to start.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// errEnvelope is wrapped by what checkEnvelope finds: a bug of the caller.
var errEnvelope = errors.New("bad envelope")

func checkEnvelope(env smtp.Envelope) error {
	if len(env.To) == 0 {
		return fmt.Errorf("%w: no recipient", errEnvelope)
	}
	if len(env.To) > maxRecipients {
		return fmt.Errorf("%w: %d recipients", errEnvelope, len(env.To))
	}
	for _, r := range env.To {
		if r.Address.Domain == "" {
			return fmt.Errorf("%w: recipient %q has no domain", errEnvelope, r.Address.String())
		}
	}
	return nil
}

// distinct returns the recipients without repetitions, the first one counts.
func distinct(to []smtp.Recipient) []smtp.Recipient {
	seen := make(map[smtp.Address]bool, len(to))
	out := make([]smtp.Recipient, 0, len(to))
	for _, r := range to {
		if !seen[r.Address] {
			seen[r.Address] = true
			out = append(out, r)
		}
	}
	return out
}
