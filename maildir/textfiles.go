package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
	"buzon/maildir/textindex"
)

// textFiles are the segments of a mailbox's text index, files in the index's
// directory. They may be removed at any time, are never synced, and are thrown
// away when a byte of them is wrong: a message that is in none is read instead.
type textFiles struct {
	mailbox *Mailbox
	dir     durable.Dir

	mu       sync.Mutex // held by whoever changes what is below
	opened   bool
	closed   bool
	next     uint64 // number of the next segment
	retry    time.Time
	segments atomic.Pointer[[]*textSegment]
	pending  atomic.Int64 // messages that came since somebody searched
}

// textSegment is one of them. Its file is closed by the garbage collector, as
// searches may be at work with it when it is replaced.
type textSegment struct {
	*textindex.Segment
	name string
	file durable.File
	size int64
}

const (
	textPrefix    = "text."
	textNewPrefix = "text-new."
	// maxTextSegments bounds the files that a search asks.
	maxTextSegments = 64
	// textTier is how many segments of about one size become one.
	textTier = 6
	// textShare and textLeast bound the index: to a half of the mailbox's
	// bytes, and 1 MiB. It takes a twentieth in the benchmark.
	textShare = 2
	textLeast = 1 << 20
)

// open reads the heads of the segments, at the first use. It returns those that
// there are.
func (t *textFiles) open() []*textSegment {
	if list := t.segments.Load(); list != nil {
		return *list
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.openLocked()
	if list := t.segments.Load(); list != nil {
		return *list
	}
	return nil
}

func (t *textFiles) openLocked() {
	if t.opened || t.closed {
		return
	}
	t.opened = true
	var names, left []string
	_ = t.dir.Scan(func(e durable.Entry) error {
		switch name := string(e.Name); {
		case strings.HasPrefix(name, textPrefix):
			names = append(names, name)
		case strings.HasPrefix(name, textNewPrefix):
			left = append(left, name) // by a crash
		}
		return nil
	})
	for _, name := range left {
		_ = t.dir.Remove(name)
	}
	list := []*textSegment{}
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, textPrefix), 16, 64)
		var s *textSegment
		if err == nil {
			t.next = max(t.next, n+1)
			s, err = t.openSegment(name)
		}
		if err == nil && (s.UIDValidity() != t.mailbox.State().validity || len(list) >= maxTextSegments) {
			err = textindex.ErrDamaged // of another time
			_ = s.file.Close()
		}
		if err != nil {
			_ = t.dir.Remove(name)
			continue
		}
		list = append(list, s)
	}
	t.segments.Store(&list)
}

func (t *textFiles) openSegment(name string) (*textSegment, error) {
	f, err := t.dir.Open(name)
	if err != nil {
		return nil, err
	}
	in, err := f.Stat()
	if err == nil {
		var s *textindex.Segment
		if s, err = textindex.Open(f, in.Size); err == nil {
			return &textSegment{s, name, f, in.Size}, nil
		}
	}
	_ = f.Close()
	return nil, err
}

func (t *textFiles) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if list := t.segments.Load(); list != nil {
		for _, s := range *list {
			_ = s.file.Close()
		}
	}
	t.segments.Store(&[]*textSegment{})
}

// add writes a new segment, which takes the place of those in old. Several may be
// written at a time.
func (t *textFiles) add(write func(w io.Writer) error, old []*textSegment) error {
	name, budget, ok := t.begin(old)
	if !ok {
		return nil
	}
	err := t.write(textNewPrefix+name, func(w io.Writer) error { return write(&budgetWriter{w, budget}) })
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		err = t.install(name, old)
	}
	if err != nil {
		_ = t.dir.Remove(textNewPrefix + name)
		if !t.closed {
			// On a full disk, or where it is read-only, there is no hurry.
			t.retry = t.mailbox.user.store.now().Add(giveUpTime)
		}
		return fmt.Errorf("write text index: %w", err)
	}
	return nil
}

// begin gives the next segment its name and says how large it may be; false: there
// should be none now.
func (t *textFiles) begin(old []*textSegment) (name string, budget int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.openLocked()
	list := t.segments.Load()
	if t.closed || t.mailbox.user.store.now().Before(t.retry) || len(*list)-len(old) >= maxTextSegments {
		return "", 0, false
	}
	budget = t.mailbox.State().Bytes()/textShare + textLeast
	for _, s := range *list {
		if !slices.Contains(old, s) {
			budget -= s.size
		}
	}
	name = strconv.FormatUint(t.next, 16)
	t.next++
	return name, budget, true
}

func (t *textFiles) write(name string, write func(w io.Writer) error) error {
	f, err := t.dir.Create(name, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 64<<10)
	if err = write(out); err == nil {
		err = out.Flush()
	}
	return errors.Join(err, f.Close())
}

// install makes a segment that was written one that is searched.
func (t *textFiles) install(name string, old []*textSegment) error {
	if t.closed {
		return ErrClosed
	}
	if err := t.dir.Replace(textNewPrefix+name, textPrefix+name); err != nil {
		return err
	}
	s, err := t.openSegment(textPrefix + name)
	if err != nil {
		_ = t.dir.Remove(textPrefix + name)
		return err
	}
	list := slices.DeleteFunc(slices.Clone(*t.segments.Load()), func(s *textSegment) bool { return slices.Contains(old, s) })
	list = append(list, s)
	t.segments.Store(&list)
	for _, s := range old {
		_ = t.dir.Remove(s.name)
	}
	return nil
}

// errTextBudget ends the writing of a segment for which there is no room.
var errTextBudget = errors.New("the text index is as large as it may be")

type budgetWriter struct {
	w    io.Writer
	left int64
}

func (b *budgetWriter) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errTextBudget
	}
	return b.w.Write(p)
}

// drop throws a segment away that is damaged.
func (t *textFiles) drop(s *textSegment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := *t.segments.Load()
	if !slices.Contains(list, s) {
		return
	}
	t.mailbox.log("text index thrown away", "file", s.name)
	list = slices.DeleteFunc(slices.Clone(list), func(x *textSegment) bool { return x == s })
	t.segments.Store(&list)
	_ = t.dir.Remove(s.name)
}

// mergeable returns segments that should become one: of a size several, or one that
// is mostly of messages that are gone.
func (t *textFiles) mergeable(s *State) []*textSegment {
	tiers := map[int][]*textSegment{}
	for _, x := range t.open() {
		live := 0
		for _, uid := range x.UIDs() {
			if _, ok := s.Find(UID(uid)); ok {
				live++
			}
		}
		if 2*live < len(x.UIDs()) {
			return []*textSegment{x}
		}
		tier := 0
		for n := max(live, 64); n >= textTier; n /= textTier {
			tier++
		}
		tiers[tier] = append(tiers[tier], x)
	}
	for _, list := range tiers {
		total := 0
		var some []*textSegment
		for _, x := range list {
			if total+len(x.UIDs()) <= textindex.MaxMessages {
				total += len(x.UIDs())
				some = append(some, x)
			}
		}
		if len(some) >= textTier {
			return some
		}
	}
	return nil
}

// merge makes one segment of those given. slow is called now and then.
func (t *textFiles) merge(segments []*textSegment, slow func() error) error {
	s := t.mailbox.State()
	heads := make([]*textindex.Segment, len(segments))
	for i, x := range segments {
		heads[i] = x.Segment
	}
	wanted := func(uid uint32) bool {
		_, ok := s.Find(UID(uid))
		return ok
	}
	err := t.add(func(w io.Writer) error {
		return textindex.Merge(writerFunc(func(p []byte) (int, error) {
			if err := slow(); err != nil {
				return 0, err
			}
			return w.Write(p)
		}), heads, wanted)
	}, segments)
	if errors.Is(err, textindex.ErrDamaged) {
		for _, x := range segments {
			t.drop(x)
		}
	}
	return err
}

// grown counts new messages, and reports when there are enough for a segment.
func (t *textFiles) grown(added int) bool {
	if added == 0 || t.segments.Load() == nil || t.pending.Add(int64(added)) < TextWorth {
		return false
	}
	t.pending.Store(0)
	return true
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
