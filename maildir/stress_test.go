package maildir

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sessions, deliveries and another program work on two mailboxes at once. Each
// session keeps the picture of its client and brings it up to date with Changes
// alone; in the end every picture, the state, and a fresh look at the disk agree.
func TestManyAtOnce(t *testing.T) {
	h := newHarness(t, quiet).open()
	other := h.mailbox("Archive")
	defer other.Close()
	h.append(h.inbox, 50, FlagSeen, "Key")
	deadline := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	var delivered, gone atomic.Int64
	fail := func(err error) bool {
		if err != nil && !errors.Is(err, ErrExpunged) {
			t.Error(err)
		}
		return err != nil
	}
	worker := func(seed uint64, step func(rng *rand.Rand, m, to *Mailbox, s *State)) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 7))
			for time.Now().Before(deadline) && !t.Failed() {
				m, to := h.inbox, other
				if rng.IntN(2) == 0 {
					m, to = to, m
				}
				s, err := m.Sync(h.ctx())
				if fail(err) {
					continue
				}
				step(rng, m, to, s)
			}
		})
	}
	some := func(rng *rand.Rand, s *State, n int) (uids []UID) {
		for range min(n, s.Len()) {
			uids = append(uids, s.UIDs()[rng.IntN(s.Len())])
		}
		return uids
	}
	for i := range uint64(2) {
		worker(i, func(rng *rand.Rand, m, to *Mailbox, s *State) {
			_, err := m.Store(h.ctx(), some(rng, s, 5), Change{Op: Op(rng.IntN(3)), Flags: Flags(rng.IntN(64)), Keywords: []string{"Other"}})
			fail(err)
		})
		worker(10+i, func(rng *rand.Rand, m, to *Mailbox, s *State) {
			_, err := m.Move(h.ctx(), some(rng, s, 3), to)
			fail(err)
		})
	}
	worker(20, func(rng *rand.Rand, m, to *Mailbox, s *State) {
		res, err := m.Copy(h.ctx(), some(rng, s, 3), to)
		fail(err)
		delivered.Add(int64(len(res.Dst)))
	})
	worker(21, func(rng *rand.Rand, m, to *Mailbox, s *State) {
		uids, err := m.Expunge(h.ctx(), some(rng, s, 2))
		fail(err)
		gone.Add(int64(len(uids)))
	})
	worker(22, func(rng *rand.Rand, m, to *Mailbox, s *State) {
		h.deliver(testMessage(1))
		delivered.Add(1)
		_, err := h.inbox.ClaimRecent(h.ctx())
		fail(err)
	})
	worker(23, func(rng *rand.Rand, m, to *Mailbox, s *State) {
		for _, uid := range some(rng, s, 3) {
			f, err := m.OpenMessage(h.ctx(), uid)
			if !fail(err) {
				f.Close()
			}
		}
	})
	wg.Go(func() { h.renameOutside(deadline) })
	pictures := make([]*picture, 4)
	for i := range pictures {
		pictures[i] = newPicture(t, []*Mailbox{h.inbox, other}[i%2])
		wg.Go(func() { pictures[i].follow(deadline) })
	}
	wg.Wait()
	total := 0
	for _, m := range []*Mailbox{h.inbox, other} {
		s := h.sync(m)
		h.invariants(s)
		total += s.Len()
	}
	if want := 50 + int(delivered.Load()-gone.Load()); total != want {
		t.Errorf("%d messages are left, want %d", total, want)
	}
	for _, p := range pictures {
		p.update()
		p.check()
	}
	before := stateText(h.inbox.State()) + stateText(other.State())
	if err := os.RemoveAll(h.indexDir()); err != nil {
		t.Fatal(err)
	}
	other.Close()
	h.restart()
	other = h.mailbox("Archive")
	if after := stateText(h.inbox.State()) + stateText(other.State()); after != before {
		t.Errorf("after a restart\n%s\nbefore\n%s", after, before)
	}
}

func stateText(s *State) string {
	var b strings.Builder
	for i := range s.Len() {
		base, in, _ := s.file(i)
		msg := s.Message(i)
		b.WriteString(strings.Join([]string{base, in.raw, flagText(msg.Flags), strings.Join(s.keywords.names(msg.Keywords), " "), "\n"}, " "))
	}
	return b.String()
}

// renameOutside toggles a flag of random files, as another mail program would.
func (h *harness) renameOutside(deadline time.Time) {
	rng := rand.New(rand.NewPCG(99, 9))
	for time.Now().Before(deadline) {
		dir := filepath.Join(h.root, "cur")
		entries, _ := os.ReadDir(dir)
		if len(entries) == 0 {
			continue
		}
		name := entries[rng.IntN(len(entries))].Name()
		base, raw := splitName(name)
		in := parseInfo(raw)
		_ = os.Rename(filepath.Join(dir, name), filepath.Join(dir, base+in.with(in.flags^FlagFlagged, in.letters)))
	}
}

// picture is what a client knows.
type picture struct {
	t     *testing.T
	m     *Mailbox
	state *State
	flags map[UID]Message
}

func newPicture(t *testing.T, m *Mailbox) *picture {
	p := &picture{t: t, m: m, state: m.State(), flags: map[UID]Message{}}
	for i := range p.state.Len() {
		p.flags[p.state.UIDs()[i]] = p.state.Message(i)
	}
	return p
}

func (p *picture) follow(deadline time.Time) {
	changed, done := listen(p.m)
	defer done()
	for time.Now().Before(deadline) {
		select {
		case <-changed:
			p.update()
		case <-time.After(time.Until(deadline)):
		}
	}
}

func (p *picture) update() {
	now := p.m.State()
	c := p.m.Changes(p.state, now)
	for _, uid := range c.Vanished {
		if _, ok := p.flags[uid]; !ok {
			p.t.Errorf("UID %d vanished and was not known", uid)
		}
		delete(p.flags, uid)
	}
	for _, uid := range slices.Concat(c.Changed, c.Added) {
		i, ok := now.Find(uid)
		if !ok {
			p.t.Errorf("UID %d was announced and is not there", uid)
			continue
		}
		p.flags[uid] = now.Message(i)
	}
	p.state = now
}

func (p *picture) check() {
	s := p.m.State()
	if s.Len() != len(p.flags) {
		p.t.Errorf("%s has %d messages, a client knows %d", p.m.Name(), s.Len(), len(p.flags))
	}
	for i := range s.Len() {
		if got := p.flags[s.UIDs()[i]]; got != s.Message(i) {
			p.t.Errorf("%s: client knows %+v, state has %+v", p.m.Name(), got, s.Message(i))
		}
	}
}
