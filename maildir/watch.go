package maildir

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"buzon/internal/durable"

	"golang.org/x/sys/unix"
)

// A watcher tells mailboxes what happens in their new/ and cur/, through one
// inotify instance for the whole store: a process may have only few.
//
// The kernel queues an event while it still holds the directory's lock, so
// whoever sees a change finds its event already queued. That makes a scan exact:
// watch first, scan, then apply what was queued meanwhile.
//
// The instance stands behind an epoll of its own that tells run of the first event
// only, until run has read everything: in a large STORE the kernel would otherwise
// wake us up for each of its renames.
type watcher struct {
	mu      sync.Mutex // held while events are read and handed out
	inotify int        // -1 when it is closed
	ready   *os.File   // the epoll
	watches map[int32]*watch
	buf     []byte
	spare   eventQueue // an empty one, with memory
	bursts  atomic.Int32
}

// watch is one watched directory.
type watch struct {
	wd      int32
	mailbox *Mailbox
	isNew   bool
}

const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(epoll, true); err != nil {
			unix.Close(epoll)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &watcher{inotify: fd, ready: os.NewFile(uintptr(epoll), "inotify"), watches: map[int32]*watch{}, buf: make([]byte, 64<<10)}, nil
}

// disarm takes what the epoll has to tell, which keeps it silent until arm: it counts
// as told only when it was asked.
func (w *watcher) disarm(epoll int) {
	var one [1]unix.EpollEvent
	_, _ = unix.EpollWait(epoll, one[:], 0)
}

// arm has the epoll tell of the next event, or of those that wait. The inotify is put
// into it by the first call: before, nobody would disarm it.
func (w *watcher) arm(epoll int) error {
	once := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	err := unix.EpollCtl(epoll, unix.EPOLL_CTL_MOD, w.inotify, &once)
	if errors.Is(err, unix.ENOENT) {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, w.inotify, &once)
	}
	return err
}

// add watches a directory on disk that only this kernel changes; nil when that
// cannot be.
func (w *watcher) add(m *Mailbox, dir durable.Dir, isNew bool) *watch {
	fd, ok := durable.Descriptor(dir)
	if w == nil || !ok || dir.Remote() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches == nil {
		return nil
	}
	// Through the descriptor that we hold: a path might lead elsewhere by now.
	wd, err := unix.InotifyAddWatch(w.inotify, "/proc/self/fd/"+strconv.Itoa(fd), watchMask)
	if err != nil || w.watches[int32(wd)] != nil {
		return nil
	}
	x := &watch{wd: int32(wd), mailbox: m, isNew: isNew}
	w.watches[x.wd] = x
	return x
}

func (w *watcher) remove(x *watch) {
	if x == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[x.wd] == x {
		delete(w.watches, x.wd)
		_, _ = unix.InotifyRmWatch(w.inotify, uint32(x.wd))
	}
}

// drain hands out all events that are queued now and returns those of m. It never
// returns one half of a rename. The caller holds m's lock.
func (w *watcher) drain(m *Mailbox) eventQueue {
	settled := map[uint32]bool{}
	for range maxHalves {
		q := w.take(m, settled)
		if q != nil {
			return *q
		}
		// A rename holds its directory's lock until both events are queued, and
		// so does the look-up of a name that the kernel has not heard of.
		for _, d := range []durable.Dir{m.dir.new, m.dir.cur} {
			_, _ = d.Stat(m.user.store.namer.unique())
		}
	}
	_ = w.take(m, nil)
	return eventQueue{lost: true}
}

// maxHalves is how often drain may meet a rename half-way before it gives up; a
// rename that is met twice is one out of the mailbox.
const maxHalves = 100

// take empties m's queue, unless it ends in a half of a rename that is not in
// settled: then that is added. A nil settled takes it as it is.
func (w *watcher) take(m *Mailbox, settled map[uint32]bool) *eventQueue {
	told := w.readFor(m)
	defer kickAll(told)
	defer w.mu.Unlock()
	met := false
	for cookie := range m.queue.halves {
		if settled != nil && !settled[cookie] {
			settled[cookie], met = true, true
		}
	}
	if met && !m.queue.lost {
		return nil
	}
	q := m.queue
	m.queue = eventQueue{}
	if len(q.list) > 0 {
		m.queue, w.spare = w.spare, eventQueue{}
	}
	return &q
}

// readFor takes the lock and empties the kernel's queue for m; the mailboxes that it
// returns must be kicked, as run will not hear of what was read here.
func (w *watcher) readFor(m *Mailbox) map[*Mailbox]bool {
	w.mu.Lock()
	told := w.read()
	delete(told, m)
	return told
}

func kickAll(all map[*Mailbox]bool) {
	for m := range all {
		m.kick()
	}
}

// burstPause is how long run leaves events alone after it handed some out: they come
// in crowds. Whoever says beforehand that he will make one reads the events himself,
// those of others with them, and each time that we wake up beside him costs him more
// than one of his renames.
const (
	burstPause = time.Millisecond
	ownPause   = 10 * time.Millisecond
)

// burst says that the caller is about to make n events, and looks at them soon. He
// calls done then.
func (w *watcher) burst(n int) (done func()) {
	if w == nil || n < burstLeast {
		return func() {}
	}
	w.bursts.Add(1)
	return func() { w.bursts.Add(-1) }
}

const burstLeast = 100

// run hands out events as they come until the watcher is closed.
func (w *watcher) run() {
	raw, err := w.ready.SyscallConn()
	if err != nil {
		return
	}
	for {
		var told map[*Mailbox]bool
		err := raw.Read(func(epoll uintptr) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.disarm(int(epoll))
			told = w.read()
			// Where it cannot be armed, it is looked at after each pause.
			return len(told) > 0 || w.inotify >= 0 && w.arm(int(epoll)) != nil
		})
		kickAll(told)
		if err != nil {
			return
		}
		pause := burstPause
		if w.bursts.Load() > 0 {
			pause = ownPause
		}
		time.Sleep(pause)
	}
}

// read empties the kernel's queue into the mailboxes' queues, without waiting.
func (w *watcher) read() (told map[*Mailbox]bool) {
	for w.inotify >= 0 {
		n, err := unix.Read(w.inotify, w.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		if told == nil {
			told = map[*Mailbox]bool{}
		}
		w.dispatch(w.buf[:n], told)
	}
	return told
}

func (w *watcher) dispatch(buf []byte, told map[*Mailbox]bool) {
	for len(buf) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		name := buf[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+e.Len]
		buf = buf[unix.SizeofInotifyEvent+e.Len:]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if e.Mask&unix.IN_Q_OVERFLOW != 0 {
			for _, x := range w.watches {
				x.mailbox.queue = eventQueue{lost: true}
				told[x.mailbox] = true
			}
			continue
		}
		x := w.watches[e.Wd]
		if x == nil {
			continue
		}
		told[x.mailbox] = true
		x.mailbox.queue.put(x, e, name)
		if e.Mask&unix.IN_IGNORED != 0 {
			delete(w.watches, e.Wd)
		}
	}
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watches = nil
	_ = w.ready.Close()
	_ = unix.Close(w.inotify)
	w.inotify = -1
}

// silent reports that no event waits for m.
func (w *watcher) silent(m *Mailbox) bool {
	if w == nil {
		return false
	}
	told := w.readFor(m)
	defer kickAll(told)
	defer w.mu.Unlock()
	return len(m.queue.list) == 0 && !m.queue.lost
}

// shut ends run. What was watched stays readable until close.
func (w *watcher) shut() { _ = w.ready.SetReadDeadline(time.Unix(1, 0)) }
