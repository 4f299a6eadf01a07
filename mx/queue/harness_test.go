package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-message"

	"buzon/internal/durable"
	"buzon/internal/smtp"
)

// world is everything outside the queue: the hosts that messages go to, the
// mailboxes of local senders, and what the queue logs.
type world struct {
	t *testing.T
	// answer is what a host says to the n-th attempt (from 0) for a recipient;
	// nil: every host takes everything.
	answer func(to smtp.Address, n int) smtp.Result
	// delay is how long an attempt takes.
	delay func(domain string) time.Duration
	// tooLate: an attempt that is told to stop has just succeeded.
	tooLate func(domain string) bool
	// dead reports that the process is to be thought dead: nothing that it
	// does reaches anybody.
	dead func() bool

	mu        sync.Mutex
	tries     map[string]int // by recipient
	times     []time.Time    // of all attempts
	delivered map[string]int // by recipient
	bodies    map[string]string
	notices   []string // whole, as they reached the local sender
	running   map[string]int
	all       int
	maxAll    int
	maxDomain int
	log       bytes.Buffer
}

func newWorld(t *testing.T) *world {
	return &world{t: t, tries: make(map[string]int), delivered: make(map[string]int), bodies: make(map[string]string),
		running: make(map[string]int), dead: func() bool { return false }}
}

func (w *world) Send(ctx context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result {
	domain := env.To[0].Address.Domain
	w.enter(domain)
	defer w.leave(domain)
	if w.delay != nil {
		select {
		case <-time.After(w.delay(domain)):
		case <-ctx.Done():
			if w.tooLate == nil || !w.tooLate(domain) {
				return []smtp.Result{{Recipient: env.To[0].Address, Err: ctx.Err()}}
			}
		}
	}
	body, err := w.read(msg, size)
	if err != nil {
		return []smtp.Result{{Recipient: env.To[0].Address, Err: err}}
	}
	if int64(len(body)) != size || env.Size != size {
		w.t.Errorf("message has %d bytes, told %d and %d", len(body), size, env.Size)
	}
	var out []smtp.Result
	for _, r := range env.To {
		if r.Address.Domain != domain {
			w.t.Errorf("recipients of %s and %s in one attempt", domain, r.Address.Domain)
		}
		out = append(out, w.answerFor(r.Address, string(body)))
	}
	return out
}

// read reads a message; only a dead process may fail at that.
func (w *world) read(msg io.ReaderAt, size int64) ([]byte, error) {
	body, err := io.ReadAll(io.NewSectionReader(msg, 0, size))
	if err != nil && !w.dead() {
		w.t.Errorf("read message: %v", err)
	}
	return body, err
}

func (w *world) answerFor(to smtp.Address, body string) smtp.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead() {
		return smtp.Result{Recipient: to, Err: errors.New("dead")}
	}
	n := w.tries[to.String()]
	w.tries[to.String()]++
	w.times = append(w.times, time.Now())
	r := ok(to)
	if w.answer != nil {
		r = w.answer(to, n)
	}
	r.Recipient = to
	if r.Done() {
		w.delivered[to.String()]++
		w.bodies[to.String()] = body
	}
	return r
}

func (w *world) enter(domain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all++
	w.running[domain]++
	w.maxAll = max(w.maxAll, w.all)
	w.maxDomain = max(w.maxDomain, w.running[domain])
}

func (w *world) leave(domain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	w.running[domain]--
}

func (w *world) Notify(_ context.Context, to smtp.Address, msg io.ReaderAt, size int64) error {
	body, err := w.read(msg, size)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead() {
		return errors.New("dead")
	}
	w.notices = append(w.notices, string(body))
	return nil
}

func (w *world) triesOf(to string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tries[to]
}

func (w *world) copiesOf(to string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.delivered[to]
}

// received returns how many copies everybody has.
func (w *world) received() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.delivered)
}

// noticesOf counts the notices with the action about the recipient.
func (w *world) noticesOf(action, recipient string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.notices {
		if strings.Contains(text, "Action: "+action+"\r\n") && strings.Contains(text, "; "+recipient+"\r\n") {
			n++
		}
	}
	return n
}

func (w *world) Write(p []byte) (int, error) { // of the log
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logText() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// logged counts the log lines with all of the words.
func (w *world) logged(words ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.log.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

func (w *world) config(dir string) Config {
	return Config{
		Dir: dir, Sender: w, Notifier: w, Hostname: "mx.buzon.test",
		LocalDomain: func(d string) bool { return d == "buzon.test" },
		Log:         slog.New(slog.NewTextHandler(w, nil)),
	}
}

func ok(to smtp.Address) smtp.Result {
	return smtp.Result{Recipient: to, Host: "mx." + to.Domain, Reply: smtp.NewReply(250, [3]int{2, 0, 0}, "Ok: taken")}
}

func refused() smtp.Result {
	return smtp.Result{Host: "mx.refusing.test", Reply: smtp.NewReply(550, [3]int{5, 1, 1}, "no such user")}
}

func later() smtp.Result {
	return smtp.Result{Host: "mx.slow.test", Reply: smtp.NewReply(451, [3]int{4, 7, 1}, "greylisted")}
}

func silent() smtp.Result {
	return smtp.Result{Host: "mx.dead.test", Reply: smtp.NewReply(451, [3]int{4, 4, 1}, "No answer from the mail host"),
		Err: errors.New("dial tcp 192.0.2.1:25: i/o timeout")}
}

// runningQueue is a Queue whose Run runs.
type runningQueue struct {
	*Queue
	stop func()
}

// open opens the spool on root (nil: on disk) and starts Run. The test's end,
// or stop, ends both.
func (w *world) open(cfg Config, root durable.Dir) *runningQueue {
	w.t.Helper()
	q := w.openOnly(cfg, root)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	r := &runningQueue{Queue: q}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if err := q.Close(); err != nil {
			w.t.Errorf("Close: %v", err)
		}
	})
	w.t.Cleanup(r.stop)
	return r
}

func (w *world) openOnly(cfg Config, root durable.Dir) *Queue {
	w.t.Helper()
	var q *Queue
	var err error
	if root != nil {
		q, err = openIn(root, cfg)
	} else {
		q, err = Open(cfg)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	q.disk = func() (durable.Space, error) { return durable.Space{Total: 1 << 40, Free: 1 << 39, Inodes: -1}, nil }
	return q
}

func stringsReader(s string) io.Reader { return strings.NewReader(s) }

const text = "From: ana@buzon.test\r\nTo: somebody@far.test\r\nMessage-ID: <1@buzon.test>\r\nSubject: hello\r\n\r\nHello there.\r\n"

func envelope(to ...string) smtp.Envelope {
	env := smtp.Envelope{From: address("ana@buzon.test")}
	for _, s := range to {
		env.To = append(env.To, smtp.Recipient{Address: address(s)})
	}
	return env
}

func address(s string) smtp.Address {
	a, err := smtp.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (w *world) submit(q *Queue, to ...string) string {
	w.t.Helper()
	id, err := q.Submit(context.Background(), envelope(to...), strings.NewReader(text))
	if err != nil {
		w.t.Fatalf("Submit: %v", err)
	}
	return id
}

// memoryDir is a directory in memory where there is one: a process that dies
// leaves the same behind there, and fsync costs nothing.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "buzon-queue-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// files returns the files below dir, and instead of the journal's the entries in them.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if !isSegment(name) {
			names = append(names, name)
			return nil
		}
		text, err := os.ReadFile(path)
		names = append(names, entriesOf(t, text)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// isSegment reports whether a file is one of the journal's.
func isSegment(name string) bool { return strings.HasPrefix(strings.TrimPrefix(name, "/"), "journal/") }

// entriesOf returns the entries that a segment has not done with.
func entriesOf(t *testing.T, text []byte) (ids []string) {
	t.Helper()
	records, gaps, err := new(segment).scan(text)
	if err != nil || len(gaps) > 0 {
		t.Errorf("journal: %v, damaged: %v", err, gaps)
	}
	for _, r := range records {
		if r.letter != recordDone {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// parts parses a notice with go-message and returns its header and its parts'
// types and bodies.
func parts(t *testing.T, notice string) (header message.Header, types, bodies []string) {
	t.Helper()
	m, err := message.Read(strings.NewReader(notice))
	if err != nil {
		t.Fatalf("notice does not parse: %v\n%s", err, notice)
	}
	mr := m.MultipartReader()
	if mr == nil {
		t.Fatalf("notice is not multipart:\n%s", notice)
	}
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			return m.Header, types, bodies
		}
		if err != nil {
			t.Fatalf("notice part: %v\n%s", err, notice)
		}
		body, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatalf("notice part: %v\n%s", err, notice)
		}
		ct, _, _ := p.Header.ContentType()
		types, bodies = append(types, ct), append(bodies, string(body))
	}
}

// inBubble runs fn in a synctest bubble; after the fake time has passed
// everything that was due has happened.
func inBubble(t *testing.T, fn func(t *testing.T)) { synctest.Test(t, fn) }

func pass(d time.Duration) {
	time.Sleep(d) // fake time: this costs none
	synctest.Wait()
}
